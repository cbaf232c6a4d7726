/* A connection collects one message at a time; while a search runs, the message stays in the buffer (the search refers
 * to it) and later ones wait. */
#include "ldap.h"

#include <string.h>

#include "ber.h"
#include "conn.h"
#include "directory.h"
#include "ldap_search.h"
#include "text.h"

#define IDLE_MS (5 * 60 * 1000u)
#define MESSAGE_MAX 4096u
#define ANSWER_MAX 2048u /* the largest entry is below a quarter of it */

#define OID_DISCONNECTION "1.3.6.1.4.1.1466.20036"
#define OID_WHO_AM_I "1.3.6.1.4.1.4203.1.11.3" /* RFC 4532 */

enum {
    BIND_REQUEST = 0x60,
    BIND_RESPONSE = 0x61,
    UNBIND_REQUEST = 0x42,
    SEARCH_REQUEST = 0x63,
    SEARCH_RESULT_DONE = 0x65,
    MODIFY_REQUEST = 0x66,
    ADD_REQUEST = 0x68,
    DELETE_REQUEST = 0x4A,
    DELETE_RESPONSE = 0x6B,
    MODIFY_DN_REQUEST = 0x6C,
    COMPARE_REQUEST = 0x6E,
    ABANDON_REQUEST = 0x50,
    EXTENDED_REQUEST = 0x77,
    EXTENDED_RESPONSE = 0x78,
    CONTROLS = 0xA0,
    AUTHENTICATION_SIMPLE = 0x80,
    REQUEST_NAME = 0x80,
    RESPONSE_NAME = 0x8A,
    RESPONSE_VALUE = 0x8B,
};

struct ldap {
    uint8_t message[MESSAGE_MAX];
    size_t have;
    bool is_admin;
    bool searching;
    int32_t search_id;
    struct ldap_search search;
};

/* An LDAPResult; `name` and `value` are those of an extended response, or NULL. */
static void send_result(struct conn *c, int32_t id, uint8_t tag, enum ldap_result result, const char *matched_dn,
                        const char *text, const char *name, const char *value)
{
    uint8_t buf[ANSWER_MAX];
    struct ber_out out;
    ber_out_init(&out, buf, sizeof buf);
    size_t whole = ber_begin(&out, BER_SEQUENCE);
    ber_put_int(&out, BER_INTEGER, id);
    size_t op = ber_begin(&out, tag);
    ber_put_int(&out, BER_ENUMERATED, result);
    ber_put_str(&out, BER_OCTETS, matched_dn);
    ber_put_str(&out, BER_OCTETS, text);
    if (name)
        ber_put_str(&out, RESPONSE_NAME, name);
    if (value)
        ber_put_str(&out, RESPONSE_VALUE, value);
    ber_end(&out, op);
    ber_end(&out, whole);
    conn_send(c, out.buf, out.len);
}

static void reply(struct conn *c, int32_t id, uint8_t tag, enum ldap_result result, const char *text)
{
    send_result(c, id, tag, result, "", text, NULL, NULL);
}

/* RFC 4511 section 4.4.1: what cannot be parsed ends the connection, with a word of why. */
static void disconnect(struct conn *c, const char *why)
{
    send_result(c, 0, EXTENDED_RESPONSE, LDAP_PROTOCOL_ERROR, "", why, OID_DISCONNECTION, NULL);
    conn_close(c);
}

static bool equals(struct ber bytes, const char *s)
{
    return ber_len(&bytes) == strlen(s) && memcmp(bytes.at, s, ber_len(&bytes)) == 0;
}

static void do_bind(struct conn *c, int32_t id, struct ber request)
{
    struct ldap *l = conn_state(c);
    struct ber name, credentials;
    int32_t version;
    uint8_t method;
    char dn[LDAP_DN_MAX];
    l->is_admin = false; /* whatever comes of it: section 4.2.1 */
    if (!ber_int(&request, BER_INTEGER, &version) || !ber_tagged(&request, BER_OCTETS, &name) ||
        !ber_any(&request, &method, &credentials)) {
        disconnect(c, "malformed bind");
    } else if (version != 3) {
        reply(c, id, BIND_RESPONSE, LDAP_PROTOCOL_ERROR, "only version 3");
    } else if (method != AUTHENTICATION_SIMPLE) {
        reply(c, id, BIND_RESPONSE, LDAP_AUTH_METHOD_NOT_SUPPORTED, "only simple binds");
    } else if (ber_len(&name) == 0) {
        reply(c, id, BIND_RESPONSE, LDAP_SUCCESS, "");
    } else if (ber_len(&credentials) == 0) { /* RFC 4513 section 5.1.2: a trap for clients */
        reply(c, id, BIND_RESPONSE, LDAP_UNWILLING_TO_PERFORM, "a name without a password");
    } else if (!directory_normalize_dn((const char *)name.at, ber_len(&name), dn, sizeof dn)) {
        reply(c, id, BIND_RESPONSE, LDAP_INVALID_DN_SYNTAX, "");
    } else {
        l->is_admin = strcmp(dn, DIRECTORY_ADMIN) == 0 && equals(credentials, DIRECTORY_ADMIN_PASSWORD);
        reply(c, id, BIND_RESPONSE, l->is_admin ? LDAP_SUCCESS : LDAP_INVALID_CREDENTIALS, "");
    }
}

static void do_search(struct conn *c, int32_t id, struct ber request)
{
    struct ldap *l = conn_state(c);
    enum ldap_result result = ldap_search_parse(&l->search, request);
    if (result == LDAP_SUCCESS) {
        l->searching = true;
        l->search_id = id;
    } else if (result == LDAP_NO_SUCH_OBJECT) {
        send_result(c, id, SEARCH_RESULT_DONE, result, ldap_search_matched_dn(&l->search), "", NULL, NULL);
    } else {
        reply(c, id, SEARCH_RESULT_DONE, result, "malformed search");
    }
}

static void do_extended(struct conn *c, int32_t id, struct ber request)
{
    struct ldap *l = conn_state(c);
    struct ber name;
    if (!ber_tagged(&request, REQUEST_NAME, &name))
        disconnect(c, "malformed extended request");
    else if (equals(name, OID_WHO_AM_I))
        send_result(c, id, EXTENDED_RESPONSE, LDAP_SUCCESS, "", "", NULL, l->is_admin ? "dn:" DIRECTORY_ADMIN : "");
    else
        reply(c, id, EXTENDED_RESPONSE, LDAP_PROTOCOL_ERROR, "extended operation not known"); /* section 4.12 */
}

/* Whether a control that must be understood is among them: none is (section 4.1.11). */
static bool critical_controls(struct ber in, bool *malformed)
{
    struct ber controls, control, type;
    bool critical = false;
    if (!ber_len(&in))
        return false;
    if (!ber_tagged(&in, CONTROLS, &controls)) {
        *malformed = true;
        return false;
    }
    while (ber_len(&controls) && !*malformed) {
        *malformed = !ber_tagged(&controls, BER_SEQUENCE, &control) || !ber_tagged(&control, BER_OCTETS, &type);
        if (!*malformed && ber_len(&control) && *control.at == BER_BOOLEAN) {
            bool this_one = false;
            *malformed = !ber_bool(&control, &this_one);
            critical |= this_one;
        }
    }
    return critical;
}

static uint8_t response_tag(uint8_t request)
{
    return request == DELETE_REQUEST ? DELETE_RESPONSE : (uint8_t)(request + 1);
}

static void do_message(struct conn *c)
{
    struct ldap *l = conn_state(c);
    struct ber in = {l->message, l->message + l->have};
    struct ber message, request;
    int32_t id;
    uint8_t tag;
    bool malformed = false;
    if (!ber_tagged(&in, BER_SEQUENCE, &message) || !ber_int(&message, BER_INTEGER, &id) || id <= 0 ||
        !ber_any(&message, &tag, &request)) {
        disconnect(c, "malformed message");
        return;
    }
    bool critical = critical_controls(message, &malformed);
    if (malformed) {
        disconnect(c, "malformed controls");
        return;
    }
    if (tag == UNBIND_REQUEST) {
        conn_close(c);
        return;
    }
    if (tag == ABANDON_REQUEST) /* its operation is complete already: they run in order */
        return;
    if (critical) {
        uint8_t answer = tag == SEARCH_REQUEST ? SEARCH_RESULT_DONE : response_tag(tag);
        reply(c, id, answer, LDAP_UNAVAILABLE_CRITICAL_EXTENSION, "no control is known here");
        return;
    }
    switch (tag) {
    case BIND_REQUEST: do_bind(c, id, request); break;
    case SEARCH_REQUEST: do_search(c, id, request); break;
    case EXTENDED_REQUEST: do_extended(c, id, request); break;
    case MODIFY_REQUEST:
    case ADD_REQUEST:
    case DELETE_REQUEST:
    case MODIFY_DN_REQUEST:
    case COMPARE_REQUEST: reply(c, id, response_tag(tag), LDAP_UNWILLING_TO_PERFORM, "only binds and searches"); break;
    default: disconnect(c, "operation not known");
    }
}

static size_t ldap_received(struct conn *c, const uint8_t *bytes, size_t len)
{
    struct ldap *l = conn_state(c);
    if (conn_room(c) < ANSWER_MAX)
        return 0;
    size_t part = sizeof l->message - l->have < len ? sizeof l->message - l->have : len;
    memcpy(l->message + l->have, bytes, part);
    size_t whole = ber_element_bytes(l->message, l->have + part);
    if (whole > sizeof l->message || (l->have + part && l->message[0] != BER_SEQUENCE)) {
        disconnect(c, "malformed or too large");
        return part;
    }
    if (whole == 0 || whole > l->have + part) {
        l->have += part;
        return part;
    }
    part = whole - l->have; /* the rest belongs to the next message */
    l->have = whole;
    do_message(c);
    if (!l->searching)
        l->have = 0;
    return part;
}

static bool ldap_produce(struct conn *c)
{
    struct ldap *l = conn_state(c);
    while (l->searching) {
        if (conn_room(c) < ANSWER_MAX)
            return true;
        enum ldap_result result;
        const struct entry *entry = ldap_search_next(&l->search, &result);
        if (!entry) {
            reply(c, l->search_id, SEARCH_RESULT_DONE, result, "");
            l->searching = false;
            l->have = 0;
            break;
        }
        uint8_t buf[ANSWER_MAX];
        struct ber_out out;
        ber_out_init(&out, buf, sizeof buf);
        size_t whole = ber_begin(&out, BER_SEQUENCE);
        ber_put_int(&out, BER_INTEGER, l->search_id);
        ldap_search_encode(&l->search, entry, &out);
        ber_end(&out, whole);
        conn_send(c, out.buf, out.len);
    }
    return false;
}

static const struct service ldap_service = {.name = "ldap",
                                            .port = 389,
                                            .idle_ms = IDLE_MS,
                                            .state_bytes = sizeof(struct ldap),
                                            .received = ldap_received,
                                            .produce = ldap_produce};

void ldap_start(void)
{
    conn_listen(&ldap_service);
}
