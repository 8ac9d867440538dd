/* greeting.c - the first words of a tunnel. */
#include "tunnel/greeting.h"

#include <gnutls/crypto.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Who may open what to whom, and what each then receives. */
static const struct {
    enum party_role caller, callee;
    enum frame_phase phase[2]; /* by enum greeting_side */
} purposes[] = {
    [fl_Purpose_PURPOSE_CONTROL] = {PARTY_AGENT, PARTY_CONSOLE, {PHASE_AGENT, PHASE_CONSOLE}},
    [fl_Purpose_PURPOSE_ENROL] = {PARTY_ENROL, PARTY_CONSOLE, {PHASE_ENROLLING, PHASE_ENROLLER}},
    /* The target dials the source. */
    [fl_Purpose_PURPOSE_TRANSFER] = {PARTY_AGENT, PARTY_AGENT, {PHASE_TARGET, PHASE_SOURCE}},
    [fl_Purpose_PURPOSE_FORWARD] = {PARTY_AGENT, PARTY_AGENT, {PHASE_LISTENER, PHASE_CONNECTOR}},
};

static bool purpose_known(enum _fl_Purpose purpose)
{
    return purpose > fl_Purpose_PURPOSE_NONE && (size_t)purpose < ARRAY_SIZE(purposes);
}

bool greeting_has_flow(enum _fl_Purpose purpose)
{
    return purpose == fl_Purpose_PURPOSE_TRANSFER || purpose == fl_Purpose_PURPOSE_FORWARD;
}

int greeting_proof(const uint8_t token[static GREETING_TOKEN], enum greeting_side side,
                   const struct fl_id *flow, const uint8_t exporter[static 32],
                   uint8_t ret_proof[static 32])
{
    static const char label[] = "fairlead v1 job"; /* its NUL is part of the text */
    uint8_t text[sizeof(label) + 1 + FL_ID_BYTES + 32];
    uint8_t *p = text;
    memcpy(p, label, sizeof(label));
    p += sizeof(label);
    *p++ = (uint8_t)side;
    memcpy(p, flow->b, FL_ID_BYTES);
    memcpy(p + FL_ID_BYTES, exporter, 32);
    int r =
        gnutls_hmac_fast(GNUTLS_MAC_SHA256, token, GREETING_TOKEN, text, sizeof(text), ret_proof);
    return r < 0 ? -FL_ETLS : 0;
}

void greeting_make(const struct greeting *greeting, const uint8_t *proof, fl_TunnelHello *ret_hello)
{
    *ret_hello = (fl_TunnelHello){
        .version = GREETING_VERSION,
        .caps = GREETING_CAP_FILES | GREETING_CAP_LANES,
        .has_caller = true,
        .has_callee = true,
        .purpose = greeting->purpose,
        .software = "fairlead " FAIRLEAD_VERSION,
    };
    memcpy(ret_hello->session, greeting->session.b, FL_ID_BYTES);
    memcpy(ret_hello->flow, greeting->flow.b, FL_ID_BYTES);
    party_to_wire(&greeting->caller, &ret_hello->caller);
    party_to_wire(&greeting->callee, &ret_hello->callee);
    if (proof)
        memcpy(ret_hello->proof, proof, 32);
}

int greeting_read(const fl_TunnelHello *hello, struct greeting *ret_greeting)
{
    if (hello->version < GREETING_VERSION)
        return -FL_EVERSION;
    struct greeting g = {.purpose = hello->purpose};
    if (!hello->has_caller || party_from_wire(&hello->caller, &g.caller) < 0 ||
        !hello->has_callee || party_from_wire(&hello->callee, &g.callee) < 0)
        return -FL_EMESSAGE;
    if (!purpose_known(g.purpose))
        return -FL_EMESSAGE;
    memcpy(g.session.b, hello->session, FL_ID_BYTES);
    memcpy(g.flow.b, hello->flow, FL_ID_BYTES);
    if (purposes[g.purpose].caller != g.caller.role || purposes[g.purpose].callee != g.callee.role)
        return -FL_EROLE;
    if (id_is_zero(&g.flow) == greeting_has_flow(g.purpose))
        return -FL_EMESSAGE;
    *ret_greeting = g;
    return 0;
}

bool greeting_equal(const struct greeting *a, const struct greeting *b)
{
    return id_equal(&a->session, &b->session) && party_equal(&a->caller, &b->caller) &&
           party_equal(&a->callee, &b->callee) && a->purpose == b->purpose &&
           id_equal(&a->flow, &b->flow);
}

enum frame_phase greeting_phase(enum _fl_Purpose purpose, enum greeting_side side)
{
    return purpose_known(purpose) ? purposes[purpose].phase[side] : PHASE_GREETING;
}
