#include "console/enrol.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

int enrol_token_ok(struct store *store, const struct fl_id *id, int64_t now,
                   struct store_token *ret_token)
{
    int rc = store_token_get(store, id, ret_token);

    if (rc)
        return rc;
    if (ret_token->revoked)
        return -FL_EDENIED;
    return now > ret_token->expires ? -FL_EEXPIRED : 0;
}

int enrol_pem_to_der(const char *pem, void *dst, size_t cap, size_t *ret_len)
{
    gnutls_datum_t in = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};
    gnutls_datum_t out = {0};

    if (gnutls_pem_base64_decode2("CERTIFICATE", &in, &out) < 0)
        return -FL_EKEY;
    int rc = out.size <= cap ? 0 : -FL_EKEY;
    if (!rc) {
        memcpy(dst, out.data, out.size);
        *ret_len = out.size;
    }
    gnutls_free(out.data);
    return rc;
}

/* ---- names ---- */

static bool is_utf8(const char *text)
{
    json_t *json = json_string(text);

    json_decref(json);
    return json != NULL;
}

static size_t clean_name(const char *wanted, char *dst, size_t cap)
{
    bool utf8 = is_utf8(wanted);
    size_t n = 0;

    for (; *wanted && n + 1 < cap; wanted++) {
        unsigned char c = (unsigned char)*wanted;
        bool keep = isalnum(c) || c == '-' || c == '_' || c == '.' || (utf8 && c >= 0x80);

        dst[n++] = keep ? (char)c : '-';
    }
    /* Not in the middle of a UTF-8 character. */
    if (*wanted)
        while (n && ((unsigned char)dst[n - 1] & 0xc0) == 0x80)
            n--;
    if (*wanted && n && (unsigned char)dst[n - 1] >= 0xc0)
        n--;
    while (n && (dst[n - 1] == '-' || dst[n - 1] == '.'))
        n--;
    dst[n] = 0;
    return n;
}

void enrol_name(const struct enrol_fleet *fleet, const char *wanted, const struct fl_id *id,
                char ret_name[static STORE_NAME_MAX])
{
    char base[STORE_NAME_MAX - 8], shortened[9];

    if (clean_name(wanted, base, sizeof(base)) == 0 || base[0] == '.' || base[0] == '-')
        snprintf(base, sizeof(base), "agent-%s", id_short(id, shortened));
    snprintf(ret_name, STORE_NAME_MAX, "%s", base);
    for (unsigned i = 2; i < 100000; i++) {
        const struct store_agent *other = fleet->find_name(fleet->ctx, ret_name);

        if (!other || id_equal(&other->id, id))
            return;
        snprintf(ret_name, STORE_NAME_MAX, "%s-%u", base, i);
    }
}

/* ---- the decision ---- */

static void refuse(fl_EnrolReply *reply, const char *text)
{
    reply->status = fl_EnrolStatus_ENROL_REFUSED;
    snprintf(reply->text, sizeof(reply->text), "%s", text);
}

static void postpone(fl_EnrolReply *reply, const char *text)
{
    reply->status = fl_EnrolStatus_ENROL_PENDING;
    reply->retry = ENROL_RETRY_SECONDS;
    snprintf(reply->text, sizeof(reply->text), "%s", text);
}

static void issue(const struct authority *authority, const char *pem, fl_EnrolReply *reply)
{
    const gnutls_datum_t *ca = trust_ca(authority_trust(authority));
    size_t len = 0;

    if (ca->size > sizeof(reply->ca.bytes) ||
        enrol_pem_to_der(pem, reply->certificate.bytes, sizeof(reply->certificate.bytes), &len)) {
        refuse(reply, "the console could not issue a certificate");
        return;
    }
    reply->certificate.size = (pb_size_t)len;
    memcpy(reply->ca.bytes, ca->data, ca->size);
    reply->ca.size = (pb_size_t)ca->size;
    reply->status = fl_EnrolStatus_ENROL_ISSUED;
}

static void newcomer(const struct enrol_fleet *fleet, const struct store_token *token,
                     const fl_EnrolRequest *request, const struct fl_id *id, int64_t now,
                     struct store_agent *agent)
{
    memset(agent, 0, sizeof(*agent));
    agent->id = *id;
    agent->token = token->id;
    agent->state = token->approval ? AGENT_PENDING : AGENT_ACTIVE;
    agent->tags = token->tags;
    for (size_t i = 0; i < request->tags_count; i++)
        (void)store_list_add(&agent->tags, request->tags[i]);
    enrol_name(fleet, request->device_name, id, agent->name);
    log_escape(agent->software, sizeof(agent->software), request->software,
               strlen(request->software));
    agent->first_seen = now;
    agent->last_seen = now;
}

/* remember - the agent's row and the count of the token's uses, both or neither. */
static int remember(struct store *store, const struct enrol_fleet *fleet,
                    const struct store_agent *agent, bool is_new)
{
    int rc = store_begin(store);

    if (rc)
        return rc;
    rc = fleet->put(fleet->ctx, agent, is_new);
    if (!rc && is_new)
        rc = store_token_use(store, &agent->token);
    if (!rc)
        return store_commit(store);
    store_rollback(store);
    return rc;
}

static void decide(struct store *store, const struct authority *authority,
                   const struct enrol_fleet *fleet, const struct store_agent *known,
                   struct store_agent *agent, const char *pem, int64_t now, fl_EnrolReply *reply)
{
    if (agent->state == AGENT_REVOKED) {
        refuse(reply, "this agent was revoked");
        return;
    }
    if (agent->state == AGENT_PENDING && !known &&
        fleet->pending(fleet->ctx) >= ENROL_PENDING_MAX) {
        postpone(reply, "too many agents wait for approval");
        return;
    }
    agent->last_seen = now;
    if (agent->state == AGENT_ACTIVE)
        agent->expires = now + (int64_t)AUTHORITY_AGENT_DAYS * 86400;
    if (remember(store, fleet, agent, !known))
        postpone(reply, "the console cannot write its store; it is asked again later");
    else if (agent->state == AGENT_PENDING)
        postpone(reply, "waiting for an administrator's approval");
    else
        issue(authority, pem, reply);
}

void enrol_answer(struct store *store, const struct authority *authority,
                  const struct enrol_fleet *fleet, const struct store_token *token,
                  const fl_EnrolRequest *request, int64_t now, fl_EnrolReply *reply)
{
    _cleanup_free_ char *pem = NULL;
    struct store_agent agent;
    struct fl_id id;

    memset(reply, 0, sizeof(*reply));
    /* Made first in any case: it proves that the asker holds the key, and tells its id. It is sent
     * only when issued. */
    if (authority_issue_request(authority, request->csr.bytes, request->csr.size, PARTY_AGENT,
                                AUTHORITY_AGENT_DAYS, &pem, &id)) {
        refuse(reply, "the request for a certificate is malformed");
        return;
    }
    const struct store_agent *known = fleet->find(fleet->ctx, &id);
    if (known)
        agent = *known;
    else
        newcomer(fleet, token, request, &id, now, &agent);
    decide(store, authority, fleet, known, &agent, pem, now, reply);
}

void enrol_renew(const struct authority *authority, const struct fl_id *agent,
                 const fl_RenewRequest *request, fl_RenewReply *reply)
{
    _cleanup_free_ char *pem = NULL;
    struct fl_id id;
    size_t len = 0;

    memset(reply, 0, sizeof(*reply));
    if (authority_issue_request(authority, request->csr.bytes, request->csr.size, PARTY_AGENT,
                                AUTHORITY_AGENT_DAYS, &pem, &id))
        snprintf(reply->text, sizeof(reply->text), "the request for a certificate is malformed");
    else if (!id_equal(&id, agent))
        snprintf(reply->text, sizeof(reply->text),
                 "a renewal keeps the agent's key; this is another");
    else if (enrol_pem_to_der(pem, reply->certificate.bytes, sizeof(reply->certificate.bytes),
                              &len))
        snprintf(reply->text, sizeof(reply->text), "the console could not issue a certificate");
    reply->certificate.size = (pb_size_t)len;
}
