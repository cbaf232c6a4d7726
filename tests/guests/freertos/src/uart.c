/* Transmission polls: a byte is gone before the next one is ready, an interrupt a byte would only cost.
 * Reception interrupts into a ring; while the ring is full the receiver's interrupt stays off and the byte waits in the
 * controller, so that a long paste loses nothing where the line can hold back. */
#include "uart.h"

#include <stdbool.h>

#include "FreeRTOS.h"
#include "semphr.h"
#include "task.h"

#include "board.h"

#define UART_DATA REG32(UART0_BASE + 0x00)
#define UART_STATE REG32(UART0_BASE + 0x04)
#define UART_CTRL REG32(UART0_BASE + 0x08)
#define UART_INTCLEAR REG32(UART0_BASE + 0x0C)
#define UART_BAUDDIV REG32(UART0_BASE + 0x10)

#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define CTRL_TX_ENABLE 1u
#define CTRL_RX_ENABLE 2u
#define CTRL_RX_INTERRUPT 8u
#define INT_RX 2u

#define CTRL_RUNNING (CTRL_TX_ENABLE | CTRL_RX_ENABLE)
#define BAUD_RATE 115200

#define RING_BYTES 256u /* a power of two */
static uint8_t ring[RING_BYTES];
static volatile uint32_t ring_in, ring_out; /* free-running counts */
static TaskHandle_t reader;
static SemaphoreHandle_t write_lock;

void uart_init(void)
{
    UART_BAUDDIV = configCPU_CLOCK_HZ / BAUD_RATE;
    UART_CTRL = CTRL_RUNNING | CTRL_RX_INTERRUPT;
    write_lock = xSemaphoreCreateMutex();
    configASSERT(write_lock);
    irq_enable(IRQ_UART0_RX);
}

void uart_rx_handler(void)
{
    BaseType_t switch_task = pdFALSE;
    UART_INTCLEAR = INT_RX;
    while ((UART_STATE & STATE_RX_FULL) && ring_in - ring_out < RING_BYTES) {
        ring[ring_in % RING_BYTES] = (uint8_t)UART_DATA;
        ring_in++;
    }
    if (ring_in - ring_out == RING_BYTES)
        UART_CTRL = CTRL_RUNNING;
    if (reader)
        vTaskNotifyGiveFromISR(reader, &switch_task);
    portYIELD_FROM_ISR(switch_task);
}

/* A byte that waits in the controller raised its interrupt already: fetch it by hand when the ring has room again. */
static void resume_reception(void)
{
    taskENTER_CRITICAL();
    UART_CTRL = CTRL_RUNNING | CTRL_RX_INTERRUPT;
    while ((UART_STATE & STATE_RX_FULL) && ring_in - ring_out < RING_BYTES) {
        UART_INTCLEAR = INT_RX;
        ring[ring_in % RING_BYTES] = (uint8_t)UART_DATA;
        ring_in++;
    }
    taskEXIT_CRITICAL();
}

uint8_t uart_read(void)
{
    reader = xTaskGetCurrentTaskHandle();
    while (ring_in == ring_out)
        ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    uint8_t byte = ring[ring_out % RING_BYTES];
    bool was_full = ring_in - ring_out == RING_BYTES;
    ring_out++;
    if (was_full)
        resume_reception();
    return byte;
}

void uart_write_polled(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            while (UART_STATE & STATE_TX_FULL)
                ;
            UART_DATA = '\r';
        }
        while (UART_STATE & STATE_TX_FULL)
            ;
        UART_DATA = (uint8_t)bytes[i];
    }
}

void uart_write(const char *bytes, size_t len)
{
    bool scheduled = xTaskGetSchedulerState() != taskSCHEDULER_NOT_STARTED;
    if (scheduled)
        xSemaphoreTake(write_lock, portMAX_DELAY);
    uart_write_polled(bytes, len);
    if (scheduled)
        xSemaphoreGive(write_lock);
}
