#include "shell.h"

#include <string.h>

#include "FreeRTOS.h"
#include "task.h"

#include "lwip/netif.h"
#include "lwip/tcpip.h"

#include "board.h"
#include "boot.h"
#include "burner.h"
#include "clock.h"
#include "conn.h"
#include "lan9118.h"
#include "mailbox.h"
#include "network.h"
#include "panic.h"
#include "text.h"
#include "uart.h"

#define PROMPT "quorate> "
#define PRIORITY 2
#define STACK_WORDS 1024
#define INPUT_MAX 120u
#define OUTPUT_MAX 12288u /* sixteen mails with the longest addresses */
#define TASKS_MAX 12u

static char output[OUTPUT_MAX]; /* of the command under way: there is one shell */

static void say(const char *s)
{
    uart_write(s, strlen(s));
}

static void number(struct text *t, const char *name, uint64_t value)
{
    text_str(t, name);
    text_u64(t, value);
}

static void do_uptime(struct text *t)
{
    number(t, "up ", clock_uptime_ms());
    number(t, " ms, boot ", boot_number());
    text_str(t, ", id ");
    text_hex32(t, (uint32_t)(boot_id() >> 32));
    text_hex32(t, (uint32_t)boot_id());
    text_char(t, '\n');
}

static void do_mail(struct text *t)
{
    const struct mail *mail;
    LOCK_TCPIP_CORE();
    number(t, "", mailbox_received());
    text_str(t, " received\n");
    for (size_t i = 0; (mail = mailbox_at(i)) != NULL; i++) {
        number(t, "", mail->id);
        text_str(t, ": ");
        text_str(t, mail->from);
        text_str(t, " -> ");
        text_str(t, mail->to);
        number(t, ", ", mail->bytes);
        text_str(t, " bytes\n");
    }
    UNLOCK_TCPIP_CORE();
}

static void do_net(struct text *t)
{
    LOCK_TCPIP_CORE();
    text_str(t, "mac ");
    text_mac(t, network_interface.hwaddr);
    text_str(t, "\naddress ");
    text_ip4(t, ip4_addr_get_u32(netif_ip4_addr(&network_interface)));
    text_str(t, " gateway ");
    text_ip4(t, ip4_addr_get_u32(netif_ip4_gw(&network_interface)));
    number(t, "\nin: frames ", lan9118_counters.frames_in);
    number(t, " bytes ", lan9118_counters.bytes_in);
    number(t, " errors ", lan9118_counters.rx_errors);
    number(t, " dropped ", lan9118_counters.rx_dropped);
    number(t, "\nout: frames ", lan9118_counters.frames_out);
    number(t, " bytes ", lan9118_counters.bytes_out);
    number(t, " dropped ", lan9118_counters.tx_dropped);
    number(t, "\nconnections: open ", conn_open_count());
    number(t, " accepted ", conn_counters.accepted);
    number(t, " refused ", conn_counters.refused);
    number(t, " timed out ", conn_counters.timed_out);
    number(t, " stalled ", conn_counters.stalled);
    number(t, " without memory ", conn_counters.output_failed);
    text_char(t, '\n');
    UNLOCK_TCPIP_CORE();
}

static void do_tasks(struct text *t)
{
    static TaskStatus_t tasks[TASKS_MAX];
    static const char *const states[] = {"running", "ready", "blocked", "suspended", "deleted", "?"};
    UBaseType_t count = uxTaskGetSystemState(tasks, TASKS_MAX, NULL);
    for (UBaseType_t i = 0; i < count; i++) {
        text_str(t, tasks[i].pcTaskName);
        number(t, ": priority ", tasks[i].uxCurrentPriority);
        text_str(t, " ");
        text_str(t, states[tasks[i].eCurrentState > eDeleted ? 5 : tasks[i].eCurrentState]);
        number(t, ", stack words never used ", tasks[i].usStackHighWaterMark);
        text_char(t, '\n');
    }
    number(t, "heap: free ", xPortGetFreeHeapSize());
    number(t, " lowest ", xPortGetMinimumEverFreeHeapSize());
    text_char(t, '\n');
}

static void do_busy(struct text *t, const char *argument)
{
    uint64_t ms;
    if (!parse_u64(argument, strlen(argument), BURN_MS_MAX, &ms)) {
        number(t, "usage: busy MS, at most ", BURN_MS_MAX);
        text_char(t, '\n');
        return;
    }
    struct burned burned = burn((uint32_t)ms);
    number(t, "", (uint64_t)burned.rounds * BURN_ROUND_INSTRUCTIONS);
    number(t, " instructions in ", burned.ms);
    text_str(t, " ms\n");
}

static void do_help(struct text *t)
{
    text_str(t, "help          this list\n"
                "uptime        time since boot, number and identity of this boot\n"
                "mail          the mails in the mailbox\n"
                "net           addresses and counters\n"
                "tasks, heap   tasks, their stacks, the heap\n"
                "busy MS       burns processor time\n"
                "echo TEXT     says TEXT\n"
                "crash         faults on purpose: a panic line and a reset\n"
                "reboot        resets the board\n");
}

static void run(const char *line)
{
    struct text t;
    text_init(&t, output, sizeof output);
    size_t len = strcspn(line, " ");
    const char *argument = line + len;
    while (*argument == ' ')
        argument++;
#define COMMAND(name) (len == sizeof name - 1 && memcmp(line, name, len) == 0)
    if (COMMAND("help"))
        do_help(&t);
    else if (COMMAND("uptime"))
        do_uptime(&t);
    else if (COMMAND("mail"))
        do_mail(&t);
    else if (COMMAND("net"))
        do_net(&t);
    else if (COMMAND("tasks") || COMMAND("heap"))
        do_tasks(&t);
    else if (COMMAND("busy"))
        do_busy(&t, argument);
    else if (COMMAND("echo")) {
        text_str(&t, argument);
        text_char(&t, '\n');
    } else if (COMMAND("crash")) {
        __asm volatile("udf #0");
    } else if (COMMAND("reboot")) {
        say("rebooting\n");
        board_reset();
    } else if (len)
        text_str(&t, "not known; try help\n");
#undef COMMAND
    uart_write(t.buf, t.len);
}

/* Collects a line with echo; returns at CR or LF (of a pair, the LF counts for nothing). */
static void read_line(char *line)
{
    static uint8_t previous;
    size_t len = 0;
    for (;;) {
        uint8_t byte = uart_read();
        bool pair = byte == '\n' && previous == '\r';
        previous = byte;
        if (pair)
            continue;
        if (byte == '\r' || byte == '\n')
            break;
        if (byte == 8 || byte == 127) { /* backspace, delete */
            if (len) {
                len--;
                say("\b \b");
            }
        } else if (byte == 3 || byte == 21) { /* Ctrl-C, Ctrl-U: start again */
            len = 0;
            say("\n" PROMPT);
        } else if (byte >= 0x20 && byte <= 0x7E) {
            char c = (char)byte;
            if (len < INPUT_MAX) {
                line[len++] = c;
                uart_write(&c, 1);
            } else {
                say("\a");
            }
        }
    }
    line[len] = 0;
    say("\n");
}

static void shell_task(void *unused)
{
    static char line[INPUT_MAX + 1];
    (void)unused;
    for (;;) {
        say(PROMPT);
        read_line(line);
        run(line);
    }
}

void shell_start(void)
{
    if (xTaskCreate(shell_task, "shell", STACK_WORDS, NULL, PRIORITY, NULL) != pdPASS)
        panic("no memory for the shell");
}
