#include "agent/peer_ways.h"

#include <string.h>

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

bool peer_ways_punch(struct peer_ways *ways, const struct fl_id *peer, uint64_t now)
{
    return ways && ways->punch && punches_may(&ways->punches, peer, now);
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
