/* endpoint.c - links, dials and tunnels of one endpoint, and what proxies and peers bring to it. */
#include "tunnel/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "tunnel/endpoint_core.h"
#include "tunnel/link.h"
#include "tunnel/meet.h"

const char *const endpoint_raw_names[] = {"never", "allowed", "required", NULL};

#define DIRECT_SLOT ENDPOINT_PROXIES_MAX
#define ASLEEP      CLOCK_SEC        /* between two ticks: the silence was ours */
#define SILENT      (2 * CLOCK_SEC)  /* of a direct way that is used */
#define FORGOTTEN   (30 * CLOCK_SEC) /* silent for so long: not used */

static unsigned pending_max(const struct endpoint *endpoint)
{
    return endpoint_is_console(endpoint) ? ENDPOINT_PENDING_MAX_CONSOLE : ENDPOINT_PENDING_MAX;
}

/* ---- what comes in ---- */

static enum tunnel_close welcome(void *ctx, struct endpoint_incoming *in)
{
    struct endpoint *endpoint = ctx;
    return endpoint->ops->incoming ? endpoint->ops->incoming(endpoint->ctx, in)
                                   : TUNNEL_CLOSE_NOT_NOW;
}

/* The callee's side of a tunnel on @leg. Takes the leg, and one count of *@pending. */
static void answer_leg(struct endpoint *endpoint, struct leg *leg, const struct party *peer,
                       const struct fl_id *proxy, const struct fl_id *session, bool raw,
                       const char *via, unsigned *pending)
{
    struct tunnel *tunnel;
    const struct tunnel_params params = {
        .turn = &endpoint->turn,
        .list = &endpoint->strangers,
        .known = &endpoint->tunnels,
        .identity = endpoint->identity,
        .via = via,
        .proxy = *proxy,
        .caller = false,
        .peer = *peer,
        .session = *session,
        .raw = raw,
        .welcome = welcome,
        .welcome_ctx = endpoint,
        .pending = pending,
        .limit = &endpoint->limit,
    };
    if (tunnel_new(&params, leg, &tunnel) < 0)
        (*pending)--;
}

/* Anybody can open a direct leg. Beyond the cap the oldest stranger goes: silent ones then cannot
 * keep others out, whose handshake takes milliseconds. */
void endpoint_answer(struct endpoint *endpoint, struct leg *leg)
{
    static const struct party nobody;
    static const struct fl_id none;
    unsigned *pending = &endpoint->pending[DIRECT_SLOT];
    char via[TUNNEL_VIA_MAX];
    if (endpoint->closed) {
        leg_close(leg, LEG_RESET);
        return;
    }
    if (*pending >= pending_max(endpoint))
        tunnel_evict(&endpoint->strangers, pending);
    (*pending)++;
    (void)snprintf(via, sizeof(via), "direct %s%s", leg->ops->kind,
                   meet_expects(endpoint, leg) ? MEET_VIA : "");
    answer_leg(endpoint, leg, &nobody, &none, &none, false, via, pending);
}

static void invited_joined(void *ctx, struct join *join, struct leg *leg, int error,
                           const char *text)
{
    struct invited *invited = ctx;
    struct endpoint *endpoint = invited->endpoint;
    char via[TUNNEL_VIA_MAX];
    DL_DELETE(endpoint->invited, invited);
    if (leg) {
        (void)snprintf(via, sizeof(via), "%.80s %s", invited->via, leg->ops->kind);
        answer_leg(endpoint, leg, &invited->from, &invited->proxy, &invited->session,
                   join_raw(join), via, invited->pending);
    } else {
        (*invited->pending)--;
    }
    free(invited);
}

/* Beyond the cap invitations are left unanswered: the caller hears of it from the proxy and tries
 * again. */
void endpoint_invite(struct endpoint *endpoint, struct link *link, unsigned slot,
                     const fl_Invite *invite)
{
    struct party from;
    unsigned *pending = &endpoint->pending[slot];
    if (invite->meet) {
        meet_invited(endpoint, link, invite);
        return;
    }
    if (!invite->has_from || party_from_wire(&invite->from, &from) < 0 ||
        from.role == PARTY_PROXY || trust_is_denied(identity_trust(endpoint->identity), &from.id) ||
        *pending >= pending_max(endpoint))
        return;
    struct invited *invited = calloc(1, sizeof(*invited));
    if (!invited)
        return;
    invited->endpoint = endpoint;
    invited->from = from;
    invited->proxy = *link_proxy_id(link);
    invited->pending = pending;
    memcpy(invited->session.b, invite->session, FL_ID_BYTES);
    (void)snprintf(invited->via, sizeof(invited->via), "proxy %.80s", link_name(link));
    struct join_request request = {
        .address = link_address(link),
        .proxy = *link_proxy_id(link),
        .session = invited->session,
        .peer = from,
        .caller = false,
        .raw = endpoint->raw,
    };
    memcpy(request.key, invite->key, sizeof(request.key));
    if (id_is_zero(&request.session) ||
        join_new(&endpoint->turn, &endpoint->net, endpoint->identity, &request, invited_joined,
                 invited, &invited->join) < 0) {
        free(invited);
    } else {
        (*pending)++;
        DL_APPEND(endpoint->invited, invited);
    }
    explicit_bzero(&request, sizeof(request));
}

/* ---- proxies ---- */

void endpoint_links_changed(struct endpoint *endpoint)
{
    for (struct dial *dial = endpoint->dials; dial; dial = dial_next(dial))
        dial_links_changed(dial);
}

bool endpoint_has_other(const struct endpoint *endpoint, const struct link *link)
{
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        const struct link *other = endpoint->links[i];
        if (other && other != link && link_usable(other) && !link_doubtful(other))
            return true;
    }
    return false;
}

static const struct endpoint_proxy *find_proxy(const struct link *link,
                                               const struct endpoint_proxy *proxies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (link_is_for(link, &proxies[i]))
            return &proxies[i];
    }
    return NULL;
}

static bool has_link(const struct endpoint *endpoint, const struct endpoint_proxy *proxy)
{
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i] && link_is_for(endpoint->links[i], proxy))
            return true;
    }
    return false;
}

static int add_link(struct endpoint *endpoint, const struct endpoint_proxy *proxy)
{
    for (unsigned i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (!endpoint->links[i])
            return link_new(endpoint, proxy, i, &endpoint->links[i]);
    }
    return -FL_EFULL;
}

static void close_slot(struct endpoint *endpoint, size_t slot)
{
    if (endpoint->rivals[slot])
        link_close(take_ptr(endpoint->rivals[slot]));
    if (endpoint->links[slot])
        link_close(take_ptr(endpoint->links[slot]));
}

int endpoint_set_proxies(struct endpoint *endpoint, const struct endpoint_proxy *proxies,
                         size_t count)
{
    if (endpoint->closed)
        return -FL_ECLOSED;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        const struct endpoint_proxy *kept =
            endpoint->links[i] ? find_proxy(endpoint->links[i], proxies, count) : NULL;
        if (endpoint->rivals[i] && kept)
            link_update(endpoint->rivals[i], kept);
        if (kept)
            link_update(endpoint->links[i], kept);
        else
            close_slot(endpoint, i);
    }
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (!has_link(endpoint, &proxies[i]))
            r = add_link(endpoint, &proxies[i]);
    }
    endpoint_links_changed(endpoint);
    return r;
}

size_t endpoint_proxies(const struct endpoint *endpoint, struct endpoint_proxy_info *ret,
                        size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX && n < max; i++) {
        if (endpoint->links[i])
            link_info(endpoint->links[i], &ret[n++]);
    }
    return n;
}

static struct link **find_link(struct endpoint *endpoint, const struct fl_id *id)
{
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i] && id_equal(link_proxy_id(endpoint->links[i]), id))
            return &endpoint->links[i];
    }
    return NULL;
}

int endpoint_order(struct endpoint *endpoint, const struct fl_id *id, uint8_t type,
                   const pb_msgdesc_t *fields, const void *message)
{
    struct link **link = find_link(endpoint, id);
    return link && link_registered(*link) ? link_order(*link, type, fields, message) : -FL_ECLOSED;
}

int endpoint_renew(struct endpoint *endpoint, const struct fl_id *id)
{
    struct link **link = endpoint->closed ? NULL : find_link(endpoint, id);
    if (!link)
        return -FL_ENOTFOUND;
    unsigned slot = (unsigned)(link - endpoint->links);
    return endpoint->rivals[slot] ? 0 : link_new_rival(*link, &endpoint->rivals[slot]);
}

void endpoint_check(struct endpoint *endpoint, const struct fl_id *id)
{
    struct link **link = find_link(endpoint, id);
    if (link)
        link_check(*link);
}

void endpoint_renewed(struct endpoint *endpoint, struct link *link, unsigned slot)
{
    if (endpoint->rivals[slot] != link)
        return;
    endpoint->rivals[slot] = NULL;
    link_close(endpoint->links[slot]);
    endpoint->links[slot] = link;
}

void endpoint_hurry(struct endpoint *endpoint, const char *address)
{
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i])
            link_hurry(endpoint->links[i], address);
    }
}

/* ---- identities ---- */

void endpoint_set_identity(struct endpoint *endpoint, struct identity *identity)
{
    identity_ref(identity);
    identity_unref(endpoint->identity);
    endpoint->identity = identity;
    if (endpoint->net.renewed)
        endpoint->net.renewed(endpoint->net.ctx, identity);
    /* A new trust knows nobody yet. Without memory for that the list comes again with the next
     * endpoint_deny(). */
    if (endpoint->denied_revision)
        (void)trust_deny(identity_trust(identity), endpoint->denied, endpoint->denied_count);
}

static bool denied_here(const struct endpoint *endpoint, const struct party *peer)
{
    return peer->role != PARTY_NONE &&
           trust_is_denied(identity_trust(endpoint->identity), &peer->id);
}

static void deny_list(const struct endpoint *endpoint, const struct tunnel_list *list)
{
    for (struct tunnel *t = list->head; t; t = tunnel_next(t)) {
        if (denied_here(endpoint, tunnel_peer(t)))
            tunnel_deny(t);
    }
}

static void close_denied(struct endpoint *endpoint)
{
    deny_list(endpoint, &endpoint->strangers);
    deny_list(endpoint, &endpoint->tunnels);
    struct invited *invited, *tmp;
    DL_FOREACH_SAFE (endpoint->invited, invited, tmp) {
        if (!denied_here(endpoint, &invited->from))
            continue;
        DL_DELETE(endpoint->invited, invited);
        (*invited->pending)--;
        join_close(invited->join);
        free(invited);
    }
}

int endpoint_deny(struct endpoint *endpoint, uint64_t revision, const struct fl_id *ids,
                  size_t count)
{
    struct fl_id *copy = calloc(count ? count : 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    if (count > 0)
        memcpy(copy, ids, count * sizeof(*copy));
    int r = trust_deny(identity_trust(endpoint->identity), ids, count);
    if (r < 0) {
        free(copy);
        return r;
    }
    free(endpoint->denied);
    endpoint->denied = copy;
    endpoint->denied_count = count;
    endpoint->denied_revision = revision ? revision : 1;
    for (size_t i = 0; endpoint_is_console(endpoint) && i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i])
            link_push_denied(endpoint->links[i]);
    }
    close_denied(endpoint);
    return 0;
}

/* ---- life ---- */

int endpoint_new(struct identity *identity, const struct endpoint_net *net,
                 const struct endpoint_ops *ops, void *ctx, struct endpoint **ret_endpoint)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
    if (!endpoint)
        return -ENOMEM;
    endpoint->net = *net;
    endpoint->ops = ops;
    endpoint->ctx = ctx;
    endpoint->identity = identity_ref(identity);
    endpoint->raw = ENDPOINT_RAW_ALLOWED;
    endpoint->turn.wake = net->wake;
    endpoint->turn.now = net->now;
    endpoint->turn.ctx = net->ctx;
    endpoint->limit.set_alarm = net->set_alarm;
    endpoint->limit.ctx = net->ctx;
    *ret_endpoint = endpoint;
    return 0;
}

void endpoint_set_meetings(struct endpoint *endpoint, bool on)
{
    endpoint->meetings = on && endpoint->net.open_here != NULL;
}

void endpoint_set_raw(struct endpoint *endpoint, enum endpoint_raw raw)
{
    endpoint->raw = raw;
}

/* ---- limits ---- */

/* go_on - those that wait for what is due at @now, UINT64_MAX for all. */
static void go_on(struct endpoint *endpoint, uint64_t now)
{
    struct limit *limit = &endpoint->limit;
    uint64_t first = 0;
    limit->alarm = 0;
    for (struct tunnel *t = endpoint->tunnels.head; t; t = tunnel_next(t)) {
        uint64_t at = tunnel_waited(t, now);
        if (at && (!first || at < first))
            first = at;
    }
    limit->alarm = first;
    if (first && limit->set_alarm)
        limit->set_alarm(limit->ctx, first);
}

void endpoint_set_rates(struct endpoint *endpoint, uint64_t send, uint64_t receive)
{
    struct rate_table *tables = endpoint->limit.table;
    uint64_t now = turn_now(&endpoint->turn);
    bool changed = rate_set(&tables[LIMIT_SEND].line[RATE_WHOLE], send, now);
    if (rate_set(&tables[LIMIT_RECEIVE].line[RATE_WHOLE], receive, now) || changed)
        go_on(endpoint, UINT64_MAX);
}

void endpoint_alarm(struct endpoint *endpoint, uint64_t now)
{
    turn_enter(&endpoint->turn);
    if (!endpoint->closed)
        go_on(endpoint, now);
    turn_leave(&endpoint->turn);
}

/* What ends in a callback is freed at the end of the turn only, so next stays good. */
static void tick_list(const struct tunnel_list *list, uint64_t now)
{
    for (struct tunnel *t = list->head, *next; t; t = next) {
        next = tunnel_next(t);
        tunnel_tick(t, now);
    }
}

static void drop_list(const struct tunnel_list *list)
{
    while (list->head)
        tunnel_drop(list->head);
}

/* A direct way over which nothing comes any more: has our router forgotten what is ours? Then
 * proxies cannot reach us either, until we have sent something; and the peer, who may be the one to
 * dial, is already looking for a way to us over them. */
static void check_silence(struct endpoint *endpoint, uint64_t now)
{
    bool silent = false;
    for (struct tunnel *t = endpoint->tunnels.head; t; t = tunnel_next(t)) {
        struct tunnel_info info;
        tunnel_info(t, &info);
        silent |= id_is_zero(&info.proxy) && tunnel_purpose(t) == fl_Purpose_PURPOSE_TRANSFER &&
                  now >= info.last_rx + SILENT && now < info.last_rx + FORGOTTEN;
    }
    if (!silent || now < endpoint->checked + SILENT)
        return;
    endpoint->checked = now;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i])
            link_check(endpoint->links[i]);
    }
}

static void tick_all(struct endpoint *endpoint, uint64_t now)
{
    if (endpoint->ticked && now - endpoint->ticked > ASLEEP)
        endpoint->awake = now;
    endpoint->ticked = now;
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++) {
        if (endpoint->links[i])
            link_tick(endpoint->links[i], now);
        if (endpoint->rivals[i])
            link_tick(endpoint->rivals[i], now);
    }
    /* What ends in a callback of these loops is freed at the end of the turn only, so next stays
     * good. */
    for (struct dial *dial = endpoint->dials, *next; dial; dial = next) {
        next = dial_next(dial);
        dial_tick(dial, now);
    }
    tick_list(&endpoint->strangers, now);
    tick_list(&endpoint->tunnels, now);
    if (endpoint->limit.alarm && now >= endpoint->limit.alarm)
        go_on(endpoint, now);
    struct invited *invited, *tmp;
    DL_FOREACH_SAFE (endpoint->invited, invited, tmp) {
        join_tick(invited->join, now);
    }
    meet_tick_all(endpoint, now);
    check_silence(endpoint, now);
}

void endpoint_tick(struct endpoint *endpoint, uint64_t now)
{
    turn_enter(&endpoint->turn);
    if (!endpoint->closed)
        tick_all(endpoint, now);
    turn_leave(&endpoint->turn);
}

void endpoint_run(struct endpoint *endpoint)
{
    turn_run(&endpoint->turn);
}

static void endpoint_free(struct turn *turn)
{
    struct endpoint *endpoint = container_of(turn, struct endpoint, turn);
    identity_unref(endpoint->identity);
    free(endpoint->denied);
    free(endpoint);
}

void endpoint_close(struct endpoint *endpoint)
{
    if (endpoint->closed)
        return;
    turn_enter(&endpoint->turn);
    endpoint->closed = true;
    while (endpoint->dials)
        dial_drop(endpoint->dials);
    while (endpoint->invited) {
        struct invited *invited = endpoint->invited;
        DL_DELETE(endpoint->invited, invited);
        join_close(invited->join);
        free(invited);
    }
    meet_close_all(endpoint);
    drop_list(&endpoint->strangers);
    drop_list(&endpoint->tunnels);
    for (size_t i = 0; i < ENDPOINT_PROXIES_MAX; i++)
        close_slot(endpoint, i);
    turn_end(&endpoint->turn, endpoint_free);
    turn_leave(&endpoint->turn);
}
