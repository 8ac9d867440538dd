/* tunnel_rig.h - virtual time, in-memory legs and owners that note what they are told; for the
 * tests of src/tunnel. */
#ifndef FL_TESTS_TUNNEL_RIG_H
#define FL_TESTS_TUNNEL_RIG_H

#include <stdio.h>

#include "base/error.h"
#include "certs.h"
#include "leg/leg_mem.h"
#include "tunnel/tunnel_core.h"

/* What an owner of a tunnel has heard. */
struct owner {
    struct tunnel *tunnel;
    unsigned opened, closed, messages, writables;
    enum tunnel_close why;
    char text[512];
    uint8_t last_type;
    size_t last_len;
    uint64_t bytes;
    int answer;         /* of message() */
    bool pause_at_once; /* pause in message() */
    bool close_in_message;
};

static void owner_opened(void *ctx, struct tunnel *tunnel)
{
    struct owner *o = ctx;
    o->opened++;
    o->tunnel = tunnel;
}

static int owner_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct owner *o = ctx;
    o->messages++;
    o->last_type = frame->type;
    o->last_len = frame->len;
    o->bytes += frame->len;
    if (o->pause_at_once)
        tunnel_pause(tunnel, true);
    if (o->close_in_message)
        tunnel_close(tunnel, TUNNEL_CLOSE_DONE, "enough");
    return o->answer;
}

static void owner_writable(void *ctx, struct tunnel *tunnel)
{
    struct owner *o = ctx;
    o->writables++;
}

static void owner_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct owner *o = ctx;
    o->closed++;
    o->tunnel = NULL;
    o->why = why;
    (void)snprintf(o->text, sizeof(o->text), "%s", text);
}

__attribute__((unused)) static const struct tunnel_ops owner_ops = {
    .opened = owner_opened,
    .message = owner_message,
    .writable = owner_writable,
    .closed = owner_closed,
};

static uint64_t rig_now = 1000 * CLOCK_SEC;

__attribute__((unused)) static uint64_t rig_clock(void *ctx)
{
    return rig_now;
}

#endif
