/* The directory behind LDAP: a fixed tree of entries. */
#ifndef DIRECTORY_H
#define DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

#define DIRECTORY_SUFFIX "dc=example,dc=org"
#define DIRECTORY_ADMIN "cn=admin," DIRECTORY_SUFFIX
#define DIRECTORY_ADMIN_PASSWORD "quorate" /* of a demo guest: it protects nothing */

#define ATTRIBUTES_MAX 8
#define VALUES_MAX 8

struct attribute {
    const char *name;               /* NULL behind the last one */
    const char *values[VALUES_MAX]; /* likewise */
};
struct entry {
    const char *dn; /* normalized, see directory_normalize_dn */
    struct attribute attributes[ATTRIBUTES_MAX];
};

extern const struct entry directory_root_dse;
/* Parents before their children; NULL behind the last. */
const struct entry *directory_at(size_t position);
const struct entry *directory_find(const char *dn);
bool directory_knows_attribute(const char *name, size_t len);
/* Of an entry; NULL when absent. Options behind `;` in the name are ignored. */
const struct attribute *entry_attribute(const struct entry *entry, const char *name, size_t len);

/* Lower case, no white space around separators. False when it does not fit or holds a zero byte. Escapes are left as
 * they are: no name in this directory has any. */
bool directory_normalize_dn(const char *dn, size_t len, char *to, size_t cap);

enum scope { SCOPE_BASE = 0, SCOPE_ONE = 1, SCOPE_SUBTREE = 2 };
/* Both names normalized; the empty base is above everything. */
bool directory_in_scope(const char *dn, const char *base, enum scope scope);

#endif
