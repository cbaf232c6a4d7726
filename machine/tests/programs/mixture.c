/* A bit of everything that could differ between replicas: a 1 kHz tick, task switches through PendSV, supervisor calls,
 * serial input by interrupt, code that is written and then run, memory written by all of them, and waiting. What it does
 * depends on when the interrupts come. Echoes each byte with a checksum of its memory. */
#include "board.h"

#define WORDS 4096
static uint32_t memory[WORDS];
static volatile uint32_t ticks, switches, calls, wanted;
static volatile uint32_t random = 1;
static uint16_t code[4];

static uint32_t next(void) { return random = random * 1664525 + 1013904223; }
static void scribble(uint32_t key) { memory[next() % WORDS] += key ^ ticks; }

void sys_tick(void) {
    ticks++;
    scribble(1);
    if (ticks % 3 == 0) ICSR = PENDSVSET;
}
void pend_sv(void) {
    switches++;
    scribble(SYST_CVR);
}
void sv_call(void) {
    calls++;
    scribble(2);
}
void uart_rx(void) {
    uint8_t byte = UART_DATA;
    UART_INTCLEAR = 2;
    scribble(byte);
    wanted = 1;
    put_char(byte);
}

/* movs r0, #immediate; bx lr: written as data, run as code. */
static uint32_t made(uint8_t immediate) {
    code[0] = 0x2000 | immediate;
    code[1] = 0x4770;
    BARRIER();
    return ((uint32_t (*)(void))((uint32_t)code | 1))();
}

static uint32_t checksum(void) {
    uint32_t sum = 0;
    for (int i = 0; i < WORDS; i++) sum = sum * 31 + memory[i];
    return sum;
}

void main(void) {
    console_start(UART_TX_RX_RXINT);
    NVIC_ISER = 1;
    SHPR3 = 0x00c00000; /* PendSV last */
    SYST_RVR = 24999;
    SYST_CVR = 0;
    SYST_CSR = 7;
    for (uint32_t round = 0;; round++) {
        for (uint32_t i = next() % 2000; i > 0; i--) scribble(i);
        scribble(made(round));
        ASM("svc 0" ::: "r0", "r1", "r2", "r3", "r12", "memory");
        ASM("cpsid i" ::: "memory");
        for (uint32_t i = next() % 300; i > 0; i--) scribble(i);
        if (wanted) {
            wanted = 0;
            put_hex(checksum());
            put_char('\n');
        }
        if (round % 4 == 3) WFI(); /* wakes although masked */
        ASM("cpsie i" ::: "memory");
        if (round % 16 == 15) WFI();
    }
}
