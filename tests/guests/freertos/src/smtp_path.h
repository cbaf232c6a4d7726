/* The arguments of MAIL and RCPT (RFC 5321 section 4.1.2). */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* Reads `KEYWORD:<address>` from the start of `s`; the address without brackets and source route goes to `address` (of
 * MAIL_ADDRESS_MAX + 1 bytes). Returns what follows, or NULL when it is malformed or too long. */
const char *smtp_parse_path(const char *s, const char *keyword, char *address);
/* A mailbox: something@somewhere, or postmaster alone. */
bool smtp_is_recipient(const char *address);

#endif
