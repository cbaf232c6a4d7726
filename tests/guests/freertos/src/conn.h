/* TCP connections as the services see them: bytes in, bytes out, backpressure, idle timeout. All of it runs under
 * lwIP's core lock; a service holds no thread. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;

struct service {
    const char *name;
    uint16_t port;
    uint32_t idle_ms;   /* without a byte in or an acknowledged byte out for that long, the connection is reset */
    size_t state_bytes; /* memory of the service for each connection, zeroed */
    void (*opened)(struct conn *c); /* may be NULL */
    /* Takes received bytes and returns how many it used. Less than all means: not now; the rest comes again when
     * output was acknowledged or produce has finished. */
    size_t (*received)(struct conn *c, const uint8_t *bytes, size_t len);
    /* May be NULL. Sends what waits to be sent; true while more is to come, which holds input back. */
    bool (*produce)(struct conn *c);
    /* May be NULL. The connection is gone, whatever the reason: release what the state refers to. */
    void (*closed)(struct conn *c);
};

struct conn_counters {
    uint32_t accepted, refused, timed_out;
    uint32_t output_failed; /* reset for want of memory to answer */
    uint32_t stalled;       /* reset for holding too much unread input */
};
extern struct conn_counters conn_counters;

void conn_listen(const struct service *service);
uint32_t conn_open_count(void);

void *conn_state(struct conn *c);
/* Names the connection beyond its life: conn_find returns NULL once it is gone. */
uint32_t conn_id(const struct conn *c);
struct conn *conn_find(uint32_t id);
/* How many bytes conn_send surely takes now, memory permitting. */
size_t conn_room(const struct conn *c);
/* All or nothing. Call it within conn_room; when memory is short all the same, the connection is reset. */
void conn_send(struct conn *c, const void *bytes, size_t len);
void conn_send_str(struct conn *c, const char *s);
/* Sends what fits and returns its length. For bulk. */
size_t conn_send_some(struct conn *c, const void *bytes, size_t len);
/* Closes once what was sent has gone; received bytes are thrown away from now on. */
void conn_close(struct conn *c);
/* From outside of a callback (under the core lock): something produce waited for is there. */
void conn_resume(struct conn *c);

#endif
