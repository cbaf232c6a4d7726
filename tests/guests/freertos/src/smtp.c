#include "smtp.h"

#include <string.h>

#include "conn.h"
#include "line.h"
#include "mailbox.h"
#include "smtp_path.h"
#include "text.h"

#define IDLE_MS (5 * 60 * 1000u) /* RFC 5321 section 4.5.3.2.7 */
#define RECIPIENTS_MAX 100u      /* section 4.5.3.1.8 */
#define ERRORS_MAX 20u           /* then it is no mail client */
#define REPLY_MAX 512u
#define HOST "quorate-guest"

/* Where the end of the message is looked for. Only CR LF . CR LF ends it: a bare LF is data, or a relay that thinks
 * otherwise could be made to see two messages where we see one. */
enum data_state { LINE_START, IN_LINE, AFTER_CR, AFTER_DOT, AFTER_DOT_CR, ENDED };

struct smtp {
    struct line line;
    bool greeted;
    bool has_sender;
    bool in_data;
    enum data_state data_state;
    struct mail *draft; /* while in_data; NULL once the message became too large */
    uint32_t recipients;
    uint32_t errors;
    char from[MAIL_ADDRESS_MAX + 1];
    char to[MAIL_ADDRESS_MAX + 1];
};

static void reply_error(struct conn *c, const char *text)
{
    struct smtp *s = conn_state(c);
    if (++s->errors > ERRORS_MAX) {
        conn_send_str(c, "421 " HOST " too many errors\r\n");
        conn_close(c);
        return;
    }
    conn_send_str(c, text);
}

static void forget_transaction(struct smtp *s)
{
    s->has_sender = false;
    s->recipients = 0;
}

static void do_hello(struct conn *c, const char *argument, bool extended)
{
    struct smtp *s = conn_state(c);
    if (!*argument) {
        reply_error(c, "501 your name is missing\r\n");
        return;
    }
    forget_transaction(s);
    s->greeted = true;
    if (!extended) {
        conn_send_str(c, "250 " HOST "\r\n");
        return;
    }
    char buf[128];
    struct text t;
    text_init(&t, buf, sizeof buf);
    text_str(&t, "250-" HOST "\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE ");
    text_u32(&t, MAIL_BYTES_MAX);
    text_str(&t, "\r\n");
    conn_send(c, t.buf, t.len);
}

/* Reads ` NAME=value ...`; returns NULL or the reply that refuses. */
static const char *check_mail_parameters(const char *s)
{
    while (*s) {
        if (*s != ' ')
            return "501 malformed parameters\r\n";
        while (*s == ' ')
            s++;
        size_t len = strcspn(s, " ");
        uint64_t size;
        if (len > 5 && ascii_equal_ignore_case(s, 5, "SIZE=", 5)) {
            if (!parse_u64(s + 5, len - 5, UINT64_MAX, &size))
                return "501 malformed size\r\n";
            if (size > MAIL_BYTES_MAX)
                return "552 message too large\r\n";
        } else if (len && !ascii_equal_ignore_case(s, len, "BODY=7BIT", 9) &&
                   !ascii_equal_ignore_case(s, len, "BODY=8BITMIME", 13)) {
            return "555 parameter not known\r\n";
        }
        s += len;
    }
    return NULL;
}

static void do_mail(struct conn *c, const char *argument)
{
    struct smtp *s = conn_state(c);
    char from[MAIL_ADDRESS_MAX + 1];
    if (!s->greeted || s->has_sender) {
        reply_error(c, s->greeted ? "503 a transaction is under way\r\n" : "503 say hello first\r\n");
        return;
    }
    const char *parameters = smtp_parse_path(argument, "FROM:", from);
    const char *error = parameters ? check_mail_parameters(parameters) : "501 expected FROM:<address>\r\n";
    if (error) {
        reply_error(c, error);
        return;
    }
    memcpy(s->from, from, sizeof from);
    s->has_sender = true;
    conn_send_str(c, "250 sender taken\r\n");
}

static void do_rcpt(struct conn *c, const char *argument)
{
    struct smtp *s = conn_state(c);
    char to[MAIL_ADDRESS_MAX + 1];
    if (!s->has_sender) {
        reply_error(c, "503 no sender yet\r\n");
        return;
    }
    const char *parameters = smtp_parse_path(argument, "TO:", to);
    if (!parameters || !smtp_is_recipient(to)) {
        reply_error(c, "501 expected TO:<address>\r\n");
    } else if (*parameters) {
        reply_error(c, "555 parameter not known\r\n");
    } else if (s->recipients == RECIPIENTS_MAX) {
        reply_error(c, "452 too many recipients\r\n");
    } else {
        if (s->recipients++ == 0)
            memcpy(s->to, to, sizeof to);
        conn_send_str(c, "250 recipient taken\r\n");
    }
}

static void do_data(struct conn *c, const char *argument)
{
    struct smtp *s = conn_state(c);
    if (*argument) {
        reply_error(c, "501 DATA has no argument\r\n");
    } else if (!s->recipients) {
        reply_error(c, "503 no recipient yet\r\n");
    } else if ((s->draft = mail_draft()) == NULL) {
        reply_error(c, "452 no room for another message\r\n");
    } else {
        s->in_data = true;
        s->data_state = LINE_START;
        conn_send_str(c, "354 end with <CR><LF>.<CR><LF>\r\n");
    }
}

static void do_command(struct conn *c)
{
    struct smtp *s = conn_state(c);
    const char *line = s->line.buf;
    size_t verb_len = strcspn(line, " ");
    const char *argument = line + verb_len;
    while (*argument == ' ')
        argument++;
#define VERB(name) ascii_equal_ignore_case(line, verb_len, name, sizeof name - 1)
    if (s->line.too_long)
        reply_error(c, "500 line too long\r\n");
    else if (VERB("EHLO") || VERB("HELO"))
        do_hello(c, argument, VERB("EHLO"));
    else if (VERB("MAIL"))
        do_mail(c, argument);
    else if (VERB("RCPT"))
        do_rcpt(c, argument);
    else if (VERB("DATA"))
        do_data(c, argument);
    else if (VERB("RSET")) {
        forget_transaction(s);
        conn_send_str(c, "250 forgotten\r\n");
    } else if (VERB("NOOP"))
        conn_send_str(c, "250 nothing done\r\n");
    else if (VERB("VRFY"))
        conn_send_str(c, "252 cannot tell, but will take the message\r\n");
    else if (VERB("QUIT")) {
        conn_send_str(c, "221 " HOST " bye\r\n");
        conn_close(c);
    } else if (VERB("HELP"))
        conn_send_str(c, "214 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT\r\n");
    else if (VERB("EXPN") || VERB("AUTH") || VERB("STARTTLS"))
        reply_error(c, "502 not implemented\r\n");
    else
        reply_error(c, "500 command not known\r\n");
#undef VERB
}

static void end_of_data(struct conn *c)
{
    struct smtp *s = conn_state(c);
    s->in_data = false;
    if (!s->draft) {
        reply_error(c, "552 message too large\r\n");
    } else {
        memcpy(s->draft->from, s->from, sizeof s->from);
        memcpy(s->draft->to, s->to, sizeof s->to);
        s->draft->recipients = s->recipients;
        char buf[64];
        struct text t;
        text_init(&t, buf, sizeof buf);
        text_str(&t, "250 queued as ");
        text_u32(&t, mail_store(s->draft));
        text_str(&t, "\r\n");
        s->draft = NULL; /* the mailbox's now */
        conn_send(c, t.buf, t.len);
    }
    forget_transaction(s);
}

/* One step through the message; writes 0 to 2 bytes of its text to `out`, dots unstuffed (section 4.5.2). */
static size_t data_step(struct smtp *s, uint8_t byte, uint8_t *out)
{
    size_t len = 0;
    switch (s->data_state) {
    case LINE_START:
        if (byte == '.') {
            s->data_state = AFTER_DOT;
            return 0;
        }
        break;
    case AFTER_DOT: /* the dot is dropped, whatever comes */
        if (byte == '\r') {
            s->data_state = AFTER_DOT_CR;
            return 0;
        }
        break;
    case AFTER_DOT_CR:
        if (byte == '\n') {
            s->data_state = ENDED;
            return 0;
        }
        out[len++] = '\r';
        break;
    case AFTER_CR:
        if (byte == '\n') {
            out[0] = byte;
            s->data_state = LINE_START;
            return 1;
        }
        break;
    default: break;
    }
    out[len++] = byte;
    s->data_state = byte == '\r' ? AFTER_CR : IN_LINE;
    return len;
}

static size_t take_data(struct conn *c, const uint8_t *bytes, size_t len)
{
    struct smtp *s = conn_state(c);
    uint8_t text[512];
    size_t text_len = 0;
    size_t used = 0;
    while (used < len && s->data_state != ENDED && text_len < sizeof text - 1)
        text_len += data_step(s, bytes[used++], text + text_len);
    if (s->draft && !mail_append(s->draft, text, text_len)) {
        mail_release(s->draft);
        s->draft = NULL;
    }
    if (s->data_state == ENDED)
        end_of_data(c);
    return used;
}

static size_t smtp_received(struct conn *c, const uint8_t *bytes, size_t len)
{
    struct smtp *s = conn_state(c);
    if (conn_room(c) < REPLY_MAX)
        return 0;
    if (s->in_data)
        return take_data(c, bytes, len);
    size_t used = line_take(&s->line, bytes, len);
    if (s->line.complete)
        do_command(c);
    return used;
}

static void smtp_opened(struct conn *c)
{
    conn_send_str(c, "220 " HOST " ESMTP\r\n");
}

static void smtp_closed(struct conn *c)
{
    struct smtp *s = conn_state(c);
    if (s->draft)
        mail_release(s->draft);
}

static const struct service smtp_service = {.name = "smtp",
                                            .port = 25,
                                            .idle_ms = IDLE_MS,
                                            .state_bytes = sizeof(struct smtp),
                                            .opened = smtp_opened,
                                            .received = smtp_received,
                                            .closed = smtp_closed};

void smtp_start(void)
{
    conn_listen(&smtp_service);
}
