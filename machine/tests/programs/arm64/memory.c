// Code that changes under the CPU: through another address, in place; and the exclusive monitor.
#include "board.h"

volatile struct taken taken;
static u64 table[512] __attribute__((aligned(4096)));
static u32 page[1024] __attribute__((aligned(4096)));
#define RET 0xd65f03c0u
#define MOV_W0(value) (0x52800000u | ((value) & 0xffff) << 5)
// The same gigabyte once more.
#define ALIAS(pointer) ((void *)((u64)(pointer) + 0x40000000ul))

static void map(void)
{
    WRITE(mair_el1, 0xff);
    WRITE(tcr_el1, 25 | 1ul << 23 | 0x3500); // 39 bits, 4 KiB, cacheable
    table[0] = 0x401 | 1ul << 54 | 0;        // devices
    table[1] = RAM | 0x701;
    table[2] = RAM | 0x701;
    WRITE(ttbr0_el1, table);
    ISB();
    WRITE(sctlr_el1, READ(sctlr_el1) | 0x1005);
    ISB();
}

static u32 wrong_through_alias(u32 rounds)
{
    u32 wrong = 0;
    u32 *write = ALIAS(page);
    for (u32 round = 0; round < rounds; round++) {
        for (u32 part = 0; part < 4; part++) {
            write[part * 16] = MOV_W0(round + part * 1000);
            write[part * 16 + 1] = RET;
        }
        synchronize(page, sizeof page);
        for (u32 part = 0; part < 4; part++) {
            u32 result = ((u32 (*)(void))(page + part * 16))();
            wrong += result != ((round + part * 1000) & 0xffff);
        }
    }
    return wrong;
}

static u32 wrong_in_place(u32 rounds)
{
    u32 wrong = 0;
    for (u32 round = 0; round < rounds; round++) {
        page[512] = MOV_W0(round);
        page[513] = RET;
        synchronize(page + 512, 8);
        wrong += ((u32 (*)(void))(page + 512))() != (round & 0xffff);
    }
    return wrong;
}

// A loop of load-exclusive, work and store-exclusive, in which a machine may be cut anywhere.
static u64 add_exclusively(volatile u64 *cell, u32 rounds)
{
    u64 failed = 0;
    for (u32 round = 0; round < rounds; round++) {
        u32 status;
        u64 value;
        do {
            __asm__ volatile("ldxr %0, [%1]" : "=r"(value) : "r"(cell) : "memory");
            // A branch ends the block, so that a cut can fall between the two.
            for (u32 spin = 0; spin < 4; spin++) __asm__ volatile("" : "+r"(value));
            __asm__ volatile("stxr %w0, %1, [%2]" : "=&r"(status) : "r"(value + 1), "r"(cell) : "memory");
            failed += status;
        } while (status);
    }
    return failed;
}

int main(void)
{
    static u64 cell;
    map();
    for (;;) {
        show("alias", wrong_through_alias(200));
        show("in place", wrong_in_place(200));
        show("failed", add_exclusively(&cell, 500));
        show("cell", cell);
        // A store between the two through another address: the monitor checks the value.
        u32 status;
        u64 value;
        __asm__ volatile("ldxr %0, [%1]" : "=r"(value) : "r"(&cell) : "memory");
        *(volatile u64 *)&cell = value + 5;
        __asm__ volatile("stxr %w0, %1, [%2]" : "=&r"(status) : "r"(value), "r"(&cell) : "memory");
        show("disturbed", status);
        if (cell > 2000) return 0;
    }
}
