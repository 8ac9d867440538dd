#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const addresses[NET_NODES] = {"agent:0", "agent:1", "agent:2", "clone:0",
                                                 "console:0"};

/* Of proxies, and what they are called. */
static const char *const sites[WORLD_SITES] = {"proxy:1080", "proxy:1081", "proxy:1082"};
static const char *const names[WORLD_SITES] = {"one", "two", "three"};

const char *node_address(unsigned index)
{
    return addresses[index];
}

/* ---- struct endpoint_net ---- */

static struct leg *dial_node(struct net *net, const char *address)
{
    struct world *world = &net->world;
    const struct leg_mem_options options = {
        .plain = true,
        .delay = world_between(world, 100, 60 * CLOCK_MS),
        .room = FRAME_MAX * world_between(world, 1, 4),
    };
    struct leg *ours, *theirs;

    CHECK(world, leg_mem_pair(world->net, &options, &ours, &theirs) == 0, "out of memory");
    for (unsigned i = 0; i < NET_NODES; i++)
        if (strcmp(address, addresses[i]) == 0 && net->node[i].endpoint) {
            endpoint_answer(net->node[i].endpoint, theirs);
            return ours;
        }
    leg_close(theirs, LEG_RESET);
    return ours;
}

unsigned net_site(const struct net *net, const char *address)
{
    unsigned i = 0;

    while (i + 1 < net->world.sites && strcmp(address, sites[i]) != 0)
        i++;
    return i;
}

static struct leg *dial_site(struct node *node, const char *address)
{
    struct world *world = &node->net->world;
    char from[LEG_ADDRESS_MAX];

    (void)snprintf(from, sizeof(from), "192.0.2.%u:%u", node->index + 1,
                   (unsigned)(++node->net->dials % 60000));
    return world_dial(&world->site[net_site(node->net, address)], from, false);
}

static int net_open(void *ctx, const char *address, bool plain, leg_handler *handler,
                    void *handler_ctx, struct leg **ret_leg)
{
    struct node *node = ctx;

    *ret_leg = plain ? dial_node(node->net, address) : dial_site(node, address);
    leg_set_handler(*ret_leg, handler, handler_ctx);
    return 0;
}

static uint64_t net_now(void *ctx)
{
    const struct node *node = ctx;

    return node->net->world.now;
}

static void net_wake(void *ctx)
{
    struct node *node = ctx;

    node->net->woken = true;
}

/* ---- machines ---- */

void node_start(struct node *node)
{
    struct endpoint_net env = {.ctx = node, .open = net_open, .now = net_now, .wake = net_wake};
    struct world *world = &node->net->world;
    struct endpoint_proxy proxies[WORLD_SITES] = {0};

    if (node->endpoint)
        return;
    if (node->net->meets)
        nat_fill(&env);
    for (unsigned i = 0; i < world->sites; i++) {
        strcpy(proxies[i].name, names[i]);
        strcpy(proxies[i].addresses[0], sites[i]);
        if (world->sites > 1 || world_chance(world, 80))
            proxies[i].id = identity_party(world->cast->proxy[i])->id;
    }
    CHECK(world, endpoint_new(node->identity, &env, node->net->ops, node, &node->endpoint) == 0,
          "endpoint_new");
    CHECK(world, endpoint_set_proxies(node->endpoint, proxies, world->sites) == 0,
          "endpoint_set_proxies");
    endpoint_set_meetings(node->endpoint, node->net->meets);
}

void node_crash(struct node *node)
{
    struct endpoint *endpoint = node->endpoint;

    if (!endpoint)
        return;
    node->endpoint = NULL;
    endpoint_close(endpoint);
    CHECK(&node->net->world, node->nat.expects == 0, "a machine that is gone waits for pokes");
    (void)trust_deny(identity_trust(node->identity), NULL, 0);
}

void net_turn(struct net *net)
{
    bool tick = net->world.now >= net->next_tick;

    if (tick)
        nat_turn(net);
    if (!tick && !net->woken)
        return;
    net->woken = false;
    if (tick)
        net->next_tick = net->world.now + WORLD_TICK;
    for (unsigned i = 0; i < NET_NODES; i++) {
        struct endpoint *endpoint = net->node[i].endpoint;

        if (endpoint && tick)
            endpoint_tick(endpoint, net->world.now);
        else if (endpoint)
            endpoint_run(endpoint);
    }
    net->world.again = net->woken;
}

void net_init(struct net *net, const char *name, const struct cast *cast, uint64_t seed,
              unsigned site_count, const struct endpoint_ops *ops)
{
    memset(net, 0, sizeof(*net));
    world_init(&net->world, name, cast, seed, site_count);
    net->ops = ops;
    net->liar = site_count;
    for (unsigned i = 0; i < NET_NODES; i++) {
        net->node[i].net = net;
        net->node[i].index = i;
        net->node[i].identity = i < WORLD_AGENTS ? cast->agent[i]
                                : i == NET_CLONE ? cast->clone[0]
                                                 : cast->console;
    }
}

void net_done(struct net *net)
{
    for (unsigned i = 0; i < NET_NODES; i++)
        node_crash(&net->node[i]);
    world_run(&net->world, net->world.now + 10 * CLOCK_SEC);
    world_done(&net->world);
}
