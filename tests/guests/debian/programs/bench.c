/* quorate-bench: the processor figures, taken inside the guest.
 *
 * usage: quorate-bench [loop|fork|sha256|syscall|all] [COUNT]
 *
 * Each figure prints "bench NAME start" and "bench NAME end COUNT CHECK GUEST_MS ms", so that whoever watches the
 * console can take the time outside too; the last field is the guest's own time. CHECK is the same on every correct
 * processor. Static: it runs from the initramfs and from the root file system alike.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static uint32_t big_endian(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* One block of SHA-256 (FIPS 180-4, 6.2.2), in plain C so that no crypto instruction hides the processor's speed. */
static void sha256_block(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

    for (int i = 0; i < 16; i++)
        w[i] = big_endian(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g; g = f; f = e; e = d + t1;
        d = c; c = b; b = a; a = t1 + t2;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d;
    state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

/* The digest of COUNT MiB, made of a 1 MiB pattern again and again; its first eight bytes. */
static uint64_t sha256(uint64_t mebibytes)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static uint8_t pattern[1 << 20];
    uint8_t last[64] = {0x80};
    uint64_t bits = mebibytes << 23;

    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (uint8_t)(i * 7 + (i >> 8));
    for (uint64_t i = 0; i < mebibytes; i++)
        for (size_t at = 0; at < sizeof pattern; at += 64)
            sha256_block(state, pattern + at);
    for (int i = 0; i < 8; i++)
        last[63 - i] = (uint8_t)(bits >> 8 * i);
    sha256_block(state, last);
    return (uint64_t)state[0] << 32 | state[1];
}

/* COUNT rounds of four instructions. */
static uint64_t loop(uint64_t rounds)
{
    uint64_t x = rounds;
    __asm__ volatile("1: add %1, %1, %0\n eor %1, %1, %1, lsr #7\n subs %0, %0, #1\n b.ne 1b"
                     : "+r"(rounds), "+r"(x)::"cc");
    return x;
}

/* COUNT children that live only to exit; how many did. */
static uint64_t forks(uint64_t count)
{
    uint64_t exited = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t child = fork();
        int status;
        if (child == 0)
            _exit(7);
        if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7)
            exited++;
    }
    return exited;
}

/* COUNT system calls that do nothing; how many answered. */
static uint64_t syscalls(uint64_t count)
{
    uint64_t answered = 0;
    for (uint64_t i = 0; i < count; i++)
        answered += syscall(SYS_getppid) >= 0;
    return answered;
}

static const struct figure {
    const char *name;
    uint64_t count;
    uint64_t (*run)(uint64_t);
} figures[] = {
    {"loop", 100000000, loop},
    {"fork", 200, forks},
    {"sha256", 32, sha256},
    {"syscall", 400000, syscalls},
};

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 1 ? argv[1] : "all";
    int found = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        const struct figure *figure = &figures[i];
        uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : figure->count;
        if (strcmp(wanted, "all") != 0 && strcmp(wanted, figure->name) != 0)
            continue;
        found = 1;
        printf("bench %s start\n", figure->name);
        double start = now_ms();
        uint64_t check = count > 0 ? figure->run(count) : 0;
        printf("bench %s end %llu %016llx %.3f ms\n", figure->name, (unsigned long long)count,
               (unsigned long long)check, now_ms() - start);
    }
    if (!found)
        fprintf(stderr, "usage: quorate-bench [loop|fork|sha256|syscall|all] [COUNT]\n");
    return found ? 0 : 64;
}
