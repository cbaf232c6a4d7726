#include "directory.h"

#include <string.h>

#include "text.h"

#define PEOPLE "ou=people," DIRECTORY_SUFFIX
#define GROUPS "ou=groups," DIRECTORY_SUFFIX
#define UID(name) "uid=" name "," PEOPLE

#define PERSON(login, given, surname, phone)                                                  \
    {                                                                                         \
        .dn = UID(login), .attributes = {                                                     \
            {"objectClass", {"top", "person", "organizationalPerson", "inetOrgPerson"}},      \
            {"uid", {login}},                                                                 \
            {"cn", {given " " surname}},                                                      \
            {"givenName", {given}},                                                           \
            {"sn", {surname}},                                                                \
            {"mail", {login "@example.org"}},                                                 \
            {"telephoneNumber", {phone}},                                                     \
        }                                                                                     \
    }
#define UNIT(name, text)                                                                                             \
    {                                                                                                                \
        .dn = "ou=" name "," DIRECTORY_SUFFIX, .attributes = {                                                       \
            {"objectClass", {"top", "organizationalUnit"}}, {"ou", {name}}, {"description", {text}} \
        }                                                                                                            \
    }
#define GROUP(name, text, ...)                                                                                 \
    {                                                                                                          \
        .dn = "cn=" name "," GROUPS, .attributes = {                                                           \
            {"objectClass", {"top", "groupOfNames"}}, {"cn", {name}}, {"description", {text}}, \
            {"member", {__VA_ARGS__}}                                                                          \
        }                                                                                                      \
    }

const struct entry directory_root_dse = {
    .dn = "",
    .attributes =
        {
            {"objectClass", {"top"}},
            {"namingContexts", {DIRECTORY_SUFFIX}},
            {"supportedLDAPVersion", {"3"}},
            {"supportedExtension", {"1.3.6.1.4.1.4203.1.11.3"}},
            {"vendorName", {"quorate"}},
        },
};

/* Surnames of people who worked on agreement, time and tolerance of faults, and other names. */
static const struct entry entries[] = {
    {.dn = DIRECTORY_SUFFIX,
     .attributes = {{"objectClass", {"top", "dcObject", "organization"}}, {"dc", {"example"}}, {"o", {"Example"}}}},
    {.dn = DIRECTORY_ADMIN,
     .attributes = {{"objectClass", {"top", "organizationalRole"}},
                    {"cn", {"admin"}},
                    {"description", {"Administrator"}}}},
    UNIT("people", "Persons"),
    UNIT("groups", "Groups of persons"),
    PERSON("ada", "Ada", "Lovelace", "+49 228 555 0101"),
    PERSON("alan", "Alan", "Turing", "+49 228 555 0102"),
    PERSON("barbara", "Barbara", "Liskov", "+49 228 555 0103"),
    PERSON("claude", "Claude", "Shannon", "+49 228 555 0104"),
    PERSON("donald", "Donald", "Knuth", "+49 228 555 0105"),
    PERSON("edsger", "Edsger", "Dijkstra", "+49 228 555 0106"),
    PERSON("frances", "Frances", "Allen", "+49 228 555 0107"),
    PERSON("grace", "Grace", "Hopper", "+49 228 555 0108"),
    PERSON("hedy", "Hedy", "Lamarr", "+49 228 555 0109"),
    PERSON("jim", "Jim", "Gray", "+49 228 555 0110"),
    PERSON("john", "John", "von Neumann", "+49 228 555 0111"),
    PERSON("karen", "Karen", "Sparck Jones", "+49 228 555 0112"),
    PERSON("konrad", "Konrad", "Zuse", "+49 228 555 0113"),
    PERSON("leslie", "Leslie", "Lamport", "+49 228 555 0114"),
    PERSON("margaret", "Margaret", "Hamilton", "+49 228 555 0115"),
    PERSON("nancy", "Nancy", "Lynch", "+49 228 555 0116"),
    PERSON("radia", "Radia", "Perlman", "+49 228 555 0117"),
    PERSON("robert", "Robert", "Metcalfe", "+49 228 555 0118"),
    PERSON("shafi", "Shafi", "Goldwasser", "+49 228 555 0119"),
    PERSON("vint", "Vint", "Cerf", "+49 228 555 0120"),
    GROUP("agreement", "Distributed agreement", UID("leslie"), UID("nancy"), UID("barbara"), UID("jim")),
    GROUP("networks", "Networks", UID("radia"), UID("vint"), UID("robert"), UID("claude")),
    GROUP("machines", "Machines", UID("ada"), UID("alan"), UID("grace"), UID("john"), UID("konrad"), UID("margaret")),
};
#define ENTRIES (sizeof entries / sizeof *entries)

const struct entry *directory_at(size_t position)
{
    return position < ENTRIES ? &entries[position] : NULL;
}

const struct entry *directory_find(const char *dn)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (strcmp(entries[i].dn, dn) == 0)
            return &entries[i];
    return NULL;
}

const struct attribute *entry_attribute(const struct entry *entry, const char *name, size_t len)
{
    const char *option = memchr(name, ';', len);
    if (option)
        len = (size_t)(option - name);
    for (size_t i = 0; i < ATTRIBUTES_MAX && entry->attributes[i].name; i++) {
        const char *own = entry->attributes[i].name;
        if (ascii_equal_ignore_case(own, strlen(own), name, len))
            return &entry->attributes[i];
    }
    return NULL;
}

bool directory_knows_attribute(const char *name, size_t len)
{
    if (entry_attribute(&directory_root_dse, name, len))
        return true;
    for (size_t i = 0; i < ENTRIES; i++)
        if (entry_attribute(&entries[i], name, len))
            return true;
    return false;
}

bool directory_normalize_dn(const char *dn, size_t len, char *to, size_t cap)
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = ascii_lower(dn[i]);
        bool separator = c == ',' || c == '=' || c == '+';
        if (c == 0)
            return false;
        if (separator)
            while (used && to[used - 1] == ' ')
                used--;
        if (c == ' ' && (used == 0 || to[used - 1] == ',' || to[used - 1] == '=' || to[used - 1] == '+'))
            continue;
        if (used + 1 >= cap)
            return false;
        to[used++] = c;
    }
    while (used && to[used - 1] == ' ')
        used--;
    to[used] = 0;
    return true;
}

bool directory_in_scope(const char *dn, const char *base, enum scope scope)
{
    size_t dn_len = strlen(dn);
    size_t base_len = strlen(base);
    if (scope == SCOPE_BASE)
        return strcmp(dn, base) == 0;
    if (dn_len < base_len || strcmp(dn + dn_len - base_len, base) != 0)
        return false;
    size_t above = dn_len - base_len; /* bytes of the name below the base */
    if (base_len && above && dn[--above] != ',')
        return false;
    if (scope == SCOPE_SUBTREE)
        return true;
    /* Exactly one level. The suffix itself counts as one, though its name has two parts. */
    return above && (base_len ? memchr(dn, ',', above) == NULL : strcmp(dn, DIRECTORY_SUFFIX) == 0);
}
