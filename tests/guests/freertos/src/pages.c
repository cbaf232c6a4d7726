#include "pages.h"

#include "FreeRTOS.h"
#include "task.h"

#include "boot.h"
#include "clock.h"
#include "conn.h"
#include "echo.h"
#include "http.h"
#include "lan9118.h"
#include "mailbox.h"

static void mail_row(struct text *t, const struct mail *mail)
{
    text_str(t, "<tr><td><a href=\"/mail/");
    text_u32(t, mail->id);
    text_str(t, "\">");
    text_u32(t, mail->id);
    text_str(t, "</a><td>");
    text_html(t, mail->from);
    text_str(t, "<td>");
    text_html(t, mail->to);
    text_str(t, "<td>");
    text_u32(t, mail->bytes);
    text_str(t, "</tr>\n");
}

void page_index(struct text *t)
{
    text_str(t, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>quorate guest</title></head>\n"
                "<body>\n<h1>FreeRTOS on a Cortex-M0</h1>\n<p>Boot ");
    text_u32(t, boot_number());
    text_str(t, ", up for ");
    text_u64(t, clock_uptime_ms() / 1000);
    text_str(t, " s.</p>\n<ul>\n"
                "<li>echo: TCP and UDP 7</li>\n<li>discard: TCP 9</li>\n<li>mail: SMTP 25</li>\n"
                "<li>directory: LDAP 389, <code>dc=example,dc=org</code></li>\n"
                "<li><a href=\"/status.json\">/status.json</a>, <a href=\"/mail\">/mail</a>, "
                "<a href=\"/stream?bytes=65536\">/stream?bytes=N</a>, POST /sink, "
                "<a href=\"/busy?ms=100\">/busy?ms=N</a></li>\n</ul>\n<h2>Mail</h2>\n"
                "<table>\n<tr><th>id<th>from<th>to<th>bytes</tr>\n");
    const struct mail *mail;
    for (size_t i = 0; (mail = mailbox_at(i)) != NULL; i++)
        mail_row(t, mail);
    text_str(t, "</table>\n</body></html>\n");
}

static void member(struct text *t, const char *name, uint64_t value)
{
    text_str(t, ",\"");
    text_str(t, name);
    text_str(t, "\":");
    text_u64(t, value);
}

void page_status(struct text *t)
{
    text_str(t, "{\"uptime_ms\":");
    text_u64(t, clock_uptime_ms());
    text_str(t, ",\"boot_id\":\"");
    text_hex32(t, (uint32_t)(boot_id() >> 32));
    text_hex32(t, (uint32_t)boot_id());
    text_char(t, '"');
    member(t, "boots", boot_number());
    member(t, "connections", conn_open_count());
    member(t, "connections_accepted", conn_counters.accepted);
    member(t, "connections_refused", conn_counters.refused);
    member(t, "connections_timed_out", conn_counters.timed_out);
    member(t, "connections_stalled", conn_counters.stalled);
    member(t, "output_failed", conn_counters.output_failed);
    member(t, "frames_in", lan9118_counters.frames_in);
    member(t, "frames_out", lan9118_counters.frames_out);
    member(t, "bytes_in", lan9118_counters.bytes_in);
    member(t, "bytes_out", lan9118_counters.bytes_out);
    member(t, "rx_errors", lan9118_counters.rx_errors);
    member(t, "rx_dropped", lan9118_counters.rx_dropped);
    member(t, "tx_dropped", lan9118_counters.tx_dropped);
    member(t, "echo_bytes", echo_bytes());
    member(t, "mails", mailbox_received());
    member(t, "http_requests", http_requests());
    member(t, "heap_free", xPortGetFreeHeapSize());
    text_str(t, "}\n");
}

void page_mails(struct text *t)
{
    const struct mail *mail;
    text_char(t, '[');
    for (size_t i = 0; (mail = mailbox_at(i)) != NULL; i++) {
        text_str(t, i ? ",\n{\"id\":" : "{\"id\":");
        text_u32(t, mail->id);
        text_str(t, ",\"from\":\"");
        text_json(t, mail->from);
        text_str(t, "\",\"to\":\"");
        text_json(t, mail->to);
        text_char(t, '"');
        member(t, "recipients", mail->recipients);
        member(t, "bytes", mail->bytes);
        member(t, "received_at_ms", mail->received_at_ms);
        text_char(t, '}');
    }
    text_str(t, "]\n");
}
