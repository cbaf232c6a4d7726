/* The network card: SMSC LAN9118, programmed input and output through its FIFOs. */
#ifndef LAN9118_H
#define LAN9118_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A frame longer than this (with VLAN tag, without FCS) is dropped. */
#define LAN9118_FRAME_MAX 1518u
/* Frames are handed over behind this many bytes of padding, so that the IP header lies on a word boundary. */
#define LAN9118_PAD 2u

struct lan9118_counters {
    uint32_t frames_in, frames_out;
    uint64_t bytes_in, bytes_out;
    uint32_t rx_errors, rx_dropped, tx_dropped;
};
extern struct lan9118_counters lan9118_counters;

/* Resets and configures the controller; false when there is none. */
bool lan9118_init(void);
void lan9118_read_mac(uint8_t mac[6]);
/* Interrupts notify the calling task from now on. */
void lan9118_start(void);
/* Waits until a frame arrived, then keeps the interrupt off until lan9118_next found the FIFO empty. */
void lan9118_wait(void);
/* Length in bytes of the next received frame, 0 when there is none. It must be read or skipped before the next call. */
size_t lan9118_next(void);
/* Reads the announced frame to a word-aligned buffer of LAN9118_PAD + len bytes, rounded up to words. */
void lan9118_read(void *padded, size_t len);
void lan9118_skip(size_t len);
/* Sends the frame behind LAN9118_PAD bytes of padding in a word-aligned buffer. One caller at a time. */
bool lan9118_send(const void *padded, size_t len);

#endif
