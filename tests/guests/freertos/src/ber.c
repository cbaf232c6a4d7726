#include "ber.h"

#include <string.h>

#define LENGTH_BYTES_MAX 4u

/* Reads tag and length; 1 when read, 0 when bytes are missing, -1 when malformed. */
static int header(const uint8_t *bytes, size_t len, size_t *header_len, size_t *content_len)
{
    if (len >= 1 && (bytes[0] & 0x1F) == 0x1F)
        return -1; /* a longer tag: none exists in LDAP */
    if (len < 2)
        return 0;
    size_t count = bytes[1] & 0x7F;
    if (!(bytes[1] & 0x80)) {
        *header_len = 2;
        *content_len = count;
        return 1;
    }
    if (count == 0 || count > LENGTH_BYTES_MAX)
        return -1;
    if (len < 2 + count)
        return 0;
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = sum << 8 | bytes[2 + i];
    if (sum > 0x7FFFFFFF)
        return -1;
    *header_len = 2 + count;
    *content_len = sum;
    return 1;
}

size_t ber_element_bytes(const uint8_t *bytes, size_t len)
{
    size_t header_len, content_len;
    int result = header(bytes, len, &header_len, &content_len);
    return result > 0 ? header_len + content_len : result < 0 ? SIZE_MAX : 0;
}

bool ber_any(struct ber *in, uint8_t *tag, struct ber *content)
{
    size_t header_len, content_len;
    if (header(in->at, ber_len(in), &header_len, &content_len) <= 0)
        return false;
    if (content_len > ber_len(in) - header_len)
        return false;
    *tag = in->at[0];
    content->at = in->at + header_len;
    content->end = content->at + content_len;
    in->at = content->end;
    return true;
}

bool ber_tagged(struct ber *in, uint8_t tag, struct ber *content)
{
    uint8_t found;
    return ber_any(in, &found, content) && found == tag;
}

bool ber_int(struct ber *in, uint8_t tag, int32_t *value)
{
    struct ber content;
    if (!ber_tagged(in, tag, &content) || ber_len(&content) == 0 || ber_len(&content) > 4)
        return false;
    uint32_t sum = content.at[0] & 0x80 ? UINT32_MAX : 0;
    for (; content.at < content.end; content.at++)
        sum = sum << 8 | *content.at;
    *value = (int32_t)sum;
    return true;
}

bool ber_bool(struct ber *in, bool *value)
{
    struct ber content;
    if (!ber_tagged(in, BER_BOOLEAN, &content) || ber_len(&content) != 1)
        return false;
    *value = *content.at != 0;
    return true;
}

void ber_out_init(struct ber_out *out, uint8_t *buf, size_t cap)
{
    *out = (struct ber_out){.buf = buf, .cap = cap};
}

static void put_bytes(struct ber_out *out, const void *bytes, size_t len)
{
    if (out->overflow || len > out->cap - out->len) {
        out->overflow = true;
        return;
    }
    memcpy(out->buf + out->len, bytes, len);
    out->len += len;
}

size_t ber_begin(struct ber_out *out, uint8_t tag)
{
    const uint8_t open[] = {tag, 0x82, 0, 0};
    put_bytes(out, open, sizeof open);
    return out->len;
}

void ber_end(struct ber_out *out, size_t mark)
{
    if (out->overflow)
        return;
    size_t len = out->len - mark;
    if (len > UINT16_MAX) {
        out->overflow = true;
        return;
    }
    out->buf[mark - 2] = (uint8_t)(len >> 8);
    out->buf[mark - 1] = (uint8_t)len;
}

void ber_put(struct ber_out *out, uint8_t tag, const void *bytes, size_t len)
{
    if (len < 0x80) {
        const uint8_t head[] = {tag, (uint8_t)len};
        put_bytes(out, head, sizeof head);
        put_bytes(out, bytes, len);
        return;
    }
    size_t mark = ber_begin(out, tag);
    put_bytes(out, bytes, len);
    ber_end(out, mark);
}

void ber_put_str(struct ber_out *out, uint8_t tag, const char *s)
{
    ber_put(out, tag, s, strlen(s));
}

void ber_put_int(struct ber_out *out, uint8_t tag, int32_t value)
{
    uint8_t bytes[4];
    size_t len = 4;
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)((uint32_t)value >> (24 - 8 * i));
    /* The shortest form: drop bytes that only repeat the sign. */
    const uint8_t *first = bytes;
    while (len > 1 && ((first[0] == 0 && first[1] < 0x80) || (first[0] == 0xFF && first[1] >= 0x80)))
        first++, len--;
    ber_put(out, tag, first, len);
}
