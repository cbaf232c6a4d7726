/* What lwIP asks of the compiler and the platform. */
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_NO_UNISTD_H 1
#define LWIP_ERRNO_STDINCLUDE 1

void panic_at(const char *what, const char *file, int line) __attribute__((noreturn));
uint32_t boot_random(void);

#define LWIP_PLATFORM_DIAG(x)   \
    do {                        \
    } while (0)
#define LWIP_PLATFORM_ASSERT(what) panic_at(what, __FILE_NAME__, __LINE__)
#define LWIP_RAND() boot_random()

#endif
