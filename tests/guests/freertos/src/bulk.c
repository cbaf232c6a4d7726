#include "bulk.h"

#define CRC_POLYNOMIAL 0xEDB88320u /* reflected */

uint32_t pattern_fill(uint32_t state, uint32_t *to, size_t words)
{
    while (words--) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *to++ = state;
    }
    return state;
}

/* Slicing by four: a table for each byte of a word, so that four bytes cost four look-ups and no dependency chain. */
static uint32_t table[4][256];

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? CRC_POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 4; k++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 255];
}

uint32_t crc32_update(uint32_t crc, const uint8_t *bytes, size_t len)
{
    if (!table[0][1])
        fill_table();
    crc = ~crc;
    for (; len && ((uintptr_t)bytes & 3); len--)
        crc = (crc >> 8) ^ table[0][(crc ^ *bytes++) & 255];
    for (; len >= 4; len -= 4, bytes += 4) {
        crc ^= *(const uint32_t __attribute__((may_alias)) *)(const void *)bytes;
        crc = table[3][crc & 255] ^ table[2][(crc >> 8) & 255] ^ table[1][(crc >> 16) & 255] ^ table[0][crc >> 24];
    }
    while (len--)
        crc = (crc >> 8) ^ table[0][(crc ^ *bytes++) & 255];
    return ~crc;
}
