#include "clock.h"

#include "FreeRTOS.h"
#include "task.h"

_Static_assert(configTICK_RATE_HZ == 1000, "a tick is a millisecond here");

uint64_t clock_uptime_ms(void)
{
    TimeOut_t now; /* the kernel's pair of tick counter and its overflows, read together */
    vTaskSetTimeOutState(&now);
    return (uint64_t)(uint32_t)now.xOverflowCount << 32 | now.xTimeOnEntering;
}
