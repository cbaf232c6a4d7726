/* Configuration of the FreeRTOS kernel V11.2.0 for the Cortex-M0 port. */
#ifndef FREERTOS_CONFIG_H
#define FREERTOS_CONFIG_H

#define configCPU_CLOCK_HZ 25000000 /* SYSCLK of the MPS2 AN385 image */
#define configTICK_RATE_HZ 1000
#define configTICK_TYPE_WIDTH_IN_BITS TICK_TYPE_WIDTH_32_BITS
#define configUSE_PREEMPTION 1
#define configUSE_TIME_SLICING 1
#define configUSE_PORT_OPTIMISED_TASK_SELECTION 0 /* the Cortex-M0 has no CLZ */
#define configMAX_PRIORITIES 6
#define configMINIMAL_STACK_SIZE 256 /* words */
#define configMAX_TASK_NAME_LEN 8

/* Tasks, their stacks, queues and the state of connections; packets live in lwIP's own pools. */
#define configTOTAL_HEAP_SIZE (384 * 1024)
#define configSUPPORT_DYNAMIC_ALLOCATION 1
#define configSUPPORT_STATIC_ALLOCATION 0

#define configUSE_MUTEXES 1
#define configUSE_RECURSIVE_MUTEXES 1 /* lwIP's core lock */
#define configUSE_COUNTING_SEMAPHORES 0
#define configUSE_TIMERS 0
#define configUSE_TASK_NOTIFICATIONS 1
#define configUSE_TRACE_FACILITY 1 /* the shell's `tasks` */
#define configUSE_IDLE_HOOK 1      /* waits for an interrupt */
#define configUSE_TICK_HOOK 0
#define configUSE_MALLOC_FAILED_HOOK 0 /* every caller checks: a failed allocation refuses one connection */
#define configCHECK_FOR_STACK_OVERFLOW 2
#define configCHECK_HANDLER_INSTALLATION 1
#define configENABLE_MPU 0
#define configMAX_SYSCALL_INTERRUPT_PRIORITY 0 /* unused: the port masks with PRIMASK */

#define INCLUDE_vTaskDelay 1
#define INCLUDE_vTaskSuspend 1 /* portMAX_DELAY waits for ever */
#define INCLUDE_xTaskGetSchedulerState 1
#define INCLUDE_xTaskGetCurrentTaskHandle 1

void panic_at(const char *what, const char *file, int line) __attribute__((noreturn));
#define configASSERT(x)                                  \
    do {                                                 \
        if (!(x))                                        \
            panic_at("kernel", __FILE_NAME__, __LINE__); \
    } while (0)

#endif
