/* The console: UART0, a CMSDK APB UART (Arm DDI 0479, chapter 4.3). */
#ifndef UART_H
#define UART_H

#include <stddef.h>
#include <stdint.h>

void uart_init(void);
/* From a task: whole calls do not mix. `\n` becomes CR LF. */
void uart_write(const char *bytes, size_t len);
/* From anywhere, also with interrupts off. */
void uart_write_polled(const char *bytes, size_t len);
/* Waits for the next received byte. One task only. */
uint8_t uart_read(void);

#endif
