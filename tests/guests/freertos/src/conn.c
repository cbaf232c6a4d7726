/* Invariants:
 * - a connection in `conns` with a pcb has that pcb's argument pointing to it; without one it is free;
 * - `in` holds bytes the peer sent and the service did not use yet; their window is given back as they are used;
 * - service functions are called from `pump` only (opened and closed apart), which never runs within itself. */
#include "conn.h"

#include <string.h>

#include "FreeRTOS.h"

#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

#include "panic.h"

#define CONNS_MAX 60u          /* below MEMP_NUM_TCP_PCB: connections that linger after their close need room too */
#define POLL_SLOW_TICKS 10u    /* a second */
#define QUEUE_RESERVE 48u      /* segments kept free, so that conn_send within conn_room does not run out of them */
/* Readers that stall must not starve the others. Of lwIP's heap, a connection that has something on its way already may
 * use three quarters for bulk, any other a bit more; the rest is for short answers. Of the buffers for received frames,
 * unread input may hold so many, and the connection that holds most is reset when there are more: a peer that sends
 * single bytes would otherwise fill all of them within one window, and then nobody's acknowledgements come in. */
#define BULK_HEAP_MAX (MEM_SIZE / 4u * 3u)
#define FIRST_HEAP_MAX (MEM_SIZE / 8u * 7u)
#define HELD_BUFFERS_MAX (PBUF_POOL_SIZE / 8u * 5u)

struct conn {
    struct tcp_pcb *pcb;
    const struct service *service;
    struct pbuf *in;
    void *state;
    uint32_t id;
    uint32_t active_at_ms;
    uint32_t held; /* buffers in `in`, as of the last time it was left waiting */
    bool peer_closed; /* FIN received */
    bool closing;     /* conn_close was called */
    bool broken;      /* reset at the next occasion */
};

struct conn_counters conn_counters;
static struct conn conns[CONNS_MAX];
static uint32_t last_id;

void *conn_state(struct conn *c)
{
    return c->state;
}

uint32_t conn_id(const struct conn *c)
{
    return c->id;
}

struct conn *conn_find(uint32_t id)
{
    for (size_t i = 0; i < CONNS_MAX; i++)
        if (conns[i].pcb && conns[i].id == id)
            return &conns[i];
    return NULL;
}

uint32_t conn_open_count(void)
{
    uint32_t open = 0;
    for (size_t i = 0; i < CONNS_MAX; i++)
        open += conns[i].pcb != NULL;
    return open;
}

size_t conn_room(const struct conn *c)
{
    if (c->broken || tcp_sndqueuelen(c->pcb) + QUEUE_RESERVE > TCP_SND_QUEUELEN)
        return 0;
    return tcp_sndbuf(c->pcb);
}

void conn_send(struct conn *c, const void *bytes, size_t len)
{
    if (c->broken)
        return;
    if (len > tcp_sndbuf(c->pcb) || tcp_write(c->pcb, bytes, (u16_t)len, TCP_WRITE_FLAG_COPY) != ERR_OK) {
        conn_counters.output_failed++;
        c->broken = true;
    }
}

void conn_send_str(struct conn *c, const char *s)
{
    conn_send(c, s, strlen(s));
}

size_t conn_send_some(struct conn *c, const void *bytes, size_t len)
{
    size_t room = conn_room(c);
    bool first = tcp_sndqueuelen(c->pcb) == 0;
    if (lwip_stats.mem.used > (first ? FIRST_HEAP_MAX : BULK_HEAP_MAX))
        return 0;
    if (len > room)
        len = room;
    if (len > UINT16_MAX)
        len = UINT16_MAX;
    if (len == 0 || tcp_write(c->pcb, bytes, (u16_t)len, TCP_WRITE_FLAG_COPY) != ERR_OK)
        return 0;
    return len;
}

void conn_close(struct conn *c)
{
    c->closing = true;
}

/* Forgets the connection; the pcb goes its own way. */
static void release(struct conn *c)
{
    if (c->service->closed)
        c->service->closed(c);
    if (c->in)
        pbuf_free(c->in);
    vPortFree(c->state);
    memset(c, 0, sizeof *c);
}

static void detach(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
    tcp_err(pcb, NULL);
}

static err_t reset(struct conn *c)
{
    struct tcp_pcb *pcb = c->pcb;
    detach(pcb);
    release(c);
    tcp_abort(pcb);
    return ERR_ABRT;
}

static void drop_input(struct conn *c)
{
    if (c->in) {
        tcp_recved(c->pcb, c->in->tot_len);
        pbuf_free(c->in);
        c->in = NULL;
    }
}

/* While lwIP delivers the data of a segment that carries a FIN too, the window misses that one number. tcp_close
 * would take it for data nobody read and answer with a reset, which may cost the peer our last words. The FIN itself is
 * delivered right afterwards. */
static bool fin_follows(const struct conn *c)
{
    return !c->peer_closed && c->pcb->rcv_wnd != TCP_WND_MAX(c->pcb);
}

/* Hands input to the service until it wants no more. Returns whether the service still produces output. */
static bool feed(struct conn *c)
{
    for (;;) {
        if (c->broken || c->closing)
            return false;
        if (c->service->produce && c->service->produce(c))
            return true;
        if (!c->in || c->closing)
            return false;
        size_t len = c->in->len;
        size_t used = c->service->received(c, c->in->payload, len);
        if (used == 0)
            return false;
        c->in = pbuf_free_header(c->in, (u16_t)used);
        tcp_recved(c->pcb, (u16_t)used);
    }
}

static err_t pump(struct conn *c)
{
    bool producing = feed(c);
    if (c->broken)
        return reset(c);
    if (c->peer_closed && !producing && !c->in)
        c->closing = true;
    if (c->closing) {
        struct tcp_pcb *pcb = c->pcb;
        drop_input(c);
        if (fin_follows(c))
            return ERR_OK;
        detach(pcb);
        if (tcp_close(pcb) == ERR_OK) {
            release(c);
            return ERR_OK;
        }
        return reset(c); /* no memory for a FIN */
    }
    tcp_output(c->pcb);
    return ERR_OK;
}

/* Called when `c` was left with input. Returns whether it was `c` that had to go. */
static bool enforce_held_limit(struct conn *c)
{
    struct conn *most = c;
    uint32_t sum = 0;
    c->held = c->in ? pbuf_clen(c->in) : 0;
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (conns[i].pcb && conns[i].in) {
            sum += conns[i].held;
            if (conns[i].held > most->held)
                most = &conns[i];
        }
    }
    if (sum <= HELD_BUFFERS_MAX)
        return false;
    conn_counters.stalled++;
    reset(most);
    return most == c;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct conn *c = arg;
    (void)pcb;
    (void)err;
    c->active_at_ms = sys_now();
    if (!p)
        c->peer_closed = true;
    else if (c->in)
        pbuf_cat(c->in, p);
    else
        c->in = p;
    err_t result = pump(c);
    if (result == ERR_OK && c->in && enforce_held_limit(c))
        result = ERR_ABRT;
    return result;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    struct conn *c = arg;
    (void)pcb;
    (void)len;
    c->active_at_ms = sys_now();
    return pump(c);
}

static err_t on_poll(void *arg, struct tcp_pcb *pcb)
{
    struct conn *c = arg;
    (void)pcb;
    if (sys_now() - c->active_at_ms > c->service->idle_ms) {
        conn_counters.timed_out++;
        return reset(c);
    }
    return pump(c);
}

/* The pcb is gone already. */
static void on_err(void *arg, err_t err)
{
    struct conn *c = arg;
    (void)err;
    if (c)
        release(c);
}

static struct conn *free_slot(void)
{
    for (size_t i = 0; i < CONNS_MAX; i++)
        if (!conns[i].pcb)
            return &conns[i];
    return NULL;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    const struct service *service = arg;
    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    struct conn *c = free_slot();
    void *state = c ? pvPortMalloc(service->state_bytes ? service->state_bytes : 1) : NULL;
    if (!state) {
        conn_counters.refused++;
        return ERR_MEM; /* lwIP resets it */
    }
    memset(state, 0, service->state_bytes);
    *c = (struct conn){.pcb = pcb, .service = service, .state = state, .id = ++last_id, .active_at_ms = sys_now()};
    conn_counters.accepted++;
    tcp_arg(pcb, c);
    tcp_recv(pcb, on_recv);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_err);
    tcp_poll(pcb, on_poll, POLL_SLOW_TICKS);
    tcp_nagle_disable(pcb); /* whole answers are written at once, nothing is gained by waiting */
    if (service->opened)
        service->opened(c);
    return pump(c);
}

void conn_resume(struct conn *c)
{
    c->active_at_ms = sys_now();
    pump(c);
}

void conn_listen(const struct service *service)
{
    struct tcp_pcb *pcb = tcp_new();
    if (!pcb || tcp_bind(pcb, IP4_ADDR_ANY, service->port) != ERR_OK)
        panic("cannot bind a service");
    pcb = tcp_listen(pcb);
    if (!pcb)
        panic("cannot listen");
    tcp_arg(pcb, (void *)(uintptr_t)service);
    tcp_accept(pcb, on_accept);
}
