/* SMTP server (RFC 5321, minimum implementation of section 4.5.1 with SIZE, 8BITMIME and PIPELINING): takes mail for
 * anybody into the mailbox. */
#ifndef SMTP_H
#define SMTP_H

void smtp_start(void);

#endif
