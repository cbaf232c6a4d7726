// An arm64 Image (Linux' Documentation/arch/arm64/booting.rst) that runs main() at EL1 and then switches the machine off.

    .section .head, "ax"
    b start
    nop
    .quad 0                     // text_offset
    .quad image_bytes           // from the linker script
    .quad 0xa                   // flags: little-endian, pages of 4 KiB, anywhere in memory
    .global seed
seed:
    .quad 0, 0, 0               // reserved; tests put a number here
    .ascii "ARM\x64"
    .long 0

start:
    adrp x1, stack_top
    mov sp, x1
    adr x1, vectors
    msr vbar_el1, x1
    mov x1, #3 << 20            // CPACR_EL1.FPEN: vectors do not trap
    msr cpacr_el1, x1
    isb
    bl main
    b power_off

    .text
    .global power_off
power_off:
    movz w0, #0x0008
    movk w0, #0x8400, lsl #16
    hvc #0
    b .

    .global reset_board
reset_board:
    movz w0, #0x0009
    movk w0, #0x8400, lsl #16
    hvc #0
    b .

// u64 firmware(u64 function, u64 x1, u64 x2, u64 x3)
    .global firmware
firmware:
    hvc #0
    ret

// u64 firmware_by_smc(u64 function, u64 x1, u64 x2, u64 x3)
    .global firmware_by_smc
firmware_by_smc:
    smc #0
    ret

// Notes what happened in `taken`, then goes on after the instruction, or, if there was none to execute, at the caller.
    .balign 64
synchronous:
    stp x0, x1, [sp, #-32]!
    stp x2, x3, [sp, #16]
    adrp x0, taken
    add x0, x0, :lo12:taken
    mrs x1, esr_el1
    mrs x2, far_el1
    stp x1, x2, [x0, #8]
    mrs x2, elr_el1
    str x2, [x0, #24]
    ldr x3, [x0]
    add x3, x3, #1
    str x3, [x0]
    lsr x1, x1, #26
    cmp x1, #0x21               // instruction abort
    csel x2, x30, x2, eq
    cmp x1, #0x15               // SVC: the return address is past it already
    cset x3, ne
    cmp x1, #0x21
    csel x3, xzr, x3, eq
    add x2, x2, x3, lsl #2
    msr elr_el1, x2
    ldp x2, x3, [sp, #16]
    ldp x0, x1, [sp], #32
    eret

    .balign 64
interrupt:
    stp x29, x30, [sp, #-192]!
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    stp x8, x9, [sp, #80]
    stp x10, x11, [sp, #96]
    stp x12, x13, [sp, #112]
    stp x14, x15, [sp, #128]
    stp x16, x17, [sp, #144]
    str x18, [sp, #160]
    bl on_interrupt
    ldr x18, [sp, #160]
    ldp x16, x17, [sp, #144]
    ldp x14, x15, [sp, #128]
    ldp x12, x13, [sp, #112]
    ldp x10, x11, [sp, #96]
    ldp x8, x9, [sp, #80]
    ldp x6, x7, [sp, #64]
    ldp x4, x5, [sp, #48]
    ldp x2, x3, [sp, #32]
    ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #192
    eret

    .weak on_interrupt
on_interrupt:
    b .

    .balign 2048
vectors:
    .rept 4                     // EL1t, EL1h, EL0 in AArch64, EL0 in AArch32
    .balign 128
    b synchronous
    .balign 128
    b interrupt
    .balign 128
    b .
    .balign 128
    b .
    .endr
