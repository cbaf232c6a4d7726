#include "echo.h"

#include "lwip/udp.h"

#include "conn.h"
#include "panic.h"

#define ECHO_PORT 7
#define DISCARD_PORT 9
#define IDLE_MS (10 * 60 * 1000u) /* people and tests leave such a connection open for a while */

static uint64_t bytes_echoed;

uint64_t echo_bytes(void)
{
    return bytes_echoed;
}

/* What cannot be sent back is not taken: the receive window closes, and the peer waits. */
static size_t echo_received(struct conn *c, const uint8_t *bytes, size_t len)
{
    size_t sent = conn_send_some(c, bytes, len);
    bytes_echoed += sent;
    return sent;
}

static size_t discard_received(struct conn *c, const uint8_t *bytes, size_t len)
{
    (void)c;
    (void)bytes;
    return len;
}

static const struct service echo_service = {
    .name = "echo", .port = ECHO_PORT, .idle_ms = IDLE_MS, .received = echo_received};
static const struct service discard_service = {
    .name = "discard", .port = DISCARD_PORT, .idle_ms = IDLE_MS, .received = discard_received};

static void udp_received(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from, u16_t port)
{
    (void)arg;
    /* Never to another echo port: two of them would play the same datagram for ever. */
    if (port != ECHO_PORT && udp_sendto(pcb, p, from, port) == ERR_OK)
        bytes_echoed += p->tot_len;
    pbuf_free(p);
}

void echo_start(void)
{
    conn_listen(&echo_service);
    conn_listen(&discard_service);
    struct udp_pcb *pcb = udp_new();
    if (!pcb || udp_bind(pcb, IP4_ADDR_ANY, ECHO_PORT) != ERR_OK)
        panic("cannot bind UDP echo");
    udp_recv(pcb, udp_received, NULL);
}
