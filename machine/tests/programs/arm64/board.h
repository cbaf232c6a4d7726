// What the programs have of virt-arm64, which is what QEMU's -M virt,gic-version=2 has at the same addresses.
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define RAM 0x40000000ul
// An address where nothing is, inside what a page table can name.
#define NOWHERE 0x0b000000ul
#define UART 0x09000000ul
#define GICD 0x08000000ul
#define GICC 0x08010000ul

#define REG(address) (*(volatile u32 *)(address))
#define READ(register) ({ u64 value_; __asm__ volatile("mrs %0, " #register : "=r"(value_)); value_; })
#define WRITE(register, value) __asm__ volatile("msr " #register ", %0" : : "r"((u64)(value)) : "memory")
#define ISB() __asm__ volatile("isb" : : : "memory")
#define DSB() __asm__ volatile("dsb sy" : : : "memory")
#define WFI() __asm__ volatile("wfi" : : : "memory")

// What the last synchronous exception was; start.S fills it in.
struct taken { u64 count, esr, far, elr; };
extern volatile struct taken taken;

u64 firmware(u64 function, u64 x1, u64 x2, u64 x3);
u64 firmware_by_smc(u64 function, u64 x1, u64 x2, u64 x3);
void power_off(void);
void reset_board(void);

static void put(char c)
{
    while (REG(UART + 0x18) & 0x20) {} // transmit FIFO full
    REG(UART) = c;
}

static void print(const char *text)
{
    while (*text) put(*text++);
}

static void print_hex(u64 value)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        if (value >> shift || !shift) put("0123456789abcdef"[value >> shift & 15]);
    }
}

static void show(const char *name, u64 value)
{
    print(name);
    put('=');
    print_hex(value);
    put('\n');
}

// Program code that was just written becomes executable.
static void synchronize(void *start, u64 bytes)
{
    for (u64 at = (u64)start & ~63ul; at < (u64)start + bytes; at += 64) {
        __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0" : : "r"(at) : "memory");
    }
    DSB();
    ISB();
}
