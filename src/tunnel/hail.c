/* hail.c - the identity proof towards a proxy. */
#include "tunnel/hail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/hello.h"
#include "wire/close_reason.h"

/* More difference than this between a proxy's clock and ours is worth telling: certificates may
 * fail by it. */
#define CLOCK_TOLERANCE 300

int hail_message(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    uint8_t frame[FRAME_MAX];
    int size = message_encode(type, fields, src, frame, sizeof(frame));
    if (size < 0)
        return size;
    return leg_send(leg, type, 0, frame + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

int hail_hello(struct leg *leg, const struct identity *identity, uint32_t caps)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello = fl_Hello_init_zero;
    int r = leg_exporter(leg, HELLO_DIALLER, exporter);
    if (r < 0)
        return r;
    r = hello_make(identity, HELLO_DIALLER, exporter, &hello);
    if (r < 0)
        return r;
    hello.caps = leg_can_raw(leg) ? caps : caps & ~HELLO_CAP_RAW;
    return hail_message(leg, FRAME_HELLO, fl_Hello_fields, &hello);
}

/* A proxy's time is a hint for people, never used as time: it may lie. */
static void name_clock(int error, int64_t theirs, char *text)
{
    int64_t ours = clock_wall();
    bool near = theirs > ours - CLOCK_TOLERANCE && theirs < ours + CLOCK_TOLERANCE;
    if (theirs <= 0 || theirs > INT64_C(1) << 40 || near)
        return;
    if (error == 0 || error == -FL_EEXPIRED)
        (void)snprintf(text, HAIL_TEXT_MAX, "this machine's clock is %" PRId64 " s %s the proxy's",
                       ours > theirs ? ours - theirs : theirs - ours,
                       ours > theirs ? "ahead of" : "behind");
}

int hail_check(struct leg *leg, const struct identity *identity, const struct frame *ack,
               const struct fl_id *expect, struct fl_id *ret_id, char *text)
{
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello;
    struct party party;
    text[0] = '\0';
    int r = message_decode(fl_Hello_fields, ack, &hello);
    if (r == 0)
        r = leg_exporter(leg, HELLO_ANSWERER, exporter);
    if (r < 0)
        return r;
    r = hello_check(identity_trust(identity), &hello, HELLO_ANSWERER, exporter, clock_wall(),
                    &party);
    name_clock(r, hello.time, text);
    if (r < 0)
        return r;
    if (party.role != PARTY_PROXY)
        return -FL_EROLE;
    if (!id_is_zero(expect) && !id_equal(expect, &party.id)) {
        char want[9], got[9];
        (void)snprintf(text, HAIL_TEXT_MAX, "proxy %s answers there, not %s",
                       id_short(&party.id, got), id_short(expect, want));
        return -FL_EIDENTITY;
    }
    *ret_id = party.id;
    return 0;
}

void hail_reason_text(uint32_t reason, const char *said, char *text)
{
    char safe[HAIL_TEXT_MAX / 2];
    if (strcmp(said, close_reason_text(reason)) == 0)
        said = ""; /* nothing beyond the reason */
    log_escape(safe, sizeof(safe), said, strlen(said));
    (void)snprintf(text, HAIL_TEXT_MAX, "%s%s%s", close_reason_text(reason), said[0] ? ": " : "",
                   safe);
}

int hail_refusal(const struct frame *frame, char *text)
{
    /* Both messages have the same two fields; a decode of either fills them. */
    fl_Status status;
    fl_Abort abort_;
    if (frame->type == FRAME_STATUS) {
        if (message_decode(fl_Status_fields, frame, &status) < 0)
            return -FL_EMESSAGE;
        hail_reason_text(status.code, status.text, text);
        return status.code < CLOSE_REASON_COUNT ? (int)status.code : CLOSE_REASON_COUNT;
    }
    if (message_decode(fl_Abort_fields, frame, &abort_) < 0)
        return -FL_EMESSAGE;
    hail_reason_text(abort_.code, abort_.text, text);
    return abort_.code < CLOSE_REASON_COUNT ? (int)abort_.code : CLOSE_REASON_COUNT;
}

int hail_error(uint32_t reason)
{
    switch (reason) {
    case CLOSE_EXPIRED:
        return -FL_EEXPIRED;
    case CLOSE_AUTHORITY:
        return -FL_ECA;
    case CLOSE_CERTIFICATE:
        return -FL_ECERT;
    case CLOSE_ROLE:
        return -FL_EROLE;
    case CLOSE_DENIED:
        return -FL_EDENIED;
    case CLOSE_PROOF:
        return -FL_EPROOF;
    case CLOSE_VERSION:
        return -FL_EVERSION;
    case CLOSE_FULL:
    case CLOSE_VOLUME:
        return -FL_EFULL;
    case CLOSE_NOT_FOUND:
        return -FL_EUNREACH;
    default:
        return -FL_EREFUSED;
    }
}
