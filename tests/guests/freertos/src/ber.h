/* Basic Encoding Rules as far as LDAP uses them (X.690; RFC 4511 section 5.1): definite lengths, one-byte tags. */
#ifndef BER_H
#define BER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BER_BOOLEAN 0x01
#define BER_INTEGER 0x02
#define BER_OCTETS 0x04
#define BER_ENUMERATED 0x0A
#define BER_SEQUENCE 0x30
#define BER_SET 0x31

/* Bytes to read from; reading moves `at`. Every reader returns false on malformed input. */
struct ber {
    const uint8_t *at, *end;
};

/* How long the element at the start of `bytes` is, header included: 0 when more bytes are needed to tell, SIZE_MAX when
 * it is malformed. */
size_t ber_element_bytes(const uint8_t *bytes, size_t len);

bool ber_any(struct ber *in, uint8_t *tag, struct ber *content);
bool ber_tagged(struct ber *in, uint8_t tag, struct ber *content);
/* INTEGER or ENUMERATED of at most four bytes. */
bool ber_int(struct ber *in, uint8_t tag, int32_t *value);
bool ber_bool(struct ber *in, bool *value);
static inline size_t ber_len(const struct ber *b)
{
    return (size_t)(b->end - b->at);
}

/* Writes into a buffer of fixed size. What does not fit sets `overflow`, and the result must not be used. */
struct ber_out {
    uint8_t *buf;
    size_t cap, len;
    bool overflow;
};

void ber_out_init(struct ber_out *out, uint8_t *buf, size_t cap);
/* Opens a constructed element; returns the mark for ber_end. Its length takes three bytes: valid BER, and LDAP does not
 * ask for the shortest form. */
size_t ber_begin(struct ber_out *out, uint8_t tag);
void ber_end(struct ber_out *out, size_t mark);
void ber_put(struct ber_out *out, uint8_t tag, const void *bytes, size_t len);
void ber_put_str(struct ber_out *out, uint8_t tag, const char *s);
void ber_put_int(struct ber_out *out, uint8_t tag, int32_t value);

#endif
