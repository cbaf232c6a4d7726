#include "http_request.h"

#include <string.h>

#include "text.h"

#define CONTENT_LENGTH_MAX 1000000000000ull /* 1 TB: only a sum, nothing is kept */

static bool parse_method(const char *s, size_t len, enum http_method *method)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD}, {"POST", HTTP_POST}, {"PUT", HTTP_PUT}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strlen(methods[i].name) == len && memcmp(methods[i].name, s, len) == 0) {
            *method = methods[i].method;
            return true;
        }
    return false;
}

uint16_t http_parse_request_line(struct http_request *request, const char *line, size_t len)
{
    *request = (struct http_request){0};
    const char *end = line + len;
    const char *target = memchr(line, ' ', len);
    if (!target++)
        return 400;
    const char *version = memchr(target, ' ', (size_t)(end - target));
    if (!version)
        return 400;
    size_t target_len = (size_t)(version++ - target);
    size_t version_len = (size_t)(end - version);
    if (version_len != 8 || memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1'))
        return version_len >= 5 && memcmp(version, "HTTP/", 5) == 0 ? 505 : 400;
    if (!parse_method(line, (size_t)(target - 1 - line), &request->method))
        return 501;
    if (target_len > HTTP_TARGET_MAX)
        return 414;
    if (target_len == 0 || target[0] != '/')
        return 400;
    const char *question = memchr(target, '?', target_len);
    size_t path_len = question ? (size_t)(question - target) : target_len;
    memcpy(request->path, target, path_len);
    if (question)
        memcpy(request->query, question + 1, target_len - path_len - 1);
    request->is_1_1 = version[7] == '1';
    request->keep_alive = request->is_1_1;
    return 0;
}

static bool is(const char *s, size_t len, const char *what)
{
    return ascii_equal_ignore_case(s, len, what, strlen(what));
}

/* Whether the comma-separated list has the token. */
static bool has_token(const char *s, size_t len, const char *token)
{
    while (len) {
        const char *comma = memchr(s, ',', len);
        size_t part = comma ? (size_t)(comma - s) : len;
        size_t rest = comma ? len - part - 1 : 0;
        const char *next = s + len - rest;
        while (part && (*s == ' ' || *s == '\t'))
            s++, part--;
        while (part && (s[part - 1] == ' ' || s[part - 1] == '\t'))
            part--;
        if (is(s, part, token))
            return true;
        s = next;
        len = rest;
    }
    return false;
}

static uint16_t take_field(struct http_request *r, const char *name, size_t name_len, const char *value, size_t len)
{
    if (is(name, name_len, "content-length")) {
        uint64_t length;
        if (!parse_u64(value, len, CONTENT_LENGTH_MAX, &length))
            return len && value[0] >= '0' && value[0] <= '9' ? 413 : 400;
        if (r->has_length && r->content_length != length) /* RFC 9112 section 6.3 */
            return 400;
        r->content_length = length;
        r->has_length = true;
    } else if (is(name, name_len, "transfer-encoding")) {
        if (r->chunked || !is(value, len, "chunked"))
            return 501;
        r->chunked = true;
    } else if (is(name, name_len, "connection")) {
        if (has_token(value, len, "close"))
            r->keep_alive = false;
        else if (has_token(value, len, "keep-alive"))
            r->keep_alive = true;
    } else if (is(name, name_len, "expect")) {
        if (!is(value, len, "100-continue"))
            return 417;
        r->expects_continue = r->is_1_1;
    } else if (is(name, name_len, "host")) {
        if (r->has_host)
            return 400;
        r->has_host = true;
    }
    return 0;
}

uint16_t http_parse_field(struct http_request *request, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    /* No name, folding, or white space before the colon: request smuggling lives here (RFC 9112 section 5.1). */
    if (name_len == 0 || line[0] == ' ' || line[0] == '\t' || line[name_len - 1] == ' ' || line[name_len - 1] == '\t')
        return 400;
    const char *value = colon + 1;
    size_t value_len = len - name_len - 1;
    while (value_len && (*value == ' ' || *value == '\t'))
        value++, value_len--;
    while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;
    return take_field(request, line, name_len, value, value_len);
}

uint16_t http_check_head(const struct http_request *request)
{
    if (request->chunked && (request->has_length || !request->is_1_1)) /* RFC 9112 section 6.1 */
        return 400;
    if (request->is_1_1 && !request->has_host) /* RFC 9112 section 3.2 */
        return 400;
    return 0;
}

bool http_query_number(const struct http_request *request, const char *name, uint64_t max, uint64_t otherwise,
                       uint64_t *value)
{
    size_t name_len = strlen(name);
    for (const char *s = request->query; *s;) {
        const char *end = strchr(s, '&');
        size_t len = end ? (size_t)(end - s) : strlen(s);
        if (len > name_len && memcmp(s, name, name_len) == 0 && s[name_len] == '=')
            return parse_u64(s + name_len + 1, len - name_len - 1, max, value);
        s += end ? len + 1 : len;
    }
    *value = otherwise;
    return true;
}
