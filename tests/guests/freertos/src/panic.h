/* Broken invariants of the firmware itself: one line on the console, then a reset. */
#ifndef PANIC_H
#define PANIC_H

#include <stdint.h>

void panic(const char *what) __attribute__((noreturn));
void panic_at(const char *what, const char *file, int line) __attribute__((noreturn));
void panic_value(const char *what, uint32_t value) __attribute__((noreturn));

#endif
