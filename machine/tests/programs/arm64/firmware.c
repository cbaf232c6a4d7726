// PSCI: what the firmware answers, a reset, and power off.
#include "board.h"

volatile struct taken taken;
// Survives a reset, as it is far behind what the boot loader writes.
#define BOOTS REG(RAM + (24ul << 20))

int main(void)
{
    BOOTS += 1;
    show("boots", BOOTS);
    show("el", READ(currentel) >> 2);
    show("daif", READ(daif));
    show("sctlr", READ(sctlr_el1) & 0x1005); // MMU and caches are off
    show("cntfrq", READ(cntfrq_el0));
    if (BOOTS == 1) {
        show("version", firmware(0x84000000, 0, 0, 0));
        show("features", firmware(0x8400000a, 0x84000008, 0, 0));
        show("affinity", firmware(0xc4000004, 0, 0, 0));
        show("cpu on", firmware(0xc4000003, 0, 0, 0));
        show("unknown", firmware(0x84001234, 0, 0, 0));
        __asm__ volatile("msr tpidr_el1, %0\n msr vbar_el1, xzr" : : "r"(0x77ul));
        reset_board();
    }
    show("tpidr", READ(tpidr_el1));
    power_off();
    return 0;
}
