#include "ldap_filter.h"

#include <string.h>

#include "text.h"

#define DEPTH_MAX 16 /* bounds the recursion, and so the stack */

enum {
    FILTER_AND = 0xA0,
    FILTER_OR = 0xA1,
    FILTER_NOT = 0xA2,
    FILTER_EQUALITY = 0xA3,
    FILTER_SUBSTRINGS = 0xA4,
    FILTER_GREATER_OR_EQUAL = 0xA5,
    FILTER_LESS_OR_EQUAL = 0xA6,
    FILTER_PRESENT = 0x87,
    FILTER_APPROXIMATE = 0xA8,
    FILTER_EXTENSIBLE = 0xA9,
    SUBSTRING_INITIAL = 0x80,
    SUBSTRING_ANY = 0x81,
    SUBSTRING_FINAL = 0x82,
};

/* A filter about an attribute nobody knows is neither true nor false, and not(undefined) is undefined. */
enum truth { FALSE, UNDEFINED, TRUE };

static bool valid_substrings(struct ber in)
{
    struct ber name, parts, part;
    uint8_t tag, previous = 0;
    if (!ber_tagged(&in, BER_OCTETS, &name) || !ber_tagged(&in, BER_SEQUENCE, &parts) || ber_len(&in) ||
        !ber_len(&parts))
        return false;
    while (ber_len(&parts)) {
        if (!ber_any(&parts, &tag, &part) || tag < SUBSTRING_INITIAL || tag > SUBSTRING_FINAL)
            return false;
        /* At most one initial, and first; nothing behind a final. */
        if ((tag == SUBSTRING_INITIAL && previous) || previous == SUBSTRING_FINAL)
            return false;
        previous = tag;
    }
    return true;
}

static bool valid(struct ber *in, int depth)
{
    struct ber content, part;
    uint8_t tag;
    if (depth == 0 || !ber_any(in, &tag, &content))
        return false;
    switch (tag) {
    case FILTER_AND:
    case FILTER_OR:
        while (ber_len(&content))
            if (!valid(&content, depth - 1))
                return false;
        return true;
    case FILTER_NOT: return valid(&content, depth - 1) && !ber_len(&content);
    case FILTER_EQUALITY:
    case FILTER_GREATER_OR_EQUAL:
    case FILTER_LESS_OR_EQUAL:
    case FILTER_APPROXIMATE:
        return ber_tagged(&content, BER_OCTETS, &part) && ber_tagged(&content, BER_OCTETS, &part) && !ber_len(&content);
    case FILTER_SUBSTRINGS: return valid_substrings(content);
    case FILTER_PRESENT:
    case FILTER_EXTENSIBLE: return true;
    default: return false;
    }
}

bool ldap_filter_valid(struct ber filter)
{
    return valid(&filter, DEPTH_MAX) && !ber_len(&filter);
}

/* Compares without regard to case, as every attribute here does (caseIgnoreMatch, telephoneNumberMatch). */
static int compare(const char *value, struct ber wanted)
{
    for (; *value && ber_len(&wanted); value++, wanted.at++) {
        int difference = ascii_lower(*value) - ascii_lower((char)*wanted.at);
        if (difference)
            return difference;
    }
    return (*value != 0) - (ber_len(&wanted) != 0);
}

static bool starts_with(const char *value, struct ber part)
{
    size_t len = ber_len(&part);
    return strlen(value) >= len && ascii_equal_ignore_case(value, len, (const char *)part.at, len);
}

static bool substrings_match(const char *value, struct ber parts)
{
    struct ber part;
    uint8_t tag;
    while (ber_len(&parts) && ber_any(&parts, &tag, &part)) {
        size_t len = ber_len(&part);
        if (tag == SUBSTRING_FINAL) {
            size_t rest = strlen(value);
            return rest >= len && starts_with(value + rest - len, part);
        }
        while (!starts_with(value, part)) {
            if (tag == SUBSTRING_INITIAL || !*value)
                return false;
            value++;
        }
        value += len;
    }
    return true;
}

static bool value_matches(uint8_t tag, const char *value, struct ber assertion)
{
    switch (tag) {
    case FILTER_SUBSTRINGS: return substrings_match(value, assertion);
    case FILTER_GREATER_OR_EQUAL: return compare(value, assertion) >= 0;
    case FILTER_LESS_OR_EQUAL: return compare(value, assertion) <= 0;
    default: return compare(value, assertion) == 0;
    }
}

static enum truth evaluate_item(uint8_t tag, struct ber content, const struct entry *entry)
{
    struct ber name = content, assertion = content;
    if (tag != FILTER_PRESENT) {
        uint8_t ignored;
        if (!ber_any(&content, &ignored, &name) || !ber_any(&content, &ignored, &assertion))
            return UNDEFINED;
    }
    if (!directory_knows_attribute((const char *)name.at, ber_len(&name)))
        return tag == FILTER_PRESENT ? FALSE : UNDEFINED;
    const struct attribute *attribute = entry_attribute(entry, (const char *)name.at, ber_len(&name));
    if (!attribute)
        return FALSE;
    if (tag == FILTER_PRESENT)
        return TRUE;
    for (size_t i = 0; i < VALUES_MAX && attribute->values[i]; i++)
        if (value_matches(tag, attribute->values[i], assertion))
            return TRUE;
    return FALSE;
}

/* And is the least of its parts, or the greatest, not the mirror image (X.511 7.8.1). */
static enum truth evaluate(struct ber *in, const struct entry *entry)
{
    struct ber content;
    uint8_t tag;
    if (!ber_any(in, &tag, &content))
        return UNDEFINED;
    enum truth sum = tag == FILTER_AND ? TRUE : FALSE;
    switch (tag) {
    case FILTER_AND:
    case FILTER_OR:
        while (ber_len(&content)) {
            enum truth part = evaluate(&content, entry);
            if (tag == FILTER_AND ? part < sum : part > sum)
                sum = part;
        }
        return sum;
    case FILTER_NOT: return (enum truth)(TRUE - evaluate(&content, entry));
    case FILTER_EXTENSIBLE: return UNDEFINED;
    default: return evaluate_item(tag, content, entry);
    }
}

bool ldap_filter_matches(struct ber filter, const struct entry *entry)
{
    return evaluate(&filter, entry) == TRUE;
}
