// Exceptions that a hypervisor must give to the guest: accesses where nothing is, instructions that do not exist.
#include "board.h"

volatile struct taken taken;
static u64 broken_table[512] __attribute__((aligned(4096)));

static void happened(const char *name)
{
    print(name);
    print(": count=");
    print_hex(taken.count);
    print(" esr=");
    print_hex(taken.esr);
    print(" far=");
    print_hex(taken.far);
    put('\n');
    taken.count = taken.esr = taken.far = 0;
    WRITE(far_el1, 0);
}

int main(void)
{
    (void)REG(NOWHERE);
    happened("load");
    REG(NOWHERE + 8) = 1;
    happened("store");
    *(volatile u64 *)(NOWHERE + 16) = 1;
    happened("store of 8 bytes");
    u64 pair[2];
    __asm__ volatile("ldp %0, %1, [%2]" : "=&r"(pair[0]), "=&r"(pair[1]) : "r"(NOWHERE + 32) : "memory");
    happened("pair");
    __asm__ volatile("ldr q0, [%0]" : : "r"(NOWHERE + 48) : "memory", "v0");
    happened("vector");
    ((void (*)(void))NOWHERE)();
    happened("call");
    __asm__ volatile("udf #0");
    happened("undefined");
    __asm__ volatile("mrs x0, s3_0_c15_c15_7" : : : "x0");
    happened("unknown system register");
    __asm__ volatile("msr s3_7_c14_c9_5, x0" : : : "x0");
    happened("unknown timer register");
    __asm__ volatile("mrs x0, s3_4_c14_c0_3" : : : "x0"); // CNTVOFF_EL2
    happened("register of EL2");
    __asm__ volatile(".inst 0xd51be020"); // MSR CNTPCT_EL0, X0
    happened("write of the counter");
    // SP_EL0 cannot be accessed while it is the stack pointer: selected by an immediate, by a register, and repeatedly.
    u64 stack = 0;
    for (u64 round = 0x1230; round < 0x1233; round++) {
        WRITE(sp_el0, round);
        __asm__ volatile("msr spsel, #0\n mrs x0, sp_el0\n msr spsel, #1\n mrs %0, sp_el0" : "=r"(stack) : : "x0");
        __asm__ volatile("msr spsel, xzr\n msr sp_el0, x0\n msr spsel, %1\n mrs %0, sp_el0" : "+r"(stack) : "r"(1ul));
    }
    happened("stack pointer in use");
    print("sp_el0=");
    print_hex(stack);
    put('\n');
    __asm__ volatile("brk #7");
    happened("breakpoint");
    __asm__ volatile("svc #9");
    happened("supervisor call");

    // A page table that is not there: the walk itself is aborted.
    WRITE(mair_el1, 0xff);
    WRITE(tcr_el1, 25 | 1ul << 23); // 39 bits below, nothing above
    broken_table[1] = RAM | 0x701;  // this gigabyte as a block, so that the program goes on
    broken_table[2] = NOWHERE | 3;
    WRITE(ttbr0_el1, broken_table);
    ISB();
    WRITE(sctlr_el1, READ(sctlr_el1) | 1);
    ISB();
    (void)REG(0x80000000ul);
    u64 sctlr = READ(sctlr_el1);
    WRITE(sctlr_el1, sctlr & ~1ul);
    ISB();
    happened("walk");
    return 0;
}
