/* hail.h - what an endpoint says to a proxy at the head of every leg: HELLO, and the check of
 * HELLO_ACK. Used by control legs (link.c) and data legs (join.c). */
#ifndef FL_TUNNEL_HAIL_H
#define FL_TUNNEL_HAIL_H

#include "identity/identity.h"
#include "leg/leg.h"
#include "wire/message.h"

#define HAIL_TEXT_MAX 160

/* hail_message - encode @src as @type and send it. Returns as leg_send(). */
int hail_message(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields, const void *src);

/* hail_hello - our HELLO, bound to this leg's encryption. @caps: HELLO_CAP_…; RAW is left out where
 * the leg cannot. Returns as leg_send(). */
int hail_hello(struct leg *leg, const struct identity *identity, uint32_t caps);

/* hail_check - is @ack (a HELLO_ACK) from the proxy @expect (zero: any of our domain) at the other
 * end of this very leg? Returns 0 and its id, or a negative code with the reason for people in
 * @text (HAIL_TEXT_MAX bytes; empty before); a wrong clock is named there. */
int hail_check(struct leg *leg, const struct identity *identity, const struct frame *ack,
               const struct fl_id *expect, struct fl_id *ret_id, char *text);

/* hail_refusal - the close reason and text of a STATUS or ABORT. Returns the reason or
 * -FL_EMESSAGE. */
int hail_refusal(const struct frame *frame, char *text);

/* hail_reason_text - "<text of the reason>: <what the proxy adds>", escaped, into @text. */
void hail_reason_text(uint32_t reason, const char *said, char *text);

/* hail_error - the error code that fits a close reason told by a proxy. */
int hail_error(uint32_t reason);

#endif
