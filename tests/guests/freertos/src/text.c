#include "text.h"

#include <string.h>

void text_init(struct text *t, char *buf, size_t cap)
{
    *t = (struct text){.buf = buf, .cap = cap};
}

void text_bytes(struct text *t, const void *bytes, size_t len)
{
    if (len > t->cap - t->len) {
        len = t->cap - t->len;
        t->cut = true;
    }
    memcpy(t->buf + t->len, bytes, len);
    t->len += len;
}

void text_char(struct text *t, char c)
{
    text_bytes(t, &c, 1);
}

void text_str(struct text *t, const char *s)
{
    text_bytes(t, s, strlen(s));
}

void text_u64(struct text *t, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    /* 64-bit division is a slow library call on this core: leave it as soon as the rest fits 32 bits. */
    while (value > UINT32_MAX) {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    }
    uint32_t rest = (uint32_t)value;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    text_bytes(t, digits + at, sizeof digits - at);
}

void text_u32(struct text *t, uint32_t value)
{
    text_u64(t, value);
}

static void hex_digits(struct text *t, uint32_t value, int count)
{
    while (count--)
        text_char(t, "0123456789abcdef"[(value >> (4 * count)) & 15]);
}

void text_hex32(struct text *t, uint32_t value)
{
    hex_digits(t, value, 8);
}

void text_mac(struct text *t, const uint8_t mac[6])
{
    for (int i = 0; i < 6; i++) {
        if (i)
            text_char(t, ':');
        hex_digits(t, mac[i], 2);
    }
}

void text_ip4(struct text *t, uint32_t address)
{
    for (int i = 0; i < 4; i++) {
        if (i)
            text_char(t, '.');
        text_u32(t, (address >> (8 * i)) & 255);
    }
}

void text_json(struct text *t, const char *s)
{
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        if (c == '"' || c == '\\') {
            text_char(t, '\\');
            text_char(t, (char)c);
        } else if (c < 0x20 || c > 0x7E) {
            text_str(t, "\\u00");
            hex_digits(t, c, 2);
        } else {
            text_char(t, (char)c);
        }
    }
}

void text_html(struct text *t, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<': text_str(t, "&lt;"); break;
        case '>': text_str(t, "&gt;"); break;
        case '&': text_str(t, "&amp;"); break;
        case '"': text_str(t, "&quot;"); break;
        default: text_char(t, *s);
        }
    }
}

char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool ascii_equal_ignore_case(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len)
        return false;
    for (size_t i = 0; i < a_len; i++)
        if (ascii_lower(a[i]) != ascii_lower(b[i]))
            return false;
    return true;
}

bool parse_u64(const char *s, size_t len, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    if (len == 0 || len > 19) /* 19 digits always fit */
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        sum = sum * 10 + (uint64_t)(s[i] - '0');
    }
    *value = sum;
    return sum <= max;
}
