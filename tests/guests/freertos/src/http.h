/* HTTP/1.1 server (RFC 9110, RFC 9112): pages, mails, bulk transfer in both directions. */
#ifndef HTTP_H
#define HTTP_H

#include <stdint.h>

void http_start(void);
uint32_t http_requests(void); /* answered since boot */

#endif
