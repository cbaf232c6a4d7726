/* The board: addresses and interrupt numbers of the MPS2 AN385 (Arm DAI 0385), and the core's own registers. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define REG32(address) (*(volatile uint32_t *)(address))

#define UART0_BASE 0x40004000u
#define LAN9118_BASE 0x40200000u

#define IRQ_UART0_RX 0
#define IRQ_LAN9118 13

/* Armv6-M architecture reference manual, B3.2 to B3.4. */
#define SYSTICK_VALUE REG32(0xE000E018u)
#define NVIC_ENABLE REG32(0xE000E100u)
#define NVIC_CLEAR_PENDING REG32(0xE000E280u)
#define SCB_AIRCR REG32(0xE000ED0Cu)
#define AIRCR_SYSRESETREQ 0x05FA0004u

static inline void irq_enable(unsigned irq)
{
    NVIC_CLEAR_PENDING = 1u << irq;
    NVIC_ENABLE = 1u << irq;
}

/* Resets the whole board; RAM keeps what it held. */
static inline void __attribute__((noreturn)) board_reset(void)
{
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_SYSRESETREQ;
    for (;;)
        __asm volatile("wfi");
}

#endif
