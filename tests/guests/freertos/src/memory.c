/* memcpy, memmove and memset in words: the C library for this core copies byte by byte, and copying is most of what a
 * network service does. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word;

struct __attribute__((may_alias)) block {
    uint32_t words[4]; /* one ldm and one stm */
};

static inline int both_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3) == 0;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memcpy(void *restrict to, const void *restrict from,
                                                                           size_t len)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((((uintptr_t)t ^ (uintptr_t)f) & 3) == 0) {
        for (; len && ((uintptr_t)t & 3); len--)
            *t++ = *f++;
        for (; len >= 16; len -= 16, t += 16, f += 16)
            *(struct block *)(void *)t = *(const struct block *)(const void *)f;
        for (; len >= 4; len -= 4, t += 4, f += 4)
            *(word *)(void *)t = *(const word *)(const void *)f;
    }
    while (len--)
        *t++ = *f++;
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memmove(void *to, const void *from, size_t len)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if (t <= f || t >= f + len) {
        if (t < f && both_aligned(t, f))
            for (; len >= 4; len -= 4, t += 4, f += 4)
                *(word *)(void *)t = *(const word *)(const void *)f;
        while (len--)
            *t++ = *f++;
    } else {
        while (len--)
            t[len] = f[len];
    }
    return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *to, int value, size_t len)
{
    uint8_t *t = to;
    uint32_t pattern = (uint8_t)value * 0x01010101u;
    for (; len && ((uintptr_t)t & 3); len--)
        *t++ = (uint8_t)value;
    for (; len >= 16; len -= 16, t += 16) {
        word *w = (word *)(void *)t;
        w[0] = w[1] = w[2] = w[3] = pattern;
    }
    while (len--)
        *t++ = (uint8_t)value;
    return to;
}
