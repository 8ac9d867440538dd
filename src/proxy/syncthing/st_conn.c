#include "proxy/syncthing/st_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "proxy/syncthing/st_relay.h"
#include "proxy/syncthing/st_session.h"

#define TLS_FIRST_BYTE 0x16  /* a handshake record, RFC 8446 §5.1 */
#define MESSAGES       32    /* in one turn; no client has that many to say */
#define WASTE_MAX      65536 /* thrown away after the last answer, before the client's end */

#define NEXT(...) (STATE_BIT(ST_CLOSED) | (__VA_ARGS__))

static const struct state_def conn_defs[] = {
    [ST_SNIFF] = {"sniff", NEXT(STATE_BIT(ST_SHAKE) | STATE_BIT(ST_KEY)), 5000},
    [ST_SHAKE] = {"shake", NEXT(STATE_BIT(ST_ASK)), 10000},
    [ST_ASK] = {"ask", NEXT(STATE_BIT(ST_DUEL) | STATE_BIT(ST_JOINED) | STATE_BIT(ST_HANGUP)),
                20000},
    [ST_DUEL] = {"duel", NEXT(STATE_BIT(ST_DUEL) | STATE_BIT(ST_JOINED) | STATE_BIT(ST_HANGUP)),
                 ST_DUEL_SECONDS * 1000},
    [ST_JOINED] = {"joined", NEXT(STATE_BIT(ST_HANGUP)), 0},
    [ST_KEY] = {"key", NEXT(STATE_BIT(ST_WAIT) | STATE_BIT(ST_HANGUP)), 10000},
    [ST_WAIT] = {"wait", NEXT(STATE_BIT(ST_PAIRED)), ST_KEY_SECONDS * 1000},
    [ST_HANGUP] = {"hangup", NEXT(0), 5000},
    [ST_PAIRED] = {"paired", 0, 0},
    [ST_CLOSED] = {"closed", 0, 0},
};
static const struct state_table conn_table = {"st.conn", conn_defs, ST_STATES};

/* What staying too long in a state means; DUEL and HANGUP have their own. */
static const enum close_reason late[ST_STATES] = {
    [ST_SNIFF] = CLOSE_FIRST_BYTE, [ST_SHAKE] = CLOSE_HANDSHAKE_TIME, [ST_ASK] = CLOSE_HELLO_TIME,
    [ST_KEY] = CLOSE_HELLO_TIME,   [ST_WAIT] = CLOSE_JOIN_TIME,
};

static struct worker *worker_of(const struct st_conn *conn)
{
    return conn->part->worker;
}

static uint64_t conn_now(const struct st_conn *conn)
{
    return worker_now(worker_of(conn));
}

static void count(const struct st_conn *conn, enum counter which)
{
    counters_add(&worker_of(conn)->counters, which, 1);
}

static bool is_stranger(const struct st_conn *conn)
{
    return conn->list == &conn->part->strangers;
}

static void move(struct st_conn *conn, enum st_conn_state state)
{
    state_move(&conn_table, &conn->state, state);
    conn->since = conn_now(conn);
}

static void list_move(struct st_conn *conn, struct st_conn **list)
{
    if (conn->list)
        DL_DELETE(*conn->list, conn);
    if (list)
        DL_APPEND(*list, conn);
    conn->list = list;
}

static void become_known(struct st_conn *conn)
{
    list_move(conn, &conn->part->known);
    door_leave(worker_of(conn)->proxy->door, &conn->place);
}

/* --- the end ------------------------------------------------------------------------------- */

static void log_end(const struct st_conn *conn, enum close_reason reason)
{
    static const struct st_device nobody;
    char id[ST_DEVICE_SHORT] = "";
    if (!st_device_equal(&conn->device, &nobody))
        (void)st_device_short(&conn->device, id);
    log_at(is_stranger(conn) ? LOG_DEBUG : LOG_INFO, "syncthing connection ended",
           LF_STR("peer", conn->link->peer), LF_STR("device", id),
           LF_STR("state", state_name(&conn_table, conn->state)),
           LF_U64("ms", clock_since(conn_now(conn), conn->opened) / CLOCK_MS),
           LF_STR("reason", close_reason_name(reason)));
}

/* Whoever wants this place learns how it stands. */
static void answer_challenger(struct st_conn *conn, bool alive)
{
    struct conn_ref *challenger = take_ptr(conn->challenger);
    if (challenger)
        st_post_verdict(challenger, alive);
    conn_ref_unref(challenger);
}

/* Not to be called any more. Its sessions end as well: a device that has lost its connection will
 * come again, and the sooner its peers know, the sooner they call (strelaysrv does the same). But
 * for one that we have sent away, to a new process or since we drain: it is well. */
static void unregister(struct st_conn *conn, enum close_reason reason)
{
    if (conn->state != ST_JOINED)
        return;
    st_registry_remove(conn->part->relay->registry, &conn->device, conn->ref);
    answer_challenger(conn, false);
    if (reason != CLOSE_MOVED && reason != CLOSE_DRAINING)
        st_relay_kill(conn->part->relay, &conn->device);
}

static void message_drop(struct st_conn *conn)
{
    free(conn->payload);
    conn->payload = NULL;
    conn->got = 0;
    conn->filled = 0;
}

static void release_refs(struct st_conn *conn)
{
    conn_ref_unref(take_ptr(conn->rival));
    if (conn->ref)
        conn_ref_clear(conn->ref);
    conn_ref_unref(take_ptr(conn->ref));
}

/* Out of use; the memory goes when the part is reaped. */
static void retire(struct st_conn *conn, enum st_conn_state state)
{
    struct st_worker *part = conn->part;
    message_drop(conn);
    release_refs(conn);
    door_leave(part->worker->proxy->door, &conn->place);
    if (conn->secured)
        atomic_fetch_sub(&part->worker->proxy->devices, 1);
    conn->closed = part->closed;
    part->closed = conn;
    move(conn, state);
}

void st_conn_close(struct st_conn *conn, enum close_reason reason)
{
    if (st_conn_is_over(conn))
        return;
    if (conn->state == ST_HANGUP) /* it has ended before; this is only how */
        reason = conn->reason;
    else
        log_end(conn, reason);
    counters_end(&worker_of(conn)->counters, reason);
    unregister(conn, reason);
    if (conn->session) {
        atomic_fetch_sub_explicit(&conn->session->home->worker->load, 1, memory_order_relaxed);
        st_pair_leave(conn->part->relay->pair, conn->session, conn->side);
    }
    conn->session = NULL;
    st_link_close(conn->link);
    retire(conn, ST_CLOSED);
}

struct st_conn *st_conn_free(struct st_conn *conn)
{
    struct st_conn *next = conn->closed;
    DL_DELETE(*conn->list, conn);
    free(conn);
    return next;
}

struct st_link *st_conn_take(struct st_conn *conn)
{
    conn->session = NULL;
    retire(conn, ST_PAIRED);
    return conn->link;
}

/* The peer's TLS breaking after its handshake means that the connection broke. */
static enum close_reason reason_of(const struct st_conn *conn, int code)
{
    if (code == -FL_EEOF)
        return CLOSE_GONE;
    if (code == -FL_EFULL)
        return CLOSE_STALL;
    if (code == -FL_ETLS && conn->state != ST_SHAKE)
        return CLOSE_RESET;
    return close_reason_of_error(code);
}

/* --- answers ------------------------------------------------------------------------------- */

/* Returns whether it could be sent; else the conn is closed. */
static bool send(struct st_conn *conn, const uint8_t *message, size_t size)
{
    int rc = st_link_send(conn->link, message, size);
    if (rc)
        st_conn_close(conn, reason_of(conn, rc));
    return rc == 0;
}

static bool send_plain(struct st_conn *conn, enum st_type type)
{
    uint8_t message[ST_MESSAGE_MAX];
    return send(conn, message, st_put_plain(message, type));
}

static bool respond(struct st_conn *conn, enum st_code code, const char *text)
{
    uint8_t message[ST_MESSAGE_MAX];
    return send(conn, message, st_put_response(message, code, text ? text : st_code_text(code)));
}

/* Where its side of a session is to be joined is what the configuration says, or where this client
 * has come to. */
static bool send_invitation(struct st_conn *conn, const struct st_invitation *plan)
{
    const struct st_relay *relay = conn->part->relay;
    struct st_invitation invitation = *plan;
    uint8_t message[ST_MESSAGE_MAX];

    memcpy(invitation.address, relay->address, sizeof(invitation.address));
    invitation.address_len = relay->address_len;
    invitation.port = relay->port ? relay->port : conn->link->port;
    bool sent = send(conn, message, st_put_invitation(message, &invitation));
    explicit_bzero(message, sizeof(message));
    explicit_bzero(&invitation, sizeof(invitation));
    return sent;
}

/* The last answer was given: end the stream, and wait for the client's end, since unread bytes at
 * close(2) would turn ours into a reset that costs the client the answer. */
static void hang_up(struct st_conn *conn, enum close_reason reason)
{
    log_end(conn, reason);
    unregister(conn, reason);
    conn->reason = reason;
    conn->got = 0;
    st_link_finish(conn->link);
    move(conn, ST_HANGUP);
}

static void refuse(struct st_conn *conn, enum st_code code, const char *text,
                   enum close_reason reason)
{
    if (respond(conn, code, text))
        hang_up(conn, reason);
}

static void refuse_full(struct st_conn *conn, enum close_reason reason)
{
    if (send_plain(conn, ST_RELAY_FULL))
        hang_up(conn, reason);
}

/* Our session lives on another thread: go there. */
static void go_home(struct st_conn *conn)
{
    struct st_worker *part = conn->part;

    st_link_detach(conn->link);
    list_move(conn, NULL);
    count(conn, COUNTER_MOVED);
    if (st_post_move(conn->session->home, conn) == 0)
        return; /* not ours any more */
    list_move(conn, &part->known);
    (void)st_link_attach(conn->link, part->worker->env.loop);
    st_conn_close(conn, CLOSE_SHUTDOWN);
}

static bool reads_messages(const struct st_conn *conn)
{
    return conn->state == ST_ASK || conn->state == ST_JOINED || conn->state == ST_KEY;
}

/* The one place that decides whether the link is read, and whether the conn stays on this thread.
 * The last that is done with a conn in a turn, as it may be on another one afterwards. */
static void settle(struct st_conn *conn)
{
    bool reads = reads_messages(conn) || conn->state == ST_SNIFF || conn->state == ST_HANGUP;
    if (st_conn_is_over(conn))
        return;
    if (conn->state == ST_WAIT && conn->session->home != conn->part)
        go_home(conn);
    else
        st_link_want(conn->link, reads);
}

/* --- waiting for calls --------------------------------------------------------------------- */

/* Spread, so that devices that came together do not answer together. */
static uint64_t ping_time(struct st_conn *conn, uint64_t now)
{
    uint64_t early = worker_random(worker_of(conn)) % (10 * CLOCK_SEC);
    return now + ST_PING_SECONDS * CLOCK_SEC - early;
}

static void joined(struct st_conn *conn)
{
    uint64_t now = conn_now(conn);
    move(conn, ST_JOINED);
    become_known(conn);
    count(conn, COUNTER_REGISTERED);
    conn->heard = now;
    conn->next_ping = ping_time(conn, now);
    if (respond(conn, ST_SUCCESS, NULL))
        log_info("syncthing device joined", LF_STR("peer", conn->link->peer),
                 LF_STR("device", st_device_short(&conn->device, (char[ST_DEVICE_SHORT]){0})));
}

/* Nobody waits or calls at a proxy that takes its leave. */
static bool drains(const struct st_conn *conn)
{
    return drain_on(&worker_of(conn)->proxy->drain);
}

/* Register, in the place of @conn->rival if that is still there. Another one that is there is asked
 * for a sign of life first. */
static void try_to_join(struct st_conn *conn)
{
    struct st_relay *relay = conn->part->relay;
    uint32_t max = worker_of(conn)->settings.limits.endpoints;
    struct conn_ref *old;

    conn->epoch = drain_epoch(&worker_of(conn)->proxy->drain); /* first: no order is missed */
    if (drains(conn)) {
        refuse_full(conn, CLOSE_DRAINING);
        return;
    }
    enum close_reason reason =
        st_registry_add(relay->registry, &conn->device, conn->ref, conn->rival, max, &old);

    conn_ref_unref(take_ptr(conn->rival));
    switch (reason) {
    case CLOSE_DONE:
        if (old)
            st_post_close(old, CLOSE_SUPERSEDED);
        conn_ref_unref(old);
        joined(conn);
        break;
    case CLOSE_SUPERSEDED:
        conn->rival = old;
        move(conn, ST_DUEL);
        st_post_challenge(old, conn->ref);
        break;
    case CLOSE_FULL:
        refuse_full(conn, reason);
        break;
    default:
        st_conn_close(conn, reason);
    }
}

static bool allowed(const struct st_conn *conn)
{
    return st_relay_allows(conn->part->relay, &conn->device);
}

static void take_join(struct st_conn *conn, size_t len)
{
    struct st_bytes token;
    if (st_get_token(conn->payload, len, &token))
        st_conn_close(conn, CLOSE_FRAME);
    else if (!allowed(conn))
        refuse(conn, ST_WRONG_TOKEN, "device not allowed", CLOSE_DENIED);
    else if (!st_relay_token_fits(conn->part->relay, token.data, token.len))
        refuse(conn, ST_WRONG_TOKEN, NULL, CLOSE_PROOF);
    else
        try_to_join(conn);
}

void st_conn_challenge(struct st_conn *conn, struct conn_ref *challenger)
{
    if (conn->state != ST_JOINED) {
        st_post_verdict(challenger, false);
        return;
    }
    answer_challenger(conn, true); /* an earlier one: its place is being fought for */
    conn->challenger = conn_ref_ref(challenger);
    (void)send_plain(conn, ST_PING);
}

void st_conn_verdict(struct st_conn *conn, bool alive)
{
    if (conn->state != ST_DUEL)
        return;
    if (alive)
        refuse(conn, ST_ALREADY_CONNECTED, NULL, CLOSE_SUPERSEDED);
    else
        try_to_join(conn);
    settle(conn);
}

void st_conn_invite(struct st_conn *conn, const struct st_invitation *invitation)
{
    if (conn->state == ST_JOINED)
        (void)send_invitation(conn, invitation);
}

void st_conn_recheck(struct st_conn *conn)
{
    if (conn->state == ST_JOINED && !allowed(conn))
        st_conn_close(conn, CLOSE_DENIED);
}

/* --- calling ------------------------------------------------------------------------------- */

/* Keys for both sides, of which each is told its own. */
static enum close_reason invite_both(struct st_conn *conn, struct conn_ref *callee,
                                     const struct st_device *device)
{
    struct st_relay *relay = conn->part->relay;
    struct st_invitation to[2] = {{.server = 0}, {.server = 1}};
    uint8_t key[2][KEY_BYTES];
    enum close_reason reason =
        st_pair_connect(relay->pair, &conn->device, device,
                        worker_of(conn)->settings.limits.sessions_per_agent, conn_now(conn), key);

    if (reason != CLOSE_DONE)
        return reason;
    memcpy(to[0].from, device, sizeof(to[0].from));
    memcpy(to[1].from, &conn->device, sizeof(to[1].from));
    for (unsigned i = 0; i < 2; i++)
        memcpy(to[i].key, key[i], KEY_BYTES);
    st_post_invitation(callee, &to[1]);
    if (send_invitation(conn, &to[0]))
        hang_up(conn, CLOSE_DONE);
    explicit_bzero(key, sizeof(key));
    explicit_bzero(to, sizeof(to));
    return CLOSE_DONE;
}

static void connect_to(struct st_conn *conn, const struct st_device *device)
{
    struct conn_ref *callee = st_registry_find(conn->part->relay->registry, device);
    if (!callee) {
        refuse(conn, ST_NOT_FOUND, NULL, CLOSE_NOT_FOUND);
        return;
    }
    enum close_reason reason = invite_both(conn, callee, device);
    conn_ref_unref(callee);
    if (reason == CLOSE_FULL)
        refuse_full(conn, reason);
    else if (reason != CLOSE_DONE)
        st_conn_close(conn, reason);
}

static void take_connect(struct st_conn *conn, size_t len)
{
    struct st_bytes id;
    struct st_device device;
    count(conn, COUNTER_CONNECTS);
    if (st_get_opaque(conn->payload, len, &id)) {
        st_conn_close(conn, CLOSE_FRAME);
    } else if (!allowed(conn)) {
        refuse(conn, ST_NOT_FOUND, "device not allowed", CLOSE_DENIED);
    } else if (drains(conn)) {
        refuse_full(conn, CLOSE_DRAINING);
    } else if (id.len != sizeof(device)) {
        refuse(conn, ST_NOT_FOUND, NULL, CLOSE_NOT_FOUND);
    } else {
        memcpy(&device, id.data, sizeof(device));
        connect_to(conn, &device);
    }
}

/* --- joining a session --------------------------------------------------------------------- */

void st_conn_arrive(struct st_conn *conn, struct st_worker *part)
{
    conn->part = part;
    list_move(conn, &part->known);
    if (st_link_attach(conn->link, part->worker->env.loop))
        st_conn_close(conn, CLOSE_LOCAL);
    else
        st_session_arrived(conn->session, conn->side);
}

/* The answer goes into the socket here, before the session can put a byte of the peer behind it. */
static void take_place(struct st_conn *conn, const struct st_place *place)
{
    struct st_session *session = place->session;
    conn->session = session;
    conn->side = place->side;
    conn->device = session->device[place->side];
    atomic_fetch_add_explicit(&session->home->worker->load, 1, memory_order_relaxed);
    become_known(conn);
    move(conn, ST_WAIT);
    if (respond(conn, ST_SUCCESS, NULL) && session->home == conn->part)
        st_session_arrived(session, conn->side); /* else settle() takes it there */
}

static void take_join_session(struct st_conn *conn, size_t len)
{
    struct st_bytes key;
    struct st_place place;
    if (st_get_opaque(conn->payload, len, &key)) {
        st_conn_close(conn, CLOSE_FRAME);
    } else if (key.len != KEY_BYTES ||
               st_pair_join(conn->part->relay->pair, key.data, conn, st_relay_lightest(conn->part),
                            conn_now(conn), &place) != CLOSE_DONE) {
        refuse(conn, ST_NOT_FOUND, NULL, CLOSE_KEY_UNKNOWN);
    } else {
        explicit_bzero(conn->payload, len);
        take_place(conn, &place);
    }
}

/* --- receiving ----------------------------------------------------------------------------- */

static void take_ping(struct st_conn *conn, size_t len)
{
    (void)send_plain(conn, ST_PONG);
}

static void take_pong(struct st_conn *conn, size_t len)
{
}

/* Which message may come in which state; anything else is answered as unexpected. */
static const struct {
    int32_t type;
    unsigned states;
    void (*take)(struct st_conn *conn, size_t len);
} takers[] = {
    {ST_PING, STATE_BIT(ST_ASK) | STATE_BIT(ST_JOINED), take_ping},
    {ST_PONG, STATE_BIT(ST_ASK) | STATE_BIT(ST_JOINED), take_pong},
    {ST_JOIN_RELAY, STATE_BIT(ST_ASK), take_join},
    {ST_CONNECT, STATE_BIT(ST_ASK), take_connect},
    {ST_JOIN_SESSION, STATE_BIT(ST_KEY), take_join_session},
};

static void take_message(struct st_conn *conn, const struct st_head *head)
{
    if (conn->state == ST_JOINED) {
        conn->heard = conn_now(conn);
        answer_challenger(conn, true);
    }
    for (size_t i = 0; i < ARRAY_SIZE(takers); i++) {
        if (takers[i].type == head->type && (takers[i].states & STATE_BIT(conn->state))) {
            takers[i].take(conn, head->length);
            return;
        }
    }
    if (head->type == ST_JOIN_RELAY && conn->state == ST_JOINED)
        refuse(conn, ST_ALREADY_CONNECTED, NULL, CLOSE_PHASE);
    else
        refuse(conn, ST_UNEXPECTED, NULL, CLOSE_PHASE);
}

/* Up to @want bytes of something of which *@have are there. Returns 0 when it is whole, -EAGAIN, or
 * another negative code. */
static int fill(struct st_conn *conn, uint8_t *buffer, size_t have, size_t want, size_t *ret_have)
{
    *ret_have = have;
    if (have == want)
        return 0;
    ssize_t n = st_link_recv(conn->link, buffer + have, want - have);
    if (n < 0)
        return (int)n;
    *ret_have = have + (size_t)n;
    return *ret_have == want ? 0 : -EAGAIN;
}

/* The next message, exactly: what a client sends after joining a session must stay in the socket.
 * Returns 0 when it is whole. */
static int fetch(struct st_conn *conn, struct st_head *ret_head)
{
    size_t have;
    int rc = fill(conn, conn->header, conn->got, ST_HEADER, &have);
    conn->got = (uint8_t)have;
    if (rc == 0)
        rc = st_head_parse(conn->header, ret_head);
    if (rc || ret_head->length == 0)
        return rc;
    if (!conn->payload && !(conn->payload = malloc(ret_head->length)))
        return -ENOMEM;
    rc = fill(conn, conn->payload, conn->filled, ret_head->length, &have);
    conn->filled = (uint16_t)have;
    return rc;
}

/* A short read of what is not whole yet means that more has to come, but also that more may be in a
 * TLS record already: so read until the link says there is nothing. */
static void read_messages(struct st_conn *conn)
{
    struct st_head head;
    unsigned left = MESSAGES;

    while (reads_messages(conn)) {
        size_t before = (size_t)conn->got + conn->filled;
        int rc = fetch(conn, &head);
        if (rc == -EAGAIN && (size_t)conn->got + conn->filled > before)
            continue;
        if (rc == -EAGAIN)
            return;
        if (rc || left-- == 0) {
            st_conn_close(conn, rc ? reason_of(conn, rc) : CLOSE_FRAME);
            return;
        }
        take_message(conn, &head);
        message_drop(conn);
    }
}

static void sniff(struct st_conn *conn)
{
    uint8_t first;
    int rc = st_link_peek(conn->link, &first);
    if (rc == -EAGAIN)
        return;
    if (rc == 0 && first == TLS_FIRST_BYTE) {
        move(conn, ST_SHAKE);
        rc = st_link_secure(conn->link);
    } else if (rc == 0) {
        move(conn, ST_KEY);
        read_messages(conn);
    }
    if (rc)
        st_conn_close(conn, reason_of(conn, rc));
}

static void drain(struct st_conn *conn)
{
    uint8_t waste[1024];
    for (unsigned i = 0; i < WASTE_MAX / sizeof(waste); i++) {
        ssize_t n = st_link_recv(conn->link, waste, sizeof(waste));
        if (n == -EAGAIN)
            return;
        if (n < 0)
            break;
    }
    st_conn_close(conn, conn->reason);
}

static void secured(struct st_conn *conn)
{
    atomic_fetch_add(&worker_of(conn)->proxy->devices, 1);
    conn->secured = true;
    if (st_link_device(conn->link, &conn->device)) {
        st_conn_close(conn, CLOSE_CERTIFICATE);
        return;
    }
    conn->ref = conn_ref_new(conn, worker_of(conn));
    if (!conn->ref) {
        st_conn_close(conn, CLOSE_LOCAL);
        return;
    }
    count(conn, COUNTER_AUTHENTICATED);
    move(conn, ST_ASK);
}

static void on_link(void *ctx, struct st_link *link, unsigned events)
{
    struct st_conn *conn = ctx;

    if (events & ST_LINK_FAILED) {
        st_conn_close(conn, reason_of(conn, link->error));
        return;
    }
    if (events & ST_LINK_SECURE)
        secured(conn);
    if (events & ST_LINK_READABLE) {
        if (conn->state == ST_SNIFF)
            sniff(conn);
        else if (conn->state == ST_HANGUP)
            drain(conn);
        else
            read_messages(conn);
    }
    settle(conn);
}

/* --- time ---------------------------------------------------------------------------------- */

static void keep_alive(struct st_conn *conn, uint64_t now)
{
    if (clock_since(now, conn->heard) >= ST_SILENT_SECONDS * CLOCK_SEC) {
        st_conn_close(conn, CLOSE_PING);
    } else if (now >= conn->next_ping) {
        conn->next_ping = ping_time(conn, now);
        (void)send_plain(conn, ST_PING);
    }
}

/* A new process has taken over. Registered devices go at a moment of their own each, so that their
 * handshakes there do not all come at once; others have nothing here that could still be of use,
 * and dial again. Returns whether it has gone. */
static bool moves(struct st_conn *conn, uint64_t now)
{
    struct worker *worker = worker_of(conn);
    uint64_t within = atomic_load(&worker->proxy->leaving);

    if (!atomic_load(&worker->proxy->moved) || st_conn_is_over(conn) || conn->state == ST_HANGUP)
        return false;
    if (conn->moves_at == 0)
        conn->moves_at =
            now + (conn->state == ST_JOINED && within ? worker_random(worker) % within : 0);
    if (now < conn->moves_at)
        return false;
    st_conn_close(conn, CLOSE_MOVED);
    return true;
}

/* A registered device has no word for it: it goes at its moment within the window, as an agent
 * does. Returns whether it has gone. */
static bool leaves(struct st_conn *conn, uint64_t now)
{
    struct worker *worker = worker_of(conn);
    struct drain *drain = &worker->proxy->drain;
    unsigned epoch = drain_epoch(drain);
    fl_Drain unsaid;

    if (conn->state != ST_JOINED)
        return false;
    if (conn->epoch != epoch)
        drain_message(drain, now, worker_random(worker), &unsaid, &conn->leave_at);
    conn->epoch = epoch;
    if (conn->leave_at == 0 || now < conn->leave_at)
        return false;
    st_conn_close(conn, CLOSE_DRAINING);
    return true;
}

void st_conn_tick(struct st_conn *conn, uint64_t now)
{
    uint64_t limit = conn_defs[conn->state].timeout_ms * CLOCK_MS;

    if (moves(conn, now) || leaves(conn, now))
        return;
    if (conn->state == ST_JOINED)
        keep_alive(conn, now);
    if (limit == 0 || clock_since(now, conn->since) < limit)
        return;
    if (conn->state == ST_DUEL)
        try_to_join(conn);
    else
        st_conn_close(conn, late[conn->state]); /* in HANGUP, it has its reason */
    settle(conn);
}

int st_conn_new(struct st_worker *part, struct st_link *link, const struct door_place *place)
{
    struct door_place held = place ? *place : (struct door_place){.taken = false};
    struct st_conn *conn = calloc(1, sizeof(*conn));
    if (!conn) {
        door_leave(part->worker->proxy->door, &held);
        st_link_close(link);
        return -ENOMEM;
    }
    conn->place = held;
    conn->part = part;
    conn->link = link;
    conn->since = conn->opened = conn_now(conn);
    list_move(conn, &part->strangers);
    count(conn, COUNTER_ACCEPTED);
    st_link_set_handler(link, on_link, conn);
    st_link_want(link, true);
    return 0;
}
