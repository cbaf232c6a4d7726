#include "ldap_search.h"

#include <string.h>

#include "ldap_filter.h"
#include "text.h"

#define SEARCH_RESULT_ENTRY 0x64

static bool valid_attributes(struct ber attributes)
{
    struct ber name;
    while (ber_len(&attributes))
        if (!ber_tagged(&attributes, BER_OCTETS, &name))
            return false;
    return true;
}

enum ldap_result ldap_search_parse(struct ldap_search *search, struct ber request)
{
    struct ber base, attributes;
    int32_t scope, dereference, size_limit, time_limit;
    bool types_only;
    if (!ber_tagged(&request, BER_OCTETS, &base) || !ber_int(&request, BER_ENUMERATED, &scope) ||
        !ber_int(&request, BER_ENUMERATED, &dereference) || !ber_int(&request, BER_INTEGER, &size_limit) ||
        !ber_int(&request, BER_INTEGER, &time_limit) || !ber_bool(&request, &types_only))
        return LDAP_PROTOCOL_ERROR;
    struct ber filter = request, ignored;
    uint8_t tag;
    if (!ber_any(&request, &tag, &ignored))
        return LDAP_PROTOCOL_ERROR;
    filter.end = request.at;
    if (!ber_tagged(&request, BER_SEQUENCE, &attributes) || ber_len(&request) || !ldap_filter_valid(filter) ||
        !valid_attributes(attributes) || scope < SCOPE_BASE || scope > SCOPE_SUBTREE || size_limit < 0)
        return LDAP_PROTOCOL_ERROR;
    *search = (struct ldap_search){.scope = (enum scope)scope,
                                   .size_limit = (uint32_t)size_limit,
                                   .types_only = types_only,
                                   .filter = filter,
                                   .attributes = attributes};
    if (!directory_normalize_dn((const char *)base.at, ber_len(&base), search->base, sizeof search->base))
        return LDAP_INVALID_DN_SYNTAX;
    if (search->base[0] && !directory_find(search->base))
        return LDAP_NO_SUCH_OBJECT;
    return LDAP_SUCCESS;
}

const char *ldap_search_matched_dn(const struct ldap_search *search)
{
    const char *comma = strchr(search->base, ',');
    while (comma && !directory_find(comma + 1))
        comma = strchr(comma + 1, ',');
    return comma ? comma + 1 : "";
}

static const struct entry *candidate(struct ldap_search *search)
{
    if (search->base[0] == 0 && search->scope == SCOPE_BASE)
        return search->next++ == 0 ? &directory_root_dse : NULL;
    const struct entry *entry;
    do
        entry = directory_at(search->next++);
    while (entry && !directory_in_scope(entry->dn, search->base, search->scope));
    return entry;
}

const struct entry *ldap_search_next(struct ldap_search *search, enum ldap_result *result)
{
    const struct entry *entry;
    do
        entry = candidate(search);
    while (entry && !ldap_filter_matches(search->filter, entry));
    *result = LDAP_SUCCESS;
    if (entry && search->size_limit && search->sent == search->size_limit) {
        *result = LDAP_SIZE_LIMIT_EXCEEDED;
        return NULL;
    }
    search->sent += entry != NULL;
    return entry;
}

/* An empty list and `*` ask for all attributes, `1.1` for none (section 4.5.1.8). `+` asks for the operational ones:
 * only the root has any, and it shows them anyway. */
static bool wanted(const struct ldap_search *search, const char *name)
{
    struct ber list = search->attributes, item;
    if (!ber_len(&list))
        return true;
    while (ber_len(&list) && ber_tagged(&list, BER_OCTETS, &item)) {
        const char *asked = (const char *)item.at;
        if (ber_len(&item) == 1 && (*asked == '*' || (*asked == '+' && search->base[0] == 0)))
            return true;
        if (ascii_equal_ignore_case(asked, ber_len(&item), name, strlen(name)))
            return true;
    }
    return false;
}

void ldap_search_encode(const struct ldap_search *search, const struct entry *entry, struct ber_out *out)
{
    size_t whole = ber_begin(out, SEARCH_RESULT_ENTRY);
    ber_put_str(out, BER_OCTETS, entry->dn);
    size_t attributes = ber_begin(out, BER_SEQUENCE);
    for (size_t i = 0; i < ATTRIBUTES_MAX && entry->attributes[i].name; i++) {
        const struct attribute *attribute = &entry->attributes[i];
        if (!wanted(search, attribute->name))
            continue;
        size_t one = ber_begin(out, BER_SEQUENCE);
        ber_put_str(out, BER_OCTETS, attribute->name);
        size_t values = ber_begin(out, BER_SET);
        for (size_t v = 0; !search->types_only && v < VALUES_MAX && attribute->values[v]; v++)
            ber_put_str(out, BER_OCTETS, attribute->values[v]);
        ber_end(out, values);
        ber_end(out, one);
    }
    ber_end(out, attributes);
    ber_end(out, whole);
}
