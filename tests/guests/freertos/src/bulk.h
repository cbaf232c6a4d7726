/* Data in bulk: the test pattern and the checksum over uploads. */
#ifndef BULK_H
#define BULK_H

#include <stddef.h>
#include <stdint.h>

/* The pattern: 32-bit words, least significant byte first, of Marsaglia's xorshift (13, 17, 5) from the state 1:
 *     x ^= x << 13; x ^= x >> 17; x ^= x << 5; emit x
 * so the first word is 0x00042021 and the first bytes are 21 20 04 00. A length that is no multiple of four cuts the
 * last word. */
#define PATTERN_SEED 1u

/* Fills `words` words and returns the state after them. */
uint32_t pattern_fill(uint32_t state, uint32_t *to, size_t words);

/* CRC-32 of IEEE 802.3 (the one of zlib and gzip), continued from `crc`; start with 0. */
uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t len);

#endif
