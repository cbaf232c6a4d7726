/* Invariants: a block is either on the free list or in exactly one mail; a mail slot is free when its references are 0;
 * the mailbox itself holds one reference to each mail in it. */
#include "mailbox.h"

#include <string.h>

#include "clock.h"

#define BLOCK_BYTES 4096u
#define BLOCKS 336u /* the full mailbox (256, and a part of one for each of its mails) and one draft of full size */
#define SLOTS 64u   /* the mailbox and as many drafts as there may be connections, nearly */
#define NO_BLOCK UINT16_MAX

static uint8_t blocks[BLOCKS][BLOCK_BYTES] __attribute__((aligned(4)));
static uint16_t next_block[BLOCKS];
static uint16_t free_blocks = NO_BLOCK;
static uint16_t untouched_block; /* blocks from here on were never used: nothing to initialize at start-up */

static struct mail slots[SLOTS];
static struct mail *mailbox[MAILBOX_MAILS_MAX]; /* oldest first */
static size_t mailbox_count;
static uint32_t mailbox_bytes;
static uint32_t received;


static uint16_t take_block(void)
{
    uint16_t block = free_blocks;
    if (block != NO_BLOCK)
        free_blocks = next_block[block];
    else if (untouched_block < BLOCKS)
        block = untouched_block++;
    if (block != NO_BLOCK)
        next_block[block] = NO_BLOCK;
    return block;
}

void mail_release(struct mail *mail)
{
    if (--mail->references)
        return;
    for (uint16_t block = mail->first_block; block != NO_BLOCK;) {
        uint16_t next = next_block[block];
        next_block[block] = free_blocks;
        free_blocks = block;
        block = next;
    }
}

static bool evict_oldest(void)
{
    if (mailbox_count == 0)
        return false;
    struct mail *oldest = mailbox[0];
    mailbox_count--;
    mailbox_bytes -= oldest->bytes;
    memmove(mailbox, mailbox + 1, mailbox_count * sizeof *mailbox);
    mail_release(oldest);
    return true;
}

struct mail *mail_draft(void)
{
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].references == 0) {
            slots[i] = (struct mail){.references = 1, .first_block = NO_BLOCK, .last_block = NO_BLOCK};
            return &slots[i];
        }
    return NULL;
}

bool mail_append(struct mail *draft, const uint8_t *bytes, size_t len)
{
    if (len > MAIL_BYTES_MAX - draft->bytes)
        return false;
    while (len) {
        size_t used = draft->bytes % BLOCK_BYTES;
        if (used == 0) {
            uint16_t block = take_block();
            while (block == NO_BLOCK && evict_oldest())
                block = take_block();
            if (block == NO_BLOCK)
                return false;
            if (draft->last_block == NO_BLOCK)
                draft->first_block = block;
            else
                next_block[draft->last_block] = block;
            draft->last_block = block;
        }
        size_t part = BLOCK_BYTES - used < len ? BLOCK_BYTES - used : len;
        memcpy(blocks[draft->last_block] + used, bytes, part);
        draft->bytes += part;
        bytes += part;
        len -= part;
    }
    return true;
}

uint32_t mail_store(struct mail *draft)
{
    while (mailbox_count == MAILBOX_MAILS_MAX ||
           (mailbox_count && mailbox_bytes + draft->bytes > MAILBOX_BYTES_MAX))
        evict_oldest();
    draft->id = ++received;
    draft->received_at_ms = clock_uptime_ms();
    mailbox[mailbox_count++] = draft;
    mailbox_bytes += draft->bytes;
    return draft->id;
}

const struct mail *mailbox_at(size_t position)
{
    return position < mailbox_count ? mailbox[position] : NULL;
}

uint32_t mailbox_received(void)
{
    return received;
}

struct mail *mail_open(uint32_t id)
{
    for (size_t i = 0; i < mailbox_count; i++)
        if (mailbox[i]->id == id) {
            mailbox[i]->references++;
            return mailbox[i];
        }
    return NULL;
}

size_t mail_peek(const struct mail *mail, size_t offset, const uint8_t **bytes)
{
    if (offset >= mail->bytes)
        return 0;
    uint16_t block = mail->first_block;
    for (size_t i = offset / BLOCK_BYTES; i; i--)
        block = next_block[block];
    size_t within = offset % BLOCK_BYTES;
    size_t rest = mail->bytes - offset;
    *bytes = blocks[block] + within;
    return rest < BLOCK_BYTES - within ? rest : BLOCK_BYTES - within;
}
