/* Builds text in a buffer of fixed size: no printf, no allocation; what does not fit is cut and remembered. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *buf;
    size_t cap;
    size_t len;
    bool cut; /* something did not fit */
};

void text_init(struct text *t, char *buf, size_t cap);
void text_char(struct text *t, char c);
void text_bytes(struct text *t, const void *bytes, size_t len);
void text_str(struct text *t, const char *s);
void text_u32(struct text *t, uint32_t value);
void text_u64(struct text *t, uint64_t value);
void text_hex32(struct text *t, uint32_t value); /* eight digits */
void text_mac(struct text *t, const uint8_t mac[6]);
void text_ip4(struct text *t, uint32_t address); /* network byte order, as lwIP keeps it */
/* The inside of a JSON string; bytes above 0x7E become \u00XX (Latin-1), so the output is always valid. */
void text_json(struct text *t, const char *s);
/* Escapes < > & and quotes. */
void text_html(struct text *t, const char *s);

/* ASCII only: independent of any locale. */
char ascii_lower(char c);
bool ascii_equal_ignore_case(const char *a, size_t a_len, const char *b, size_t b_len);
/* Decimal digits only, nothing around them; false when empty, foreign or above `max`. */
bool parse_u64(const char *s, size_t len, uint64_t max, uint64_t *value);

#endif
