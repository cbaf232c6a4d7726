/* Everything here follows from RAM contents and the guest's own time. There is no entropy source, by intent: replicas
 * of the machine must draw the same numbers. */
#include "boot.h"

#include "FreeRTOS.h"
#include "task.h"

#include "board.h"

#define KEPT_MAGIC 0x51754F72u

/* Not cleared at start-up. `check` tells it from the arbitrary contents of RAM at power on. */
struct kept {
    uint32_t magic;
    uint32_t boots;
    uint32_t panics;
    uint32_t check;
};
__attribute__((section(".noinit"))) static struct kept kept;

static uint64_t id;
static uint32_t random_state;

static uint32_t kept_check(void)
{
    return ~(kept.magic ^ (kept.boots * 2654435761u) ^ (kept.panics << 24));
}

/* The finalizer of MurmurHash3: every input bit reaches every output bit. */
static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x85EBCA6Bu;
    x ^= x >> 13;
    x *= 0xC2B2AE35u;
    return x ^ (x >> 16);
}

void boot_stir(uint32_t value)
{
    random_state = mix(random_state ^ value) + 0x9E3779B9u;
}

void boot_begin(void)
{
    if (kept.magic != KEPT_MAGIC || kept.check != kept_check())
        kept = (struct kept){.magic = KEPT_MAGIC};
    kept.boots++;
    kept.check = kept_check();
    boot_stir(kept.boots);
}

void boot_fix_identity(const uint8_t mac[6], uint32_t address)
{
    if (id)
        return;
    for (int i = 0; i < 6; i++)
        boot_stir(mac[i]);
    boot_stir(address);
    boot_stir(xTaskGetTickCount());
    boot_stir(SYSTICK_VALUE);
    id = ((uint64_t)boot_random() << 32 | boot_random()) | 1; /* 0 means not yet */
}

uint32_t boot_number(void)
{
    return kept.boots;
}

uint64_t boot_id(void)
{
    return id;
}

uint32_t boot_random(void)
{
    boot_stir(0x2545F491u);
    return mix(random_state);
}

uint32_t boot_count_panic(void)
{
    kept.panics++;
    kept.check = kept_check();
    return kept.panics;
}

void boot_calm(void)
{
    kept.panics = 0;
    kept.check = kept_check();
}
