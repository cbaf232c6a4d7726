// Timers, interrupts and waiting. Prints what must be exact; times are agreed time.
#include "board.h"

volatile struct taken taken;
static volatile u32 ticks, last;

void on_interrupt(void)
{
    u32 id = REG(GICC + 0xc);
    last = id;
    if (id == 27) {
        ticks++;
        WRITE(cntv_ctl_el0, 0);
    }
    if (id == 30) {
        ticks += 100;
        WRITE(cntp_ctl_el0, 0);
    }
    REG(GICC + 0x10) = id;
}

int main(void)
{
    REG(GICD) = 1;
    REG(GICD + 0x100) = 1u << 27 | 1u << 30;
    REG(GICC) = 1;
    REG(GICC + 4) = 0xf0;

    u64 before = READ(cntvct_el0), again = READ(cntvct_el0), physical = READ(cntpct_el0);
    show("runs", again >= before && physical >= again);

    // Fires while it is waited for, with interrupts masked: the wait ends, the handler does not run.
    u64 deadline = READ(cntvct_el0) + 62500; // 1 ms
    WRITE(cntv_cval_el0, deadline);
    WRITE(cntv_ctl_el0, 1);
    ISB();
    show("not yet", READ(cntv_ctl_el0));
    while (!(READ(cntv_ctl_el0) & 4)) WFI();
    show("early", READ(cntvct_el0) < deadline);
    show("masked", ticks);
    show("pending", REG(GICD + 0x200) >> 27 & 1);
    // Unmasked, it is taken at once.
    __asm__ volatile("msr daifclr, #2");
    ISB();
    show("taken", ticks);
    show("id", last);

    // Periodic, by TVAL, with the physical timer, from WFI.
    for (u32 round = 0; round < 5; round++) {
        WRITE(cntp_tval_el0, 6250); // 100 us
        WRITE(cntp_ctl_el0, 1);
        u32 want = ticks + 100;
        while (ticks != want) WFI();
    }
    show("ticks", ticks);
    show("id", last);
    // A deadline in the past fires at once.
    WRITE(cntv_tval_el0, -1);
    WRITE(cntv_ctl_el0, 1);
    ISB();
    for (volatile u32 spin = 0; spin < 10; spin++) {}
    show("past", ticks);
    // EL0 may not touch the timers unless CNTKCTL_EL1 says so: see traps.c for what is refused.
    show("cntkctl", READ(cntkctl_el1));
    WRITE(cntkctl_el1, 0x2a3);
    show("cntkctl", READ(cntkctl_el1));
    return 0;
}
