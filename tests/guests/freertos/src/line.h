/* Assembles lines that end with LF or CR LF from a stream of bytes, in bounded memory. */
#ifndef LINE_H
#define LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_BYTES 1024u /* HTTP fields; SMTP commands may have 512 (RFC 5321 section 4.5.3.1.4) */

struct line {
    char buf[LINE_MAX_BYTES + 1]; /* the line without its end, zero-terminated once complete */
    size_t len;
    bool too_long; /* bytes beyond the limit were dropped */
    bool complete;
};

/* Takes bytes up to the end of the line at most; returns how many. Then `complete` tells whether the end was there. A
 * complete line is replaced by the next call. */
size_t line_take(struct line *line, const uint8_t *bytes, size_t len);

#endif
