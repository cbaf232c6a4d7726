/* What every test program needs: registers, the vector table, a start that sets up C, and a console. */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_DATA REG(0x40004000)
#define UART_STATE REG(0x40004004)
#define UART_CTRL REG(0x40004008)
#define UART_INTCLEAR REG(0x4000400c)
#define UART_BAUDDIV REG(0x40004010)
#define SYST_CSR REG(0xe000e010)
#define SYST_RVR REG(0xe000e014)
#define SYST_CVR REG(0xe000e018)
#define NVIC_ISER REG(0xe000e100)
#define NVIC_ISPR REG(0xe000e200)
#define ICSR REG(0xe000ed04)
#define AIRCR REG(0xe000ed0c)
#define SHPR3 REG(0xe000ed20)
#define PENDSVSET (1u << 28)
#define UART_TX_RX_RXINT 0x0b

/* The compiler switches to the old syntax around what it does not write itself. */
#define ASM(...) __asm volatile(".syntax unified\n" __VA_ARGS__)
#define BARRIER() ASM("dsb\nisb" ::: "memory")
#define WFI() ASM("wfi" ::: "memory")

void main(void);
void hard_fault(void);
void sv_call(void);
void pend_sv(void);
void sys_tick(void);
void uart_rx(void);

extern uint32_t data_image, data_start, data_end, bss_start, bss_end, stack_top;

void reset_handler(void) {
    uint32_t *from = &data_image;
    for (uint32_t *to = &data_start; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
    main();
    for (;;) WFI();
}

void unused(void) { for (;;) WFI(); } /* board.ld puts it where a program has no handler */

__attribute__((section(".vectors"), used)) static void *const vectors[17] = {
    &stack_top, reset_handler, unused, hard_fault, 0, 0, 0, 0, 0, 0, 0, sv_call, 0, 0, pend_sv, sys_tick, uart_rx,
};

static inline void console_start(uint32_t control) {
    UART_BAUDDIV = 16;
    UART_CTRL = control;
}
static inline void put_char(char c) {
    while (UART_STATE & 1) {}
    UART_DATA = (uint8_t)c;
}
static inline void put(const char *text) {
    while (*text) put_char(*text++);
}
static inline void put_hex(uint32_t value) {
    for (int shift = 28; shift >= 0; shift -= 4) put_char("0123456789abcdef"[(value >> shift) & 15]);
}
static inline void put_value(const char *name, uint32_t value) {
    put(name);
    put_char('=');
    put_hex(value);
    put_char('\n');
}
