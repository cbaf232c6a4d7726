/* The search operation of LDAP (RFC 4511 section 4.5): one entry at a time, so that it can wait for its connection. */
#ifndef LDAP_SEARCH_H
#define LDAP_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ber.h"
#include "directory.h"

#define LDAP_DN_MAX 256u

enum ldap_result {
    LDAP_SUCCESS = 0,
    LDAP_PROTOCOL_ERROR = 2,
    LDAP_SIZE_LIMIT_EXCEEDED = 4,
    LDAP_AUTH_METHOD_NOT_SUPPORTED = 7,
    LDAP_UNAVAILABLE_CRITICAL_EXTENSION = 12,
    LDAP_NO_SUCH_OBJECT = 32,
    LDAP_INVALID_DN_SYNTAX = 34,
    LDAP_INVALID_CREDENTIALS = 49,
    LDAP_UNWILLING_TO_PERFORM = 53,
};

/* Filter and attributes point into the request, which must stay where it is. */
struct ldap_search {
    char base[LDAP_DN_MAX];
    enum scope scope;
    uint32_t size_limit; /* 0: none */
    uint32_t sent;
    bool types_only;
    struct ber filter;
    struct ber attributes;
    size_t next; /* position in the directory */
};

/* Reads the request's content. LDAP_SUCCESS: the search can run. */
enum ldap_result ldap_search_parse(struct ldap_search *search, struct ber request);
/* The part of the base that exists, for LDAP_NO_SUCH_OBJECT. */
const char *ldap_search_matched_dn(const struct ldap_search *search);
/* Moves on to the next entry; NULL at the end or at the size limit, which `result` then tells. */
const struct entry *ldap_search_next(struct ldap_search *search, enum ldap_result *result);
/* Writes the entry as a SearchResultEntry. */
void ldap_search_encode(const struct ldap_search *search, const struct entry *entry, struct ber_out *out);

#endif
