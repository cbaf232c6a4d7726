#include "burner.h"

#include "FreeRTOS.h"
#include "queue.h"
#include "task.h"

#include "lwip/tcpip.h"

#include "panic.h"

#define JOBS_MAX 8
#define PRIORITY 1 /* above idle only: frames and the shell come first */
#define STACK_WORDS 512

struct job {
    uint32_t ms;
    uint32_t token;
    void (*done)(uint32_t token, struct burned burned);
};
static QueueHandle_t jobs;

struct burned burn(uint32_t ms)
{
    TickType_t start = xTaskGetTickCount();
    struct burned burned = {.ms = ms};
    while (xTaskGetTickCount() - start < ms) {
        uint32_t turns = BURN_ROUND_INSTRUCTIONS / 2;
        __asm volatile(".syntax unified \n 1: subs %0, #1 \n bne 1b" : "+l"(turns) : : "cc");
        burned.rounds++;
    }
    return burned;
}

static void burner_task(void *unused)
{
    (void)unused;
    for (;;) {
        struct job job;
        xQueueReceive(jobs, &job, portMAX_DELAY);
        struct burned burned = burn(job.ms);
        LOCK_TCPIP_CORE();
        job.done(job.token, burned);
        UNLOCK_TCPIP_CORE();
    }
}

bool burner_request(uint32_t ms, void (*done)(uint32_t token, struct burned burned), uint32_t token)
{
    struct job job = {.ms = ms, .token = token, .done = done};
    return xQueueSend(jobs, &job, 0) == pdTRUE;
}

void burner_start(void)
{
    jobs = xQueueCreate(JOBS_MAX, sizeof(struct job));
    if (!jobs || xTaskCreate(burner_task, "burner", STACK_WORDS, NULL, PRIORITY, NULL) != pdPASS)
        panic("no memory for the burner");
}
