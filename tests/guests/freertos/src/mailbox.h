/* The mail store: the last messages, in blocks of a common pool. Used under lwIP's core lock. */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAIL_BYTES_MAX (256u * 1024u)     /* one message; announced by SMTP's SIZE */
#define MAILBOX_MAILS_MAX 16u             /* then the oldest goes */
#define MAILBOX_BYTES_MAX (1024u * 1024u) /* likewise */
#define MAIL_ADDRESS_MAX 256u             /* RFC 5321 section 4.5.3.1.3 */

struct mail {
    uint32_t id; /* from 1, never used twice in a boot */
    uint32_t bytes;
    uint32_t recipients;
    uint64_t received_at_ms; /* uptime */
    char from[MAIL_ADDRESS_MAX + 1];
    char to[MAIL_ADDRESS_MAX + 1]; /* the first recipient */
    /* private */
    uint32_t references;
    uint16_t first_block, last_block;
};

/* An empty draft, which the caller discards or stores; NULL when there are too many. */
struct mail *mail_draft(void);
/* False when the message would become too large or the pool is used up; then discard the draft. */
bool mail_append(struct mail *draft, const uint8_t *bytes, size_t len);
/* Into the mailbox; returns the message's id. */
uint32_t mail_store(struct mail *draft);
/* Ends the use of a draft or of an opened mail. */
void mail_release(struct mail *mail);

/* Mails in the mailbox from the oldest; NULL behind the last. Valid until the core lock is given back. */
const struct mail *mailbox_at(size_t position);
uint32_t mailbox_received(void); /* since boot */
/* By id, kept alive until mail_release; NULL when it is not (any more) there. */
struct mail *mail_open(uint32_t id);
/* The bytes from `offset` on that lie together; returns how many, 0 at the end. */
size_t mail_peek(const struct mail *mail, size_t offset, const uint8_t **bytes);

#endif
