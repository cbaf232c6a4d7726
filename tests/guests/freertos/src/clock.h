/* Time since boot. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

uint64_t clock_uptime_ms(void); /* unlike the tick counter it does not wrap after 49 days */

#endif
