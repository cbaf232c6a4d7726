#include "line.h"

size_t line_take(struct line *line, const uint8_t *bytes, size_t len)
{
    if (line->complete) {
        line->len = 0;
        line->too_long = false;
        line->complete = false;
    }
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            if (line->len && line->buf[line->len - 1] == '\r')
                line->len--;
            line->buf[line->len] = 0;
            line->complete = true;
            return i + 1;
        }
        if (line->len < LINE_MAX_BYTES)
            line->buf[line->len++] = (char)bytes[i];
        else
            line->too_long = true;
    }
    return len;
}
