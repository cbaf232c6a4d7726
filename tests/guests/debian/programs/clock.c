/* quorate-clock: keeps the guest's clock and its random numbers right when its machine was saved and goes on elsewhere.
 *
 * A machine that goes on from a saved state has the time of its log on the real-time clock (PL031) and other random bytes
 * in virtio-rng, but Linux has looked at neither since. Every few seconds this compares the two clocks; when they differ,
 * it sets Linux's and stirs the device's bytes into the kernel's pool.
 *
 * usage: quorate-clock     (as root; goes on until it is killed, says on standard output what it did)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const char RTC[] = "/sys/class/rtc/rtc0/since_epoch";
static const char RNG[] = "/dev/hwrng";
static const char POOL[] = "/dev/random";
static const struct timespec EVERY = {.tv_sec = 4};
/* The real-time clock counts whole seconds. */
static const long long TOLERANCE_S = 2;

static void fail(const char *what)
{
    fprintf(stderr, "quorate-clock: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long rtc_seconds(void)
{
    char text[32] = "";
    int file = open(RTC, O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0)
        fail(RTC);
    close(file);
    return atoll(text);
}

/* Bytes of the device make all later random numbers differ from those of another machine that goes on from here. */
static void stir(void)
{
    struct { struct rand_pool_info head; unsigned char bytes[64]; } entropy = {{64 * 8, 64}, {0}};
    int from = open(RNG, O_RDONLY | O_CLOEXEC), to = open(POOL, O_WRONLY | O_CLOEXEC);
    if (from < 0 || read(from, entropy.bytes, sizeof entropy.bytes) != sizeof entropy.bytes)
        fail(RNG);
    if (to < 0 || ioctl(to, RNDADDENTROPY, &entropy) != 0 || ioctl(to, RNDRESEEDCRNG) != 0)
        fail(POOL);
    close(from);
    close(to);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        long long late = rtc_seconds() - (long long)time(NULL);
        if (late >= TOLERANCE_S || late <= -TOLERANCE_S) {
            struct timespec now = {.tv_sec = rtc_seconds()};
            if (clock_settime(CLOCK_REALTIME, &now) != 0)
                fail("set the clock");
            stir();
            printf("quorate: the clock was %lld s off and is set\n", late);
        }
        clock_nanosleep(CLOCK_MONOTONIC, 0, &EVERY, NULL);
    }
}
