// Executes instructions that nobody meant: the host must survive them. The image's header holds the seed (start.S).
#include "board.h"

volatile struct taken taken;
extern const u64 seed;
// A page of its own: writes beside code are slow.
static u32 code[1024] __attribute__((aligned(4096)));

int main(void)
{
    u64 state = seed | 1;
    WRITE(cntkctl_el1, 0x303);
    for (u32 round = 0;; round++) {
        for (u32 at = 0; at < 3; at++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32 word = state;
            // A third of them system instructions, which are where surprises live.
            if ((state >> 40) % 3 == 0) word = 0xd5000000u | (word & 0x003fffff);
            if ((state >> 40) % 31 == 0) word = 0xd4000000u | (word & 0x00ffffff); // exceptions, HLT, DCPS
            code[at] = word;
        }
        code[3] = 0xd65f03c0u;
        synchronize(code, 16);
        // Everything a procedure may not change is saved around it, and the vectors are put back.
        register u64 x0 __asm__("x0") = state;
        register u64 x1 __asm__("x1") = (u64)code + (state >> 50);
        register u64 x16 __asm__("x16") = (u64)code;
        __asm__ volatile(
            "stp x19, x20, [sp, #-112]!\n stp x21, x22, [sp, #16]\n stp x23, x24, [sp, #32]\n"
            "stp x25, x26, [sp, #48]\n stp x27, x28, [sp, #64]\n str x29, [sp, #80]\n"
            "mov x2, sp\n adrp x3, keep\n str x2, [x3, :lo12:keep]\n"
            "blr x16\n"
            "adrp x3, keep\n ldr x2, [x3, :lo12:keep]\n mov sp, x2\n"
            "ldp x21, x22, [sp, #16]\n ldp x23, x24, [sp, #32]\n"
            "ldp x25, x26, [sp, #48]\n ldp x27, x28, [sp, #64]\n ldr x29, [sp, #80]\n ldp x19, x20, [sp], #112\n"
            : "+r"(x0), "+r"(x1), "+r"(x16)
            :
            : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x17", "x18",
              "x30", "memory", "cc");
        if (round % 64 == 0) put('.');
    }
}

u64 keep;
