/* The guest firmware: FreeRTOS and lwIP with a few real services, for a Cortex-M0 on an MPS2 AN385 board. */
#include "FreeRTOS.h"
#include "task.h"

#include "lwip/timeouts.h"

#include "boot.h"
#include "burner.h"
#include "echo.h"
#include "http.h"
#include "ldap.h"
#include "network.h"
#include "panic.h"
#include "shell.h"
#include "smtp.h"
#include "text.h"
#include "uart.h"

/* A machine that has run this long starts properly: only panics in quick succession make it stop for good. */
#define CALM_AFTER_MS 10000

static void calm(void *unused)
{
    (void)unused;
    boot_calm();
}

static void start_services(void)
{
    echo_start();
    http_start();
    smtp_start();
    ldap_start();
    sys_timeout(CALM_AFTER_MS, calm, NULL);
}

static void greet(void)
{
    char buf[80];
    struct text line;
    text_init(&line, buf, sizeof buf);
    text_str(&line, "\nFreeRTOS " tskKERNEL_VERSION_NUMBER " + lwIP, boot ");
    text_u32(&line, boot_number());
    text_char(&line, '\n');
    uart_write(line.buf, line.len);
}

void vApplicationIdleHook(void)
{
    __asm volatile("wfi");
}

int main(void)
{
    boot_begin();
    uart_init();
    greet();
    burner_start();
    shell_start();
    network_start(start_services);
    vTaskStartScheduler();
    panic("no memory for the first tasks");
}
