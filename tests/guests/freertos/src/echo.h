/* The small services: echo (RFC 862) over TCP and UDP, discard (RFC 863). */
#ifndef ECHO_H
#define ECHO_H

#include <stdint.h>

void echo_start(void);
uint64_t echo_bytes(void); /* sent back since boot, TCP and UDP */

#endif
