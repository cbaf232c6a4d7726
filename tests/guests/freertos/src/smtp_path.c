#include "smtp_path.h"

#include <string.h>

#include "mailbox.h"
#include "text.h"

const char *smtp_parse_path(const char *s, const char *keyword, char *address)
{
    size_t keyword_len = strlen(keyword);
    if (strlen(s) < keyword_len || !ascii_equal_ignore_case(s, keyword_len, keyword, keyword_len))
        return NULL;
    s += keyword_len;
    while (*s == ' ') /* not allowed, but common */
        s++;
    if (*s++ != '<')
        return NULL;
    if (*s == '@') { /* a source route: to be accepted and ignored (appendix C) */
        s = strchr(s, ':');
        if (!s++)
            return NULL;
    }
    size_t len = 0;
    bool quoted = false;
    for (; *s && (quoted || *s != '>'); s++) {
        if (*s < 0x20 || *s > 0x7E || len == MAIL_ADDRESS_MAX || (!quoted && (*s == ' ' || *s == '<')))
            return NULL;
        if (*s == '"')
            quoted = !quoted;
        address[len++] = *s;
        if (quoted && *s == '\\' && s[1] >= 0x20 && s[1] <= 0x7E && len < MAIL_ADDRESS_MAX)
            address[len++] = *++s;
    }
    address[len] = 0;
    return *s == '>' ? s + 1 : NULL;
}

bool smtp_is_recipient(const char *address)
{
    const char *at = strrchr(address, '@');
    if (!at)
        return ascii_equal_ignore_case(address, strlen(address), "postmaster", 10);
    return at > address && at[1];
}
