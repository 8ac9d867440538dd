/* What everybody must know: the list of proxies, and who is denied. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/event.h"
#include "console/fleet_core.h"

static void make_proxy_list(struct fleet *fleet, fl_ProxyList *list)
{
    struct fleet_proxy *proxy;

    memset(list, 0, sizeof(*list));
    list->revision = fleet->proxies_revision;
    LL_FOREACH (fleet->proxies, proxy) {
        if (list->proxies_count == ARRAY_SIZE(list->proxies))
            break;
        fl_ProxyInfo *info = &list->proxies[list->proxies_count++];

        memcpy(info->id, proxy->row.id.b, FL_ID_BYTES);
        snprintf(info->name, sizeof(info->name), "%s", proxy->row.name);
        info->weight = proxy->weight;
        for (size_t i = 0; i < proxy->row.addresses.count && i < ARRAY_SIZE(info->addresses); i++)
            snprintf(info->addresses[info->addresses_count++], sizeof(info->addresses[0]), "%s",
                     proxy->row.addresses.item[i]);
    }
}

void fleet_send_proxies(struct fleet *fleet, struct control *control)
{
    fl_ProxyList list;

    make_proxy_list(fleet, &list);
    (void)control_send(control, FRAME_PROXY_LIST, fl_ProxyList_fields, &list);
}

/* fleet_send_denied - in parts; an empty list is one empty part, since it replaces what the agent
 * had. */
void fleet_send_denied(struct fleet *fleet, struct control *control)
{
    size_t at = 0;
    uint32_t part = 0;

    do {
        fl_DeniedIds ids = {.revision = fleet->denied_revision, .part = part++};

        while (at < fleet->denied_count && ids.ids_count < ARRAY_SIZE(ids.ids)) {
            memcpy(ids.ids[ids.ids_count++], fleet->denied[at++].b, FL_ID_BYTES);
        }
        ids.last = at == fleet->denied_count;
        (void)control_send(control, FRAME_DENIED_IDS, fl_DeniedIds_fields, &ids);
    } while (at < fleet->denied_count);
}

void fleet_push(struct fleet *fleet, void (*send)(struct fleet *fleet, struct control *control))
{
    struct fleet_agent *agent, *tmp;

    HASH_ITER (hh, fleet->agents, agent, tmp)
        if (agent->control)
            send(fleet, agent->control);
}

static void collect_denied(void *ctx, const struct fl_id *id)
{
    struct fleet *fleet = ctx;
    struct fl_id *grown = realloc(fleet->denied, (fleet->denied_count + 1) * sizeof(*grown));

    if (!grown) {
        fleet->load_error = -ENOMEM;
        return;
    }
    fleet->denied = grown;
    fleet->denied[fleet->denied_count++] = *id;
}

/* add_revocations - a revocation holds although it cannot be written there, but somebody must know.
 */
static void add_revocations(struct fleet *fleet)
{
    int rc = fleet->revocations ? revocations_add(fleet->revocations, fleet->denied,
                                                  fleet->denied_count, clock_wall())
                                : 0;

    if (!rc)
        return;
    log_error("revocations cannot be kept outside of the store", LF_ERR(rc));
    event_add(fleet->store, EVENT_ERROR, "revocations.failed", NULL,
              "revocations cannot be kept outside of the store: %s", error_text(rc));
}

int fleet_apply_denied(struct fleet *fleet)
{
    fleet->denied_count = 0;
    fleet->load_error = 0;
    int rc = store_denied(fleet->store, collect_denied, fleet);
    if (!rc)
        rc = fleet->load_error;
    if (!rc)
        add_revocations(fleet);
    if (!rc)
        rc = trust_deny(identity_trust(fleet->setup->identity), fleet->denied, fleet->denied_count);
    if (!rc)
        rc = endpoint_deny(endpoint_uv_core(fleet->endpoint), fleet->denied_revision, fleet->denied,
                           fleet->denied_count);
    return rc;
}

int fleet_apply_proxies(struct fleet *fleet)
{
    struct endpoint_proxy list[ENDPOINT_PROXIES_MAX] = {0};
    struct fleet_proxy *proxy;
    size_t n = 0;

    LL_FOREACH (fleet->proxies, proxy) {
        if (n == ARRAY_SIZE(list))
            break;
        list[n].id = proxy->row.id;
        snprintf(list[n].name, sizeof(list[n].name), "%s", proxy->row.name);
        for (size_t i = 0; i < proxy->row.addresses.count && i < ARRAY_SIZE(list[n].addresses); i++)
            snprintf(list[n].addresses[i], sizeof(list[n].addresses[i]), "%s",
                     proxy->row.addresses.item[i]);
        n++;
    }
    return endpoint_set_proxies(endpoint_uv_core(fleet->endpoint), list, n);
}
