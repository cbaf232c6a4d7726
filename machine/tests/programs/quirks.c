/* Corners of an ARMv6-M core that a host-made exception model gets wrong easily. Prints name=value lines. */
#include "board.h"

volatile uint32_t count, faults, fault_pc;
volatile uint32_t svc_ipsr, svc_control, svc_psp, svc_lr, svc_on_main_stack, svc_spsel_sticks;
static uint64_t process_stack[64];

/* A handler without MSR or CPS, so that nothing but the exception return ends its block. */
__attribute__((naked)) void sys_tick(void) {
    ASM("ldr r0, =count\n ldr r1, [r0]\n adds r1, #1\n str r1, [r0]\n bx lr\n .ltorg");
}
/* A handler that returns through the stack. */
__attribute__((naked)) void pend_sv(void) {
    ASM("push {r4, lr}\n ldr r0, =count\n ldr r1, [r0]\n adds r1, #1\n str r1, [r0]\n pop {r4, pc}\n .ltorg");
}
__attribute__((naked)) void sv_call(void) {
    ASM("mrs r0, ipsr\n ldr r1, =svc_ipsr\n str r0, [r1]\n"
        "mrs r0, control\n ldr r1, =svc_control\n str r0, [r1]\n"
        "mrs r0, psp\n ldr r1, =svc_psp\n str r0, [r1]\n"
        "mov r0, lr\n ldr r1, =svc_lr\n str r0, [r1]\n"
        "mov r0, sp\n mrs r2, msp\n subs r0, r2\n ldr r1, =svc_on_main_stack\n str r0, [r1]\n"
        "movs r0, #2\n msr control, r0\n mrs r0, control\n ldr r1, =svc_spsel_sticks\n str r0, [r1]\n"
        "bx lr\n .ltorg");
}
/* Skips the instruction that faulted. */
__attribute__((used)) static void skip(uint32_t *frame) {
    faults++;
    fault_pc = frame[6];
    frame[6] += (*(volatile uint16_t *)frame[6] >> 11) >= 0x1d ? 4 : 2;
}
__attribute__((naked)) void hard_fault(void) {
    ASM("movs r0, #4\n mov r1, lr\n tst r0, r1\n beq 1f\n mrs r0, psp\n b 2f\n 1: mrs r0, msp\n"
        "2: push {r4, lr}\n bl skip\n pop {r4, pc}");
}

static void interrupts(void) {
    SYST_RVR = 999;
    SYST_CVR = 0;
    SYST_CSR = 7;
    while (count < 5) {}
    SYST_CSR = 0;
    put_value("systick", count);
    count = 0;
    ICSR = PENDSVSET;
    BARRIER();
    put_value("pendsv", count);
    count = 0;
    ASM("cpsid i");
    ICSR = PENDSVSET;
    BARRIER();
    uint32_t masked = count;
    ASM("cpsie i\nisb" ::: "memory");
    put_value("masked", masked);
    put_value("unmasked", count);
}

static void supervisor_call(void) {
    ASM("msr psp, %0\n movs r0, #2\n msr control, r0\n isb\n svc 7\n movs r0, #0\n msr control, r0\n isb" ::"r"(
            &process_stack[60])
        : "r0", "r1", "r2", "r3", "r12", "memory", "lr");
    put_value("svc-ipsr", svc_ipsr);
    put_value("svc-control", svc_control);
    put_value("svc-psp", svc_psp - (uint32_t)process_stack);
    put_value("svc-lr", svc_lr);
    put_value("svc-stack", svc_on_main_stack);
}

static void faulting(void) {
    volatile uint32_t words[2] = {0x44332211, 0x88776655};
    uint32_t scratch = (uint32_t)words + 1, at;
    faults = 0;
    ASM("adr %1, 1f\n .balign 4\n 1: ldr %0, [%0]" : "+l"(scratch), "=l"(at)::"memory");
    put_value("unaligned", faults);
    put_value("unaligned-pc", fault_pc - at);
    faults = 0;
    ASM("udf #1");
    put_value("undefined", faults);
    faults = 0;
    ASM("bkpt #1");
    put_value("breakpoint", faults);
    faults = 0;
    ASM("cpsid i\n svc 1\n cpsie i" ::: "memory");
    put_value("masked-svc", faults);
}

void main(void) {
    console_start(1);
    interrupts();
    supervisor_call();
    ASM("sev\nwfe\nyield\nnop");
    put("hints=ok\n");
    faulting();
    put("done\n");
}
