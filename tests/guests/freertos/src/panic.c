/* Prints what broke and resets the board, so that an unattended machine serves again and the boot counter shows it.
 * After PANICS_MAX panics with no calm period in between it stops instead: a machine that cannot even start must not
 * reset for ever. */
#include "panic.h"

#include "FreeRTOS.h"
#include "task.h"

#include <stdbool.h>

#include "board.h"
#include "boot.h"
#include "text.h"
#include "uart.h"

#define PANICS_MAX 3

static void __attribute__((noreturn)) finish(struct text *line)
{
    __asm volatile("cpsid i" ::: "memory");
    bool again = boot_count_panic() < PANICS_MAX;
    text_str(line, again ? "; reset\n" : "; stopped\n");
    uart_write_polled(line->buf, line->len);
    if (again)
        board_reset();
    for (;;)
        __asm volatile("wfi");
}

static char line_buf[160];

static void begin(struct text *line, const char *what)
{
    text_init(line, line_buf, sizeof line_buf);
    text_str(line, "\nPANIC ");
    text_str(line, what);
}

void panic(const char *what)
{
    struct text line;
    begin(&line, what);
    finish(&line);
}

void panic_value(const char *what, uint32_t value)
{
    struct text line;
    begin(&line, what);
    text_str(&line, " 0x");
    text_hex32(&line, value);
    finish(&line);
}

void panic_at(const char *what, const char *file, int line_number)
{
    struct text line;
    begin(&line, what);
    text_str(&line, " at ");
    text_str(&line, file);
    text_char(&line, ':');
    text_u32(&line, (uint32_t)line_number);
    finish(&line);
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name)
{
    (void)task;
    struct text line;
    begin(&line, "stack overflow in task ");
    text_str(&line, name);
    finish(&line);
}
