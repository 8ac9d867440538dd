/* tunnel_end.c - how a tunnel ends with a reason: the owner hears it once, and the peer if it can.
 *
 * The owner hears of the end when it begins; CLOSING and LINGER are between us and the peer, 5 s at
 * most.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tunnel/tunnel_state.h"

#define CLOSE_TIME (5 * CLOCK_SEC)

static const char *const close_texts[] = {
#define TUNNEL_CLOSE(id, number, blame, text) [number] = text,
#include "tunnel_close.def"
#undef TUNNEL_CLOSE
};

const char *tunnel_close_text(enum tunnel_close why)
{
    return (size_t)why < ARRAY_SIZE(close_texts) ? close_texts[why] : "unknown reason";
}

static void tell_owner(struct tunnel *t, enum tunnel_close why, const char *text)
{
    const struct tunnel_ops *ops = take_ptr(t->ops);
    if (ops && ops->closed)
        ops->closed(t->ctx, t, why, text && text[0] ? text : tunnel_close_text(why));
}

static void queue_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    fl_TunnelClose close = {.code = why};
    (void)snprintf(close.text, sizeof(close.text), "%s", text ? text : "");
    uint8_t *frame = outbox_reserve(&t->outbox, FRAME_MAX);
    int size =
        frame ? message_encode(FRAME_TUNNEL_CLOSE, fl_TunnelClose_fields, &close, frame, FRAME_MAX)
              : 0;
    outbox_commit(&t->outbox, size > 0 ? (size_t)size : 0);
}

/* From now on only the peer is to be told, politely, within CLOSE_TIME. */
static void start_closing(struct tunnel *t)
{
    tunnel_move(t, TUNNEL_CLOSING);
    t->share = (struct limit_share){0};
    t->deadline = turn_now(t->turn) + CLOSE_TIME;
    turn_queue(t->turn, &t->item);
}

static void close_with(struct tunnel *t, enum tunnel_close why, const char *text)
{
    if (t->state == TUNNEL_HANDSHAKE) {
        tunnel_over(t, LEG_RESET);
        return;
    }
    queue_close(t, why, text);
    start_closing(t);
}

void tunnel_end(struct tunnel *t, enum tunnel_close why, const char *text)
{
    if (t->state >= TUNNEL_CLOSING)
        return;
    char copy[TUNNEL_TEXT_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", text ? text : "");
    close_with(t, why, copy);
    tell_owner(t, why, copy);
}

void tunnel_lost(struct tunnel *t, enum tunnel_close why, const char *text)
{
    tunnel_over(t, LEG_RESET);
    tell_owner(t, why, text);
}

void tunnel_left(struct tunnel *t, enum tunnel_close why, const char *text)
{
    outbox_clear(&t->outbox);
    start_closing(t);
    tell_owner(t, why, text);
}

void tunnel_tls_lost(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->tls_failed = true;
    tunnel_left(t, why, text);
}

void tunnel_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->ops = NULL;
    if (t->state < TUNNEL_CLOSING)
        close_with(t, why, text);
}
