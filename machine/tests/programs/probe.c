/* Does one thing for each byte it receives, and waits in between. */
#include "board.h"

__attribute__((section(".noinit"))) static volatile uint32_t boots, mark;
static volatile uint32_t faults, fault_pc, resume;

__attribute__((used)) static void note(uint32_t *frame) {
    faults++;
    fault_pc = frame[6];
    frame[6] = resume;
    frame[7] |= 1u << 24;
}
__attribute__((naked)) void hard_fault(void) {
    ASM("mov r0, sp\n push {r4, lr}\n bl note\n pop {r4, pc}");
}

/* Runs one instruction at a known place; a fault there goes on after it. */
#define TRY(name, instruction, argument)                                                                             \
    do {                                                                                                             \
        uint32_t at;                                                                                                 \
        faults = 0;                                                                                                  \
        ASM("ldr r2, =1f\n adds r2, #2\n movs r3, #1\n orrs r2, r3\n ldr r3, =resume\n str r2, [r3]\n ldr %0, =1f\n" \
            " mov r3, %1\n nop\n 1: " instruction "\n nop\n"                                                         \
            : "=&l"(at) : "l"(argument) : "r2", "r3", "lr", "memory");                                                \
        put(name);                                                                                                   \
        put_char(' ');                                                                                               \
        put_hex(faults);                                                                                             \
        put_char(' ');                                                                                               \
        put_hex(fault_pc - at);                                                                                      \
        put_char('\n');                                                                                              \
    } while (0)

static void run(char command) {
    switch (command) {
        case 'c': put_value("boots", boots); break;
        case 'r': AIRCR = 0x05fa0004; boots = 7; put("not reached\n"); break;
        case 'a': AIRCR = 0x00000004; put("no key, no reset\n"); break;
        case 'u': TRY("load", "ldr r3, [r3]", 0x50000000); break;
        case 'w': TRY("store", "str r3, [r3]", 0x50000000); break;
        case 'f': TRY("flash", "str r3, [r3]", 0x00001000); break;
        case 'z': TRY("unimplemented", "ldr r3, [r3]", 0x40010000); break;
        case 'e': TRY("even", "bx r3", (uint32_t)run & ~1u); break;
        case 'j': TRY("jump", "bx r3", 0x60000001); break;
        case 'l': ASM("movs r0, #0\n ldr r1, =0x50000000\n mov sp, r1\n udf #0"); break;
        case 'b': for (;;) mark++; break;
        case 'p': for (;;) (void)UART_STATE; break;
        case 't':
            SYST_RVR = 24999;
            SYST_CVR = 0;
            SYST_CSR = 7;
            break;
        case 'm': /* as t, but the tick stays masked: it ends the wait and is not taken */
            ASM("cpsid i" ::: "memory");
            SYST_RVR = 24999;
            SYST_CVR = 0;
            SYST_CSR = 7;
            WFI();
            put_value("masked", ICSR >> 26 & 1);
            SYST_CSR = 0;
            ICSR = 1u << 25;
            ASM("cpsie i" ::: "memory");
            break;
        default: put("?\n");
    }
}

static volatile uint8_t commands[64];
static volatile uint32_t head, tail;
void uart_rx(void) {
    commands[head++ % 64] = UART_DATA;
    UART_INTCLEAR = 2;
}
void sys_tick(void) {}

void main(void) {
    if (mark != 0x600dcafe) {
        mark = 0x600dcafe;
        boots = 0;
    }
    boots++;
    console_start(UART_TX_RX_RXINT);
    NVIC_ISER = 1;
    put("up\n");
    for (;;) {
        while (tail != head) run(commands[tail++ % 64]);
        WFI();
    }
}
