/* Which boot this is: a counter that survives resets, an identity derived from it, and random numbers. */
#ifndef BOOT_H
#define BOOT_H

#include <stdint.h>

/* First of all in main: counts this boot. */
void boot_begin(void);
/* Once the network is up: fixes the identity from the counter, the station address and how long DHCP took. */
void boot_fix_identity(const uint8_t mac[6], uint32_t address);
/* Adds to the state behind boot_random. */
void boot_stir(uint32_t value);

uint32_t boot_number(void); /* 1 for the first one since power on */
uint64_t boot_id(void);     /* 0 until the network was up for the first time */
uint32_t boot_random(void); /* not for keys: it keeps ports and sequence numbers apart, and is reproducible */

/* Panics without a calm period in between; returns the new count. */
uint32_t boot_count_panic(void);
void boot_calm(void);

#endif
