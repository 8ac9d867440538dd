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
