#include "agent/peer_ways.h"

#include <string.h>

#include "base/clock.h"

#define LOOK_AFTER   (200 * CLOCK_MS)
#define LOOK_FIRST   (2 * CLOCK_SEC)
#define LOOK_DOUBLED 5
#define LOOK_MAX     (60 * CLOCK_SEC)
#define LOOK_STEADY  (30 * CLOCK_SEC) /* a direct way that held so long was good */

static void add(struct dial_request *request, const char *address)
{
    for (size_t i = 0; i < request->address_count; i++) {
        if (!strcmp(request->addresses[i], address))
            return;
    }
    if (request->address_count < ENDPOINT_ADDRESSES_MAX)
        request->addresses[request->address_count++] = address;
}

void peer_ways_fill(struct peer_ways *ways, const char (*given)[LEG_ADDRESS_MAX],
                    size_t given_count, struct dial_request *request)
{
    size_t count = 0;

    if (ways && ways->lan)
        count = discover_uv_find(ways->lan, &request->peer.id, ways->found, DISCOVER_FOUND);
    for (size_t i = 0; i < count; i++)
        add(request, ways->found[i]);
    for (size_t i = 0; ways && ways->known && i < ways->known->count; i++)
        add(request, ways->known->item[i]);
    for (size_t i = 0; i < given_count; i++)
        add(request, given[i]);
}

bool peer_ways_punch(struct peer_ways *ways, const struct tunnel *carries, uint64_t now,
                     struct dial_request *request)
{
    struct tunnel_info info;

    request->punch = ways && ways->punch && punches_may(&ways->punches, &request->peer.id, now);
    if (request->punch && carries) {
        tunnel_info(carries, &info);
        request->meet_at = info.proxy;
    }
    return request->punch;
}

void peer_ways_punched(struct peer_ways *ways, const struct fl_id *peer, const char *label,
                       const char *text, uint64_t now)
{
    if (ways)
        punches_note(&ways->punches, peer, label, text, now);
}

const struct punch *peer_ways_in_vain(const struct peer_ways *ways, const struct fl_id *peer)
{
    const struct punch *punch = ways ? punches_find(&ways->punches, peer) : NULL;

    return punch && punch->failures > 0 ? punch : NULL;
}

void peer_look_opened(struct peer_look *look, uint64_t now)
{
    if (look->next < now + LOOK_AFTER)
        look->next = now + LOOK_AFTER;
}

void peer_look_later(struct peer_look *look, uint64_t now)
{
    uint64_t wait = LOOK_FIRST << look->attempt;

    look->next = now + clock_jitter(wait < LOOK_MAX ? wait : LOOK_MAX);
    look->attempt += look->attempt < LOOK_DOUBLED;
}

void peer_look_lost(struct peer_look *look, uint64_t opened, uint64_t now)
{
    if (now - opened > LOOK_STEADY)
        look->attempt = 0;
    peer_look_later(look, now);
}
