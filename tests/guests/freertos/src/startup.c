/* The vector table and what runs before main. */
#include <stdint.h>

#include "board.h"
#include "panic.h"

extern uint32_t _data_load[], _data_start[], _data_end[], _bss_start[], _bss_end[], _stack_top[];

int main(void);
void SVC_Handler(void);
void PendSV_Handler(void);
void SysTick_Handler(void);
void uart_rx_handler(void);
void lan9118_handler(void);

void __attribute__((noreturn)) reset_handler(void)
{
    const uint32_t *from = _data_load;
    for (uint32_t *to = _data_start; to < _data_end;)
        *to++ = *from++;
    for (uint32_t *to = _bss_start; to < _bss_end;)
        *to++ = 0;
    main();
    panic("main returned");
}

/* The exception frame holds the interrupted PC at word 6 (Armv6-M B1.5.6); bit 2 of EXC_RETURN names the stack. */
static void __attribute__((noreturn, used)) fault(const uint32_t *frame)
{
    panic_value("fault at", frame[6]);
}

static void __attribute__((naked)) fault_handler(void)
{
    __asm volatile("mov  r1, lr      \n"
                   "movs r2, #4      \n"
                   "tst  r1, r2      \n"
                   "beq  1f          \n"
                   "mrs  r0, psp     \n"
                   "b    2f          \n"
                   "1: mrs r0, msp   \n"
                   "2: ldr r2, =fault\n"
                   "bx   r2          \n"
                   ".ltorg           \n");
}

static void unexpected_handler(void)
{
    panic("unexpected interrupt");
}

typedef void (*handler)(void);

struct vectors {
    uint32_t *stack_top;
    handler exceptions[15];
    handler interrupts[32];
};

#define U unexpected_handler
__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    .stack_top = _stack_top,
    .exceptions = {reset_handler, U, fault_handler, fault_handler, fault_handler, fault_handler, U, U,
                   U, U, SVC_Handler, U, U, PendSV_Handler, SysTick_Handler},
    .interrupts = {uart_rx_handler, U, U, U, U, U, U, U, U, U, U, U, U, lan9118_handler, U, U,
                   U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U},
};
_Static_assert(IRQ_UART0_RX == 0 && IRQ_LAN9118 == 13, "the table above names the handlers by position");
