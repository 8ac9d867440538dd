#include "agent/console_way.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "leg/http_connect.h"

int console_way_dial(struct endpoint *endpoint, const struct agent_config *config,
                     struct trust *trust, enum _fl_Purpose purpose, const struct fl_id *avoid,
                     const struct tunnel_ops *ops, void *ctx, struct dial **ret_dial)
{
    char addresses[AGENT_CONSOLES_MAX][AGENT_ADDRESS_MAX];
    struct dial_request request = {
        .peer = {PARTY_CONSOLE, *trust_domain(trust)},
        .address_count = agent_config_consoles(config, addresses),
        .relayed = true,
        .purpose = purpose,
    };

    for (size_t i = 0; i < request.address_count; i++)
        request.addresses[i] = addresses[i];
    request.direct = request.address_count > 0;
    if (avoid)
        request.avoid[request.avoid_count++] = *avoid;
    return endpoint_dial(endpoint, &request, ops, ctx, ret_dial);
}

void console_way_set_net(struct endpoint_uv *net, const struct agent_config *config)
{
    char text[AGENT_CONSOLES_MAX][AGENT_ADDRESS_MAX];
    const char *addresses[AGENT_CONSOLES_MAX];
    size_t count = agent_config_consoles(config, text);

    endpoint_uv_set_transport(net, (enum transport)config->transport);
    endpoint_uv_set_raw(net, (enum endpoint_raw)config->raw);
    for (size_t i = 0; i < count; i++)
        addresses[i] = text[i];
    if (!config->via)
        return;
    endpoint_uv_set_dialler(net, http_proxy_dialler(config->via), addresses, count);
    log_info("dialling through an HTTP proxy", LF_STR("https_proxy", http_proxy_name(config->via)));
}

static bool knows_address(const struct endpoint_proxy *proxies, size_t count, const char *address)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < ARRAY_SIZE(proxies[i].addresses); k++) {
            if (!strcmp(proxies[i].addresses[k], address))
                return true;
        }
    }
    return false;
}

static void from_info(const fl_ProxyInfo *info, struct endpoint_proxy *proxy)
{
    *proxy = (struct endpoint_proxy){0};
    memcpy(&proxy->id, info->id, FL_ID_BYTES);
    proxy->weight = info->weight;
    (void)snprintf(proxy->name, sizeof(proxy->name), "%s", info->name);
    for (pb_size_t i = 0; i < info->addresses_count && i < ARRAY_SIZE(proxy->addresses); i++)
        (void)snprintf(proxy->addresses[i], sizeof(proxy->addresses[i]), "%s", info->addresses[i]);
}

size_t console_way_proxies(const struct agent_config *config, const fl_ProxyList *list,
                           struct endpoint_proxy *ret, size_t max)
{
    size_t count = 0;

    for (pb_size_t i = 0; list && i < list->proxies_count && count < max; i++)
        from_info(&list->proxies[i], &ret[count++]);
    for (size_t i = 0; i < config->proxies.count && count < max; i++) {
        if (knows_address(ret, count, config->proxies.item[i]))
            continue;
        ret[count] = (struct endpoint_proxy){0};
        (void)snprintf(ret[count].name, sizeof(ret[count].name), "%s", config->proxies.item[i]);
        (void)snprintf(ret[count].addresses[0], sizeof(ret[count].addresses[0]), "%s",
                       config->proxies.item[i]);
        count++;
    }
    return count;
}

void console_way_prefer(const struct config_strings *prefer, struct endpoint_proxy *proxies,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        proxies[i].prefer = 0;
        for (size_t k = prefer->count; k > 0; k--) {
            if (!strcmp(prefer->item[k - 1], proxies[i].name))
                proxies[i].prefer = (uint32_t)k;
        }
    }
}

int console_way_set_proxies(struct endpoint *endpoint, const struct agent_config *config,
                            const fl_ProxyList *list, const struct config_strings *prefer)
{
    _cleanup_free_ struct endpoint_proxy *proxies = calloc(ENDPOINT_PROXIES_MAX, sizeof(*proxies));

    if (!proxies)
        return -ENOMEM;
    size_t count = console_way_proxies(config, list, proxies, ENDPOINT_PROXIES_MAX);
    console_way_prefer(prefer, proxies, count);
    return endpoint_set_proxies(endpoint, proxies, count);
}

void console_way_log_proxy(const struct endpoint_proxy_info *info)
{
    if (info->state == PROXY_REGISTERED)
        log_info("registered at proxy", LF_STR("proxy", info->name),
                 LF_STR("address", info->address), LF_STR("seen_as", info->observed));
    else if (info->state == PROXY_WAITING && info->error == -FL_EDENIED)
        log_error("proxy refuses this agent: it is revoked", LF_STR("proxy", info->name),
                  LF_STR("address", info->address));
    else if (info->state == PROXY_WAITING)
        log_warn("proxy lost, trying again", LF_STR("proxy", info->name),
                 LF_STR("address", info->address), LF_STR("text", info->text), LF_ERR(info->error));
}
