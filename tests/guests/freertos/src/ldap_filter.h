/* LDAP search filters (RFC 4511 section 4.5.1.7), evaluated where they stand in the request: no tree is built. */
#ifndef LDAP_FILTER_H
#define LDAP_FILTER_H

#include <stdbool.h>

#include "ber.h"
#include "directory.h"

/* Whether the bytes are exactly one filter of bounded depth. */
bool ldap_filter_valid(struct ber filter);
/* For a valid filter. */
bool ldap_filter_matches(struct ber filter, const struct entry *entry);

#endif
