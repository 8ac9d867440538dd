/* discover_uv.c - one socket a family; the interfaces are looked at every few seconds, since
 * machines move. After a start or a change of them there are a few announcements soon after each
 * other that ask the others for theirs; then one every half minute. */
#include "agent/discover_uv.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#define TICK_MS        100
#define LOOK_EVERY     (5 * CLOCK_SEC) /* at the interfaces */
#define EVERY          (30 * CLOCK_SEC)
#define APART          (2 * CLOCK_SEC)  /* at least, whoever asks */
#define ANSWER_IN      (500 * CLOCK_MS) /* at most: not all at once */
#define ASKS           3                /* announcements that ask, after a start or a change */
#define INTERFACES_MAX 16

/* An address of ours that leads to a LAN. */
struct lan {
    int family;
    uint32_t scope; /* IPv6 */
    struct in_addr ip, mask;
};

struct discover_uv {
    uv_udp_t socket[2]; /* IPv4, IPv6 */
    bool open[2];
    uv_timer_t timer;
    unsigned handles; /* not closed yet */
    bool closing;
    struct fl_id self;
    uint8_t key[DISCOVER_KEY];
    uint16_t port;
    struct lan lans[INTERFACES_MAX];
    size_t lan_count;
    uint64_t looked;                      /* at the interfaces */
    uint64_t told;                        /* the last announcement */
    uint64_t tell_at;                     /* the next one */
    unsigned asks;                        /* of the next ones so many ask */
    uint8_t datagram[DISCOVER_BYTES + 1]; /* that comes in: a longer one shows */
    struct discover_table table;
};

enum { V4, V6 };

/* ---- interfaces ---- */

/* Leads this address to others on its LAN? Of IPv6 the link-local ones do: each interface has one.
 */
static bool lan_of(const uv_interface_address_t *i, struct lan *ret_lan)
{
    memset(ret_lan, 0, sizeof(*ret_lan));
    ret_lan->family = i->address.address4.sin_family;
    if (i->is_internal)
        return false;
    if (ret_lan->family == AF_INET) {
        ret_lan->ip = i->address.address4.sin_addr;
        ret_lan->mask = i->netmask.netmask4.sin_addr;
        return true;
    }
    ret_lan->scope = i->address.address6.sin6_scope_id;
    return ret_lan->family == AF_INET6 && ret_lan->scope &&
           IN6_IS_ADDR_LINKLOCAL(&i->address.address6.sin6_addr);
}

/* With the interface's name: libuv does not take its number. */
static void zone_address(const char *host, uint32_t scope, char *buf, size_t cap)
{
    char name[UV_IF_NAMESIZE] = "";
    size_t len = sizeof(name);

    (void)uv_if_indextoname(scope, name, &len);
    (void)snprintf(buf, cap, "%s%%%s", host, name);
}

/* Joining once more is an error of no consequence; so is an interface without multicast. */
static void join(struct discover_uv *discover, const struct lan *lan)
{
    char text[INET6_ADDRSTRLEN + UV_IF_NAMESIZE];

    if (lan->family == AF_INET && discover->open[V4]) {
        (void)inet_ntop(AF_INET, &lan->ip, text, sizeof(text));
        (void)uv_udp_set_membership(&discover->socket[V4], DISCOVER_GROUP4, text, UV_JOIN_GROUP);
    } else if (lan->family == AF_INET6 && discover->open[V6]) {
        zone_address("fe80::", lan->scope, text, sizeof(text));
        (void)uv_udp_set_membership(&discover->socket[V6], DISCOVER_GROUP6, text, UV_JOIN_GROUP);
    }
}

/* Returns whether something changed. */
static bool look(struct discover_uv *discover)
{
    struct lan lans[INTERFACES_MAX] = {0};
    uv_interface_address_t *list;
    size_t count = 0;
    int all;

    if (uv_interface_addresses(&list, &all))
        return false;
    for (int i = 0; i < all && count < INTERFACES_MAX; i++)
        count += lan_of(&list[i], &lans[count]);
    uv_free_interface_addresses(list, all);
    if (count == discover->lan_count && !memcmp(lans, discover->lans, count * sizeof(lans[0])))
        return false;
    memcpy(discover->lans, lans, sizeof(lans));
    discover->lan_count = count;
    for (size_t i = 0; i < count; i++)
        join(discover, &lans[i]);
    log_debug("LAN discovery", LF_U64("interfaces", count));
    return true;
}

/* ---- telling ---- */

static void tell_on(struct discover_uv *discover, const struct lan *lan, const uv_buf_t *buf)
{
    char text[INET6_ADDRSTRLEN + UV_IF_NAMESIZE];
    struct sockaddr_in6 in6;
    struct sockaddr_in in;

    /* What cannot be sent now is sent next time: these are hints. */
    if (lan->family == AF_INET && discover->open[V4]) {
        (void)inet_ntop(AF_INET, &lan->ip, text, sizeof(text));
        (void)uv_ip4_addr(DISCOVER_GROUP4, DISCOVER_PORT, &in);
        if (!uv_udp_set_multicast_interface(&discover->socket[V4], text))
            (void)uv_udp_try_send(&discover->socket[V4], buf, 1, (struct sockaddr *)&in);
    } else if (lan->family == AF_INET6 && discover->open[V6]) {
        zone_address(DISCOVER_GROUP6, lan->scope, text, sizeof(text));
        if (!uv_ip6_addr(text, DISCOVER_PORT, &in6))
            (void)uv_udp_try_send(&discover->socket[V6], buf, 1, (struct sockaddr *)&in6);
    }
}

static void tell(struct discover_uv *discover, uint64_t now)
{
    uint8_t bytes[DISCOVER_BYTES];
    struct fl_id nonce;
    uv_buf_t buf = uv_buf_init((char *)bytes, sizeof(bytes));

    id_random(&nonce); /* a new one each time, so that no two announcements look alike */
    _Static_assert(sizeof(nonce.b) == DISCOVER_NONCE, "a nonce is as long as an id");
    discover->told = now;
    discover->tell_at = now + clock_jitter(discover->asks ? APART : EVERY);
    if (discover_make(discover->key, &discover->self, discover->port, discover->asks > 0, nonce.b,
                      bytes))
        return;
    discover->asks -= discover->asks > 0;
    for (size_t i = 0; i < discover->lan_count; i++)
        tell_on(discover, &discover->lans[i], &buf);
}

static void on_timer(uv_timer_t *timer)
{
    struct discover_uv *discover = timer->data;
    uint64_t now = clock_now();

    if (clock_since(now, discover->looked) >= LOOK_EVERY) {
        discover->looked = now;
        if (look(discover)) {
            discover->asks = ASKS;
            discover->tell_at = now;
        }
    }
    if (now >= discover->tell_at && clock_since(now, discover->told) >= APART)
        tell(discover, now);
}

/* ---- hearing ---- */

/* From a LAN of ours? Else somebody far away could have us dial whom he likes. */
static bool is_near(const struct discover_uv *discover, const struct discover_place *from)
{
    uint32_t ip;

    memcpy(&ip, from->ip, sizeof(ip));
    for (size_t i = 0; i < discover->lan_count; i++) {
        const struct lan *lan = &discover->lans[i];

        if (lan->family != from->family)
            continue;
        if (lan->family == AF_INET6
                ? lan->scope == from->scope
                : (ip & lan->mask.s_addr) == (lan->ip.s_addr & lan->mask.s_addr))
            return true;
    }
    return false;
}

static bool place_of(const struct sockaddr *address, struct discover_place *ret_place)
{
    struct sockaddr_in6 in6;
    struct sockaddr_in in;

    memset(ret_place, 0, sizeof(*ret_place));
    ret_place->family = address->sa_family;
    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof(in));
        memcpy(ret_place->ip, &in.sin_addr, sizeof(in.sin_addr));
        return true;
    }
    if (address->sa_family != AF_INET6)
        return false;
    memcpy(&in6, address, sizeof(in6));
    memcpy(ret_place->ip, &in6.sin6_addr, sizeof(in6.sin6_addr));
    ret_place->scope = in6.sin6_scope_id;
    return IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct discover_uv *discover = handle->data;

    *buf = uv_buf_init((char *)discover->datagram, sizeof(discover->datagram));
}

static void on_datagram(uv_udp_t *socket, ssize_t len, const uv_buf_t *buf,
                        const struct sockaddr *address, unsigned flags)
{
    struct discover_uv *discover = socket->data;
    struct discover_place from;
    struct discover_said said;
    uint64_t now = clock_now();

    if (len <= 0 || !address || (flags & UV_UDP_PARTIAL) || !place_of(address, &from) ||
        !is_near(discover, &from) || discover_parse(buf->base, (size_t)len, &said))
        return;
    discover_keep(&discover->table, &said, &from, now);
    if (said.ask && discover->port && discover->tell_at > now + ANSWER_IN)
        discover->tell_at = now + clock_jitter(ANSWER_IN / 2);
}

/* ---- life ---- */

static int open_socket(uv_loop_t *loop, struct discover_uv *discover, int which)
{
    uv_udp_t *socket = &discover->socket[which];
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(DISCOVER_PORT)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(DISCOVER_PORT)};
    int error = uv_udp_init_ex(loop, socket, which == V4 ? AF_INET : AF_INET6);

    socket->data = discover;
    if (error)
        return error;
    discover->handles++;
    discover->open[which] = true;
    if (which == V4)
        error = uv_udp_bind(socket, (struct sockaddr *)&in, UV_UDP_REUSEADDR);
    else
        error = uv_udp_bind(socket, (struct sockaddr *)&in6, UV_UDP_REUSEADDR | UV_UDP_IPV6ONLY);
    if (!error)
        error = uv_udp_set_multicast_ttl(socket, 1);
    if (!error)
        error = uv_udp_recv_start(socket, on_alloc, on_datagram);
    return error;
}

static void on_closed(uv_handle_t *handle)
{
    struct discover_uv *discover = handle->data;

    if (--discover->handles == 0)
        free(discover);
}

void discover_uv_close(struct discover_uv *discover)
{
    if (!discover || discover->closing)
        return;
    discover->closing = true;
    for (int which = V4; which <= V6; which++) {
        if (discover->open[which])
            uv_close((uv_handle_t *)&discover->socket[which], on_closed);
    }
    uv_close((uv_handle_t *)&discover->timer, on_closed);
}

int discover_uv_new(uv_loop_t *loop, struct identity *identity, uint16_t port,
                    struct discover_uv **ret_discover)
{
    struct discover_uv *discover = calloc(1, sizeof(*discover));
    char fingerprint[IDENTITY_FINGERPRINT];
    int error, error6;

    if (!discover)
        return -ENOMEM;
    trust_fingerprint(identity_trust(identity), fingerprint);
    error = discover_key(fingerprint, discover->key);
    if (error) {
        free(discover);
        return error;
    }
    discover->self = identity_party(identity)->id;
    discover->port = port;
    discover->timer.data = discover;
    discover->handles = 1;
    (void)uv_timer_init(loop, &discover->timer); /* cannot fail (libuv) */
    error = open_socket(loop, discover, V4);
    error6 = open_socket(loop, discover, V6);
    if (error && error6) {
        discover_uv_close(discover);
        return error;
    }
    (void)uv_timer_start(&discover->timer, on_timer, 0, TICK_MS);
    *ret_discover = discover;
    return 0;
}

size_t discover_uv_find(const struct discover_uv *discover, const struct fl_id *peer,
                        char (*ret)[LEG_ADDRESS_MAX], size_t max)
{
    return discover_find(&discover->table, discover->key, peer, clock_now(), ret, max);
}
