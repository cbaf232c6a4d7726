/* The head of an HTTP/1.1 request (RFC 9112), line by line. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT };

#define HTTP_TARGET_MAX 255u

struct http_request {
    enum http_method method;
    char path[HTTP_TARGET_MAX + 1]; /* without the query */
    char query[HTTP_TARGET_MAX + 1];
    uint64_t content_length;
    bool has_length;
    bool chunked;
    bool keep_alive;
    bool expects_continue;
    bool has_host;
    bool is_1_1;
};

/* Both return 0, or the status code of the error that ends the connection. */
uint16_t http_parse_request_line(struct http_request *request, const char *line, size_t len);
uint16_t http_parse_field(struct http_request *request, const char *line, size_t len);
/* After the last field. */
uint16_t http_check_head(const struct http_request *request);
/* The number behind `name=` in the query; `otherwise` when absent; false when malformed or above `max`. */
bool http_query_number(const struct http_request *request, const char *name, uint64_t max, uint64_t otherwise,
                       uint64_t *value);

#endif
