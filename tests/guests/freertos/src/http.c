/* One connection walks through the stages below. A request is answered only once all of its body has arrived and the
 * send buffer has room for any answer but the bulk ones, so an answer never has to be kept. */
#include "http.h"

#include <string.h>

#include "bulk.h"
#include "burner.h"
#include "conn.h"
#include "http_request.h"
#include "line.h"
#include "mailbox.h"
#include "pages.h"
#include "text.h"

#define IDLE_MS (60 * 1000u) /* longer than BURN_MS_MAX */
#define HEAD_BYTES_MAX 8192u
#define BODY_MAX 32768u
#define HEADERS_MAX 512u
#define STREAM_BYTES_MAX 1000000000u
#define STREAM_WORDS 1460u /* four full segments at a time */

enum stage {
    READ_REQUEST_LINE,
    READ_FIELDS,
    READ_BODY,       /* body_left bytes, of the body or of a chunk */
    READ_CHUNK_SIZE, /* a line */
    READ_CHUNK_END,  /* an empty line behind a chunk */
    READ_TRAILERS,   /* lines up to an empty one */
    WAIT_BURNER,     /* until burner_done */
    SEND_STREAM,
    SEND_MAIL,
};

struct http {
    enum stage stage;
    struct http_request request;
    struct line line;
    size_t head_bytes;
    uint64_t body_left;
    uint64_t body_bytes;
    uint32_t body_crc;
    uint32_t stream_left, stream_state;
    struct mail *mail;
    size_t mail_offset;
};

static uint32_t requests;
static char body_buf[BODY_MAX]; /* of the answer under way; used within one call only */

uint32_t http_requests(void)
{
    return requests;
}

static const char *reason(uint16_t status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "HTTP Version Not Supported";
    }
}

static void send_head(struct conn *c, uint16_t status, const char *type, uint64_t length)
{
    struct http *h = conn_state(c);
    char buf[HEADERS_MAX];
    struct text t;
    text_init(&t, buf, sizeof buf);
    text_str(&t, "HTTP/1.1 ");
    text_u32(&t, status);
    text_char(&t, ' ');
    text_str(&t, reason(status));
    text_str(&t, "\r\nServer: quorate-guest\r\nContent-Type: ");
    text_str(&t, type);
    text_str(&t, "\r\nContent-Length: ");
    text_u64(&t, length);
    if (status == 405)
        text_str(&t, "\r\nAllow: GET, HEAD");
    text_str(&t, h->request.keep_alive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
    conn_send(c, t.buf, t.len);
    requests++;
}

/* The answer is complete: on to the next request, or to the end. */
static void finish(struct conn *c)
{
    struct http *h = conn_state(c);
    h->stage = READ_REQUEST_LINE;
    h->head_bytes = 0;
    if (!h->request.keep_alive)
        conn_close(c);
}

static void answer(struct conn *c, uint16_t status, const char *type, const struct text *body)
{
    struct http *h = conn_state(c);
    send_head(c, status, type, body->len);
    if (h->request.method != HTTP_HEAD)
        conn_send(c, body->buf, body->len);
    finish(c);
}

static void answer_error(struct conn *c, uint16_t status)
{
    struct text body;
    text_init(&body, body_buf, sizeof body_buf);
    text_u32(&body, status);
    text_char(&body, ' ');
    text_str(&body, reason(status));
    text_char(&body, '\n');
    answer(c, status, "text/plain", &body);
}

/* The head itself is wrong: nothing after it can be trusted. */
static void refuse(struct conn *c, uint16_t status)
{
    struct http *h = conn_state(c);
    h->request.keep_alive = false;
    h->request.method = HTTP_GET;
    answer_error(c, status);
}

static void answer_page(struct conn *c, const char *type, void (*page)(struct text *))
{
    struct text body;
    text_init(&body, body_buf, sizeof body_buf);
    page(&body);
    answer(c, 200, type, &body);
}

static void answer_mail(struct conn *c, const char *number)
{
    struct http *h = conn_state(c);
    uint64_t id;
    if (!parse_u64(number, strlen(number), UINT32_MAX, &id) || (h->mail = mail_open((uint32_t)id)) == NULL) {
        answer_error(c, 404);
        return;
    }
    send_head(c, 200, "message/rfc822", h->mail->bytes);
    h->mail_offset = h->request.method == HTTP_HEAD ? h->mail->bytes : 0;
    h->stage = SEND_MAIL;
}

static void answer_stream(struct conn *c)
{
    struct http *h = conn_state(c);
    uint64_t bytes;
    if (!http_query_number(&h->request, "bytes", STREAM_BYTES_MAX, 0, &bytes)) {
        answer_error(c, 400);
        return;
    }
    send_head(c, 200, "application/octet-stream", bytes);
    h->stream_left = h->request.method == HTTP_HEAD ? 0 : (uint32_t)bytes;
    h->stream_state = PATTERN_SEED;
    h->stage = SEND_STREAM;
}

static void answer_sink(struct conn *c)
{
    struct http *h = conn_state(c);
    struct text body;
    text_init(&body, body_buf, sizeof body_buf);
    text_str(&body, "{\"bytes\":");
    text_u64(&body, h->body_bytes);
    text_str(&body, ",\"crc32\":\"");
    text_hex32(&body, h->body_crc);
    text_str(&body, "\"}\n");
    answer(c, 200, "application/json", &body);
}

static void burner_done(uint32_t id, struct burned burned)
{
    struct conn *c = conn_find(id);
    if (!c)
        return;
    struct text body;
    text_init(&body, body_buf, sizeof body_buf);
    text_str(&body, "{\"ms\":");
    text_u32(&body, burned.ms);
    text_str(&body, ",\"instructions\":");
    text_u64(&body, (uint64_t)burned.rounds * BURN_ROUND_INSTRUCTIONS);
    text_str(&body, "}\n");
    answer(c, 200, "application/json", &body);
    conn_resume(c);
}

static void answer_busy(struct conn *c)
{
    struct http *h = conn_state(c);
    uint64_t ms;
    if (!http_query_number(&h->request, "ms", BURN_MS_MAX, 100, &ms))
        answer_error(c, 400);
    else if (burner_request((uint32_t)ms, burner_done, conn_id(c)))
        h->stage = WAIT_BURNER;
    else
        answer_error(c, 503);
}

static void route(struct conn *c)
{
    struct http *h = conn_state(c);
    const char *path = h->request.path;
    bool reads = h->request.method == HTTP_GET || h->request.method == HTTP_HEAD;
    if (strcmp(path, "/sink") == 0) {
        answer_sink(c); /* a GET has sent nothing, and is told so */
    } else if (!reads) {
        answer_error(c, 405);
    } else if (strcmp(path, "/") == 0) {
        answer_page(c, "text/html; charset=utf-8", page_index);
    } else if (strcmp(path, "/status.json") == 0) {
        answer_page(c, "application/json", page_status);
    } else if (strcmp(path, "/mail") == 0) {
        answer_page(c, "application/json", page_mails);
    } else if (strncmp(path, "/mail/", 6) == 0) {
        answer_mail(c, path + 6);
    } else if (strcmp(path, "/stream") == 0) {
        answer_stream(c);
    } else if (strcmp(path, "/busy") == 0) {
        answer_busy(c);
    } else {
        answer_error(c, 404);
    }
}

static void head_complete(struct conn *c)
{
    struct http *h = conn_state(c);
    uint16_t error = http_check_head(&h->request);
    if (error) {
        refuse(c, error);
        return;
    }
    h->body_bytes = 0;
    h->body_crc = 0;
    h->body_left = h->request.content_length;
    bool has_body = h->request.chunked || h->body_left;
    if (has_body && h->request.expects_continue)
        conn_send_str(c, "HTTP/1.1 100 Continue\r\n\r\n");
    if (h->request.chunked)
        h->stage = READ_CHUNK_SIZE;
    else if (has_body)
        h->stage = READ_BODY;
    else
        route(c);
}

/* RFC 9112 section 7.1; extensions behind `;` are ignored. */
static bool parse_chunk_size(const char *s, uint64_t *size)
{
    uint64_t sum = 0;
    int digits = 0;
    for (; digits < 12; digits++, s++) {
        char d = ascii_lower(*s);
        if (d >= '0' && d <= '9')
            sum = sum << 4 | (uint64_t)(d - '0');
        else if (d >= 'a' && d <= 'f')
            sum = sum << 4 | (uint64_t)(d - 'a' + 10);
        else
            break;
    }
    *size = sum;
    return digits > 0 && (*s == 0 || *s == ';' || *s == ' ' || *s == '\t');
}

static void take_chunk_size(struct conn *c)
{
    struct http *h = conn_state(c);
    if (!parse_chunk_size(h->line.buf, &h->body_left)) {
        refuse(c, 400);
        return;
    }
    h->stage = h->body_left ? READ_BODY : READ_TRAILERS;
    h->head_bytes = 0; /* bounds the trailers from here */
}

static void take_line(struct conn *c)
{
    struct http *h = conn_state(c);
    uint16_t error = 0;
    if (h->line.too_long) {
        refuse(c, h->stage == READ_REQUEST_LINE ? 414 : 431);
        return;
    }
    switch (h->stage) {
    case READ_REQUEST_LINE:
        if (h->line.len == 0) /* RFC 9112 section 2.2: be lenient about empty lines before a request */
            return;
        error = http_parse_request_line(&h->request, h->line.buf, h->line.len);
        h->stage = READ_FIELDS;
        break;
    case READ_FIELDS:
        if (h->line.len == 0)
            head_complete(c);
        else
            error = http_parse_field(&h->request, h->line.buf, h->line.len);
        break;
    case READ_CHUNK_SIZE: take_chunk_size(c); break;
    case READ_CHUNK_END:
        error = h->line.len ? 400 : 0;
        h->stage = READ_CHUNK_SIZE;
        break;
    default: /* READ_TRAILERS */
        if (h->line.len == 0)
            route(c);
    }
    if (error)
        refuse(c, error);
}

static size_t take_body(struct conn *c, const uint8_t *bytes, size_t len)
{
    struct http *h = conn_state(c);
    if (len > h->body_left)
        len = (size_t)h->body_left;
    h->body_crc = crc32_update(h->body_crc, bytes, len);
    h->body_bytes += len;
    h->body_left -= len;
    if (h->body_left)
        return len;
    if (h->request.chunked)
        h->stage = READ_CHUNK_END;
    else
        route(c);
    return len;
}

static size_t http_received(struct conn *c, const uint8_t *bytes, size_t len)
{
    struct http *h = conn_state(c);
    if (conn_room(c) < BODY_MAX + HEADERS_MAX)
        return 0;
    if (h->stage == READ_BODY)
        return take_body(c, bytes, len);
    size_t used = line_take(&h->line, bytes, len);
    h->head_bytes += used;
    if (h->head_bytes > HEAD_BYTES_MAX)
        refuse(c, 431);
    else if (h->line.complete)
        take_line(c);
    return used;
}

static bool send_stream(struct conn *c, struct http *h)
{
    static uint32_t words[STREAM_WORDS];
    while (h->stream_left) {
        size_t len = sizeof words < h->stream_left ? sizeof words : h->stream_left;
        if (conn_room(c) < len)
            return true;
        uint32_t after = pattern_fill(h->stream_state, words, (len + 3) / 4);
        if (conn_send_some(c, words, len) == 0) /* all of it or, short of memory, nothing */
            return true;
        h->stream_state = after;
        h->stream_left -= len;
    }
    finish(c);
    return false;
}

static bool send_mail(struct conn *c, struct http *h)
{
    const uint8_t *bytes;
    size_t len;
    while ((len = mail_peek(h->mail, h->mail_offset, &bytes)) != 0) {
        size_t sent = conn_send_some(c, bytes, len);
        if (sent == 0)
            return true;
        h->mail_offset += sent;
    }
    mail_release(h->mail);
    h->mail = NULL;
    finish(c);
    return false;
}

static bool http_produce(struct conn *c)
{
    struct http *h = conn_state(c);
    switch (h->stage) {
    case SEND_STREAM: return send_stream(c, h);
    case SEND_MAIL: return send_mail(c, h);
    case WAIT_BURNER: return true;
    default: return false;
    }
}

static void http_closed(struct conn *c)
{
    struct http *h = conn_state(c);
    if (h->mail)
        mail_release(h->mail);
}

static const struct service http_service = {.name = "http",
                                            .port = 80,
                                            .idle_ms = IDLE_MS,
                                            .state_bytes = sizeof(struct http),
                                            .received = http_received,
                                            .produce = http_produce,
                                            .closed = http_closed};

void http_start(void)
{
    conn_listen(&http_service);
}
