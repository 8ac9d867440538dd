#include "proxy/allow.h"

int allow_init(struct allow *allow)
{
    return id_set_init(&allow->agents);
}

void allow_done(struct allow *allow)
{
    id_set_done(&allow->agents);
}

int allow_set(struct allow *allow, const struct fl_id *ids, size_t count)
{
    return id_set_put(&allow->agents, ids, count);
}

bool allow_has(struct allow *allow, const struct party *party)
{
    return party->role != PARTY_AGENT || id_set_has(&allow->agents, &party->id, true);
}
