#include "nat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net.h"

#define HANDSHAKE   (6 * CLOCK_SEC) /* of a punched leg, until it is given up */
#define HELD        (150 * CLOCK_MS)
#define POKES_MAX   7 /* in a meeting, to one address: docs/PROTOCOL.md, Meetings */
#define DIALS_MAX   3 /* in a meeting that was asked for */
#define EXPECTS_MAX 8 /* at once: four as caller, four as callee */
#define HOME_PORT   4000
#define FIRST_PORT  5000
#define BAD_TAG     10 /* percent of meetings in which a liar tells a wrong tag */
#define BY_TCP      5  /* percent of those who come to a meeting by the wrong kind of leg */

/* What a lying proxy says it has seen. Nobody may be sent to a network narrower than the proxy's
 * own, nor to what is no machine; the others nobody answers at. */
static const char *const lies[] = {
    "127.0.0.1:80",
    "192.168.1.1:22",
    "10.0.0.1:4000",
    "169.254.169.254:80",
    "224.0.0.251:5353",
    "255.255.255.255:9",
    "0.0.0.0:1",
    "[fe80::1]:1",
    "[2001:db8::7]:53",
    "printer.lan:9100",
    "203.0.113.77:4000",
    "203.0.113.1:1",
    "",
};

static struct world *world_of(const struct node *node)
{
    return &node->net->world;
}

unsigned nat_group(unsigned from, unsigned to)
{
    unsigned low = from < to ? from : to, high = from < to ? to : from;

    return WORLD_SITES + 1 + low * NET_NODES + high;
}

/* ---- routers ---- */

/* "203.0.113.1:4000" is the first machine's. */
static void home_of(unsigned index, unsigned port, char ret[static LEG_ADDRESS_MAX])
{
    (void)snprintf(ret, LEG_ADDRESS_MAX, "203.0.113.%u:%u", index + 1, port);
}

static size_t host_len(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon ? (size_t)(colon - address) + 1 : strlen(address);
}

static bool has_ports(const struct nat *nat)
{
    return nat->kind == NAT_SYMMETRIC || nat->kind == NAT_SCATTERED;
}

/* From where a packet to @to comes; from now on answers from there are expected. */
static void go_out(struct node *node, const char *to, char from[static LEG_ADDRESS_MAX])
{
    struct nat *nat = &node->nat;
    unsigned i = 0;

    while (i < NAT_ASKED && (nat->kind == NAT_SCATTERED || strcmp(nat->asked[i], to) != 0))
        i++;
    if (i == NAT_ASKED) {
        i = nat->mappings++ % NAT_ASKED;
        (void)snprintf(nat->asked[i], sizeof(nat->asked[i]), "%s", to);
    }
    home_of(node->index, has_ports(nat) ? FIRST_PORT + i : HOME_PORT, from);
}

/* Has mapping @i of @nat been used for @from, as far as its kind looks? */
static bool knows(const struct nat *nat, unsigned i, const char *from)
{
    if (nat->kind == NAT_HOST)
        return nat->asked[i][0] && strncmp(nat->asked[i], from, host_len(from)) == 0;
    return strcmp(nat->asked[i], from) == 0;
}

static bool lets_in(const struct node *node, const char *from, const char *to)
{
    const struct nat *nat = &node->nat;
    char home[LEG_ADDRESS_MAX];

    if (!node->endpoint || nat->kind == NAT_SHUT)
        return false;
    home_of(node->index, HOME_PORT, home);
    if (nat->kind == NAT_OPEN)
        return strcmp(home, to) == 0;
    for (unsigned i = 0; i < NAT_ASKED; i++) {
        if (has_ports(nat))
            home_of(node->index, FIRST_PORT + i, home);
        if (strcmp(home, to) == 0 && knows(nat, i, from))
            return true;
    }
    return false;
}

/* Whose router has this address, or NULL. */
static struct node *at(struct net *net, const char *address)
{
    char home[LEG_ADDRESS_MAX];

    for (unsigned i = 0; i < NET_NODES; i++) {
        home_of(i, 0, home);
        if (strncmp(home, address, host_len(home)) == 0)
            return &net->node[i];
    }
    return NULL;
}

/* Whatever was told, packets go to the public network and nowhere else. */
static void check_public(const struct node *node, const char *address)
{
    CHECK(world_of(node),
          strncmp(address, "203.0.113.", 10) == 0 || strncmp(address, "[2001:db8:", 10) == 0,
          "sent to %s", address);
}

/* ---- pokes ---- */

/* A tag, of one meeting: the second machine's books have the other one. */
static struct nat_meeting *meeting_of(struct node *node, const uint8_t *tag, const char *to)
{
    struct nat *nat = &node->nat;
    struct nat_meeting *meeting = nat->meeting;

    while (meeting < nat->meeting + nat->meetings && memcmp(meeting->tag, tag, ENDPOINT_TAG) != 0)
        meeting++;
    if (meeting < nat->meeting + nat->meetings)
        return meeting;
    CHECK(world_of(node), nat->meetings < NAT_MEETINGS, "%u meetings", nat->meetings);
    nat->meetings++;
    memcpy(meeting->tag, tag, ENDPOINT_TAG);
    (void)snprintf(meeting->to, sizeof(meeting->to), "%s", to);
    return meeting;
}

static void hear(struct node *node, const struct nat_poke *poke)
{
    struct nat *nat = &node->nat;

    if (!lets_in(node, poke->from, poke->to))
        return;
    for (unsigned i = 0; i < nat->expects; i++) {
        if (memcmp(nat->expected[i].tag, poke->tag, ENDPOINT_TAG) == 0) {
            nat->expected[i].heard(nat->expected[i].ctx, poke->from);
            return;
        }
    }
}

static int nat_poke(void *ctx, const char *address, const uint8_t tag[static ENDPOINT_TAG])
{
    struct node *node = ctx, *other = at(node->net, address);
    struct nat_meeting *meeting = meeting_of(node, tag, address);
    struct world *world = world_of(node);
    struct nat_poke poke = {.due = world->now + world_between(world, 1, 60) * CLOCK_MS};

    check_public(node, address);
    CHECK(world, strcmp(meeting->to, address) == 0, "a meeting's pokes to %s and %s", meeting->to,
          address);
    CHECK(world, ++meeting->pokes <= POKES_MAX, "%u pokes in a meeting", meeting->pokes);
    CHECK(world, node->nat.meetings <= node->nat.told, "poked without being told where");
    go_out(node, address, poke.from);
    (void)snprintf(poke.to, sizeof(poke.to), "%s", address);
    memcpy(poke.tag, tag, sizeof(poke.tag));
    poke.tag[0] ^= node->net->liar < world->sites && world_chance(world, BAD_TAG);
    if (other && other->nat.flies < NAT_FLYING && node->nat.kind != NAT_SHUT)
        other->nat.flying[other->nat.flies++] = poke;
    return 0;
}

static int nat_expect(void *ctx, const uint8_t tag[static ENDPOINT_TAG],
                      void (*heard)(void *heard_ctx, const char *address), void *heard_ctx)
{
    struct node *node = ctx;
    struct nat *nat = &node->nat;

    CHECK(world_of(node), nat->expects < EXPECTS_MAX, "%u tags waited for", nat->expects + 1);
    memcpy(nat->expected[nat->expects].tag, tag, ENDPOINT_TAG);
    nat->expected[nat->expects].heard = heard;
    nat->expected[nat->expects++].ctx = heard_ctx;
    nat->told++;
    return 0;
}

static void nat_unexpect(void *ctx, const uint8_t tag[static ENDPOINT_TAG])
{
    struct node *node = ctx;
    struct nat *nat = &node->nat;
    unsigned i = 0;

    while (i < nat->expects && memcmp(nat->expected[i].tag, tag, ENDPOINT_TAG) != 0)
        i++;
    CHECK(world_of(node), i < nat->expects, "forgets what was not expected");
    nat->expected[i] = nat->expected[--nat->expects];
}

/* ---- legs ---- */

/* To a proxy, which sees our router's address, or says so: a lie in its mouth is one in its eyes
 * here. */
static int nat_open_here(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                         struct leg **ret_leg)
{
    struct node *node = ctx;
    struct world *world = world_of(node);
    char from[LEG_ADDRESS_MAX], by[LEG_ADDRESS_MAX];
    unsigned site = net_site(node->net, address);

    (void)snprintf(by, sizeof(by), "198.51.100.%u:1080", site + 1);
    go_out(node, by, from);
    if (site == node->net->liar && world_chance(world, 50))
        (void)snprintf(from, sizeof(from), "%s", lies[world_draw(world, ARRAY_SIZE(lies))]);
    *ret_leg = world_dial(&world->site[site], from, false);
    leg_mem_other(*ret_leg)->udp = (*ret_leg)->udp = !world_chance(world, BY_TCP);
    (void)snprintf((*ret_leg)->peer, sizeof((*ret_leg)->peer), "%s", by);
    if (node->nat.kind == NAT_SHUT)
        leg_mem_kill(*ret_leg, -ETIMEDOUT);
    leg_set_handler(*ret_leg, handler, handler_ctx);
    return 0;
}

static void on_knock(void *ctx, struct leg *leg, unsigned events)
{
    struct nat_knock *knock = ctx;

    if (!(events & LEG_FAILED))
        return;
    leg_close(leg, LEG_RESET);
    knock->far = NULL;
}

static int nat_open_punched(void *ctx, const char *address, leg_handler *handler, void *handler_ctx,
                            struct leg **ret_leg)
{
    struct node *node = ctx, *other = at(node->net, address);
    struct world *world = world_of(node);
    struct nat *nat = &node->nat;
    struct nat_knock *knock = nat->knocking;
    const struct leg_mem_options options = {
        .plain = true,
        .delay = world_between(world, 100, 60 * CLOCK_MS),
        .room = FRAME_MAX * world_between(world, 1, 4),
        .group = nat_group(node->index, other ? other->index : node->index),
    };

    check_public(node, address);
    CHECK(world, ++nat->dialled <= DIALS_MAX * nat->asked_for, "%u dials in %u meetings asked for",
          nat->dialled, nat->asked_for);
    while (knock < nat->knocking + NAT_KNOCKING && knock->far)
        knock++;
    CHECK(world, knock < nat->knocking + NAT_KNOCKING, "legs that nobody gives up");
    *knock = (struct nat_knock){.node = node, .since = world->now};
    go_out(node, address, knock->from);
    (void)snprintf(knock->to, sizeof(knock->to), "%s", address);
    CHECK(world, leg_mem_pair(world->net, &options, ret_leg, &knock->far) == 0, "out of memory");
    (*ret_leg)->udp = knock->far->udp = true;
    (void)snprintf((*ret_leg)->peer, sizeof((*ret_leg)->peer), "%s", address);
    (void)snprintf(knock->far->peer, sizeof(knock->far->peer), "%s", knock->from);
    leg_mem_stall(knock->far, world->now + HELD);
    leg_set_handler(knock->far, on_knock, knock);
    leg_set_handler(*ret_leg, handler, handler_ctx);
    return 0;
}

/* Once more; in, or no longer. */
static void knock_again(struct nat_knock *knock)
{
    struct world *world = world_of(knock->node);
    struct node *other = at(knock->node->net, knock->to);

    if (other && knock->node->nat.kind != NAT_SHUT && lets_in(other, knock->from, knock->to))
        endpoint_answer(other->endpoint, take_ptr(knock->far));
    else if (world->now >= knock->since + HANDSHAKE)
        leg_mem_kill(knock->far, -ETIMEDOUT);
    else
        leg_mem_stall(knock->far, world->now + HELD);
}

/* ---- of the net ---- */

void nat_fill(struct endpoint_net *env)
{
    env->open_here = nat_open_here;
    env->open_punched = nat_open_punched;
    env->poke = nat_poke;
    env->expect_poke = nat_expect;
    env->forget_poke = nat_unexpect;
}

void nat_draw(struct node *node)
{
    node->nat.kind = (enum nat_kind)world_draw(world_of(node), NAT_KINDS);
    memset(node->nat.asked, 0, sizeof(node->nat.asked));
}

void nat_forget(struct node *node, uint64_t until)
{
    struct world *world = world_of(node);

    memset(node->nat.asked, 0, sizeof(node->nat.asked));
    for (unsigned i = 0; i < NET_NODES; i++) {
        if (until)
            leg_mem_stall_group(world->net, nat_group(node->index, i), until);
        else
            leg_mem_kill_group(world->net, nat_group(node->index, i), -ETIMEDOUT);
    }
}

static void land(struct node *node)
{
    struct nat *nat = &node->nat;
    unsigned i = 0;

    while (i < nat->flies) {
        struct nat_poke poke = nat->flying[i];

        if (poke.due > world_of(node)->now) {
            i++;
            continue;
        }
        nat->flying[i] = nat->flying[--nat->flies];
        hear(node, &poke);
    }
}

void nat_turn(struct net *net)
{
    for (unsigned i = 0; i < NET_NODES; i++) {
        struct node *node = &net->node[i];

        land(node);
        for (unsigned k = 0; k < NAT_KNOCKING; k++) {
            if (node->nat.knocking[k].far)
                knock_again(&node->nat.knocking[k]);
        }
    }
}
