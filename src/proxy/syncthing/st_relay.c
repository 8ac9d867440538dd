#include "proxy/syncthing/st_relay.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "proxy/handing.h"
#include "proxy/syncthing/st_session.h"

#define SWEEP_SECONDS 1

/* --- who may come -------------------------------------------------------------------------- */

/* @devices copied and sorted. Returns 0 or -ENOMEM. */
static int allow_make(const struct st_device *devices, size_t count, bool any,
                      struct st_allow *ret_allow)
{
    struct st_device *copy = calloc(count ? count : 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    if (count)
        memcpy(copy, devices, count * sizeof(*copy));
    qsort(copy, count, sizeof(*copy), st_device_order);
    *ret_allow = (struct st_allow){.any = any, .device = copy, .count = count};
    return 0;
}

bool st_relay_allows(struct st_relay *relay, const struct st_device *device)
{
    pthread_rwlock_rdlock(&relay->allow_lock);
    const struct st_allow *allow = &relay->allow;
    bool found = allow->any || bsearch(device, allow->device, allow->count, sizeof(*device),
                                       st_device_order) != NULL;
    pthread_rwlock_unlock(&relay->allow_lock);
    return found;
}

/* Hashes are compared, so neither length nor content tells by time. */
bool st_relay_token_fits(const struct st_relay *relay, const uint8_t *token, size_t len)
{
    uint8_t hash[sizeof(relay->token)];
    if (!relay->has_token)
        return true;
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, len ? token : (const uint8_t *)"", len, hash) == 0 &&
           gnutls_memcmp(hash, relay->token, sizeof(hash)) == 0;
}

/* --- letters ------------------------------------------------------------------------------- */

enum mail_kind {
    MAIL_CLOSE,
    MAIL_INVITE,
    MAIL_CHALLENGE,
    MAIL_ALIVE,
    MAIL_GONE,
    MAIL_MOVE,
    MAIL_KILL,
    MAIL_RECHECK
};

struct mail {
    enum mail_kind kind;
    struct conn_ref *ref;     /* owned; whom it is for, but for the last three */
    struct conn_ref *about;   /* CHALLENGE: owned */
    struct st_worker *part;   /* MOVE, KILL, RECHECK */
    struct st_conn *conn;     /* MOVE */
    enum close_reason reason; /* CLOSE */
    struct st_device device;  /* KILL */
    struct st_invitation invitation;
};

static void mail_free(struct mail *mail)
{
    conn_ref_unref(mail->ref);
    conn_ref_unref(mail->about);
    explicit_bzero(mail, sizeof(*mail));
    free(mail);
}

static void kill_sessions(struct st_worker *part, const struct st_device *device)
{
    struct st_session *session, *next;
    DL_FOREACH_SAFE (part->sessions, session, next) {
        if (st_session_of(session, device))
            st_session_end(session, CLOSE_GONE,
                           st_device_equal(&session->device[0], device) ? 0 : 1);
    }
}

static void recheck(struct st_worker *part)
{
    struct st_session *session, *next_session;
    struct st_conn *conn, *next_conn;
    DL_FOREACH_SAFE (part->known, conn, next_conn)
        st_conn_recheck(conn);
    DL_FOREACH_SAFE (part->sessions, session, next_session) {
        for (unsigned i = 0; i < 2; i++) {
            if (!st_relay_allows(part->relay, &session->device[i])) {
                st_session_end(session, CLOSE_DENIED, i);
                break;
            }
        }
    }
}

static void deliver_to_conn(const struct mail *mail, struct st_conn *conn)
{
    switch (mail->kind) {
    case MAIL_CLOSE:
        st_conn_close(conn, mail->reason);
        break;
    case MAIL_INVITE:
        st_conn_invite(conn, &mail->invitation);
        break;
    case MAIL_CHALLENGE:
        st_conn_challenge(conn, mail->about);
        break;
    case MAIL_ALIVE:
    case MAIL_GONE:
        st_conn_verdict(conn, mail->kind == MAIL_ALIVE);
        break;
    default:
        break;
    }
}

static void deliver_to_part(const struct mail *mail)
{
    if (mail->kind == MAIL_MOVE)
        st_conn_arrive(mail->conn, mail->part);
    else if (mail->kind == MAIL_KILL)
        kill_sessions(mail->part, &mail->device);
    else if (mail->kind == MAIL_RECHECK)
        recheck(mail->part);
}

static void on_mail(struct worker *worker, void *arg)
{
    struct mail *mail = arg;
    struct st_conn *conn = worker && mail->ref ? conn_ref_conn(mail->ref) : NULL;
    if (conn)
        deliver_to_conn(mail, conn);
    else if (worker && mail->kind == MAIL_CHALLENGE)
        st_post_verdict(mail->about, false);
    else if (worker)
        deliver_to_part(mail);
    mail_free(mail);
}

static struct mail *mail_new(enum mail_kind kind, struct conn_ref *ref)
{
    struct mail *mail = calloc(1, sizeof(*mail));
    if (!mail)
        return NULL;
    mail->kind = kind;
    mail->ref = ref ? conn_ref_ref(ref) : NULL;
    return mail;
}

/* Takes @mail, also when it is NULL or cannot be delivered. */
static int post(struct worker *worker, struct mail *mail)
{
    int rc = mail ? worker_post_call(worker, on_mail, mail) : -ENOMEM;
    if (rc && mail)
        mail_free(mail);
    return rc;
}

void st_post_close(struct conn_ref *ref, enum close_reason reason)
{
    struct mail *mail = mail_new(MAIL_CLOSE, ref);
    if (mail)
        mail->reason = reason;
    (void)post(conn_ref_worker(ref), mail);
}

void st_post_invitation(struct conn_ref *ref, const struct st_invitation *invitation)
{
    struct mail *mail = mail_new(MAIL_INVITE, ref);
    if (mail)
        mail->invitation = *invitation;
    (void)post(conn_ref_worker(ref), mail);
}

void st_post_challenge(struct conn_ref *ref, struct conn_ref *about)
{
    struct mail *mail = mail_new(MAIL_CHALLENGE, ref);
    if (mail)
        mail->about = conn_ref_ref(about);
    (void)post(conn_ref_worker(ref), mail);
}

void st_post_verdict(struct conn_ref *ref, bool alive)
{
    (void)post(conn_ref_worker(ref), mail_new(alive ? MAIL_ALIVE : MAIL_GONE, ref));
}

static struct mail *mail_for_part(enum mail_kind kind, struct st_worker *part)
{
    struct mail *mail = mail_new(kind, NULL);
    if (mail)
        mail->part = part;
    return mail;
}

int st_post_move(struct st_worker *to, struct st_conn *conn)
{
    struct mail *mail = mail_for_part(MAIL_MOVE, to);
    if (mail)
        mail->conn = conn;
    return post(to->worker, mail);
}

void st_relay_kill(struct st_relay *relay, const struct st_device *device)
{
    if (st_pair_live(relay->pair) == 0)
        return;
    for (unsigned i = 0; i < relay->count; i++) {
        struct mail *mail = mail_for_part(MAIL_KILL, relay->part[i]);
        if (mail)
            mail->device = *device;
        (void)post(relay->part[i]->worker, mail);
    }
}

int st_allow_set(struct st_relay *relay, const struct st_device *devices, size_t count, bool any)
{
    struct st_allow allow;
    int rc = allow_make(devices, count, any, &allow);
    if (rc)
        return rc;
    pthread_rwlock_wrlock(&relay->allow_lock);
    struct st_allow old = relay->allow;
    relay->allow = allow;
    pthread_rwlock_unlock(&relay->allow_lock);
    free(old.device);
    for (unsigned i = 0; i < relay->count; i++)
        (void)post(relay->part[i]->worker, mail_for_part(MAIL_RECHECK, relay->part[i]));
    return 0;
}

/* --- a worker's part ----------------------------------------------------------------------- */

static struct st_worker *part_of(struct worker_guest *guest)
{
    return container_of(guest, struct st_worker, guest);
}

struct st_worker *st_relay_lightest(struct st_worker *part)
{
    const struct worker *worker = worker_lightest(part->worker);
    for (unsigned i = 0; i < part->relay->count; i++) {
        if (part->relay->part[i]->worker == worker)
            return part->relay->part[i];
    }
    return part;
}

static void tick_conns(struct st_conn *list, uint64_t now)
{
    struct st_conn *conn, *next; /* a conn may change lists in its tick */
    DL_FOREACH_SAFE (list, conn, next)
        st_conn_tick(conn, now);
}

static void on_tick(struct worker_guest *guest, uint64_t now)
{
    struct st_worker *part = part_of(guest);
    struct st_session *session, *next;

    tick_conns(part->strangers, now);
    tick_conns(part->known, now);
    DL_FOREACH_SAFE (part->sessions, session, next)
        st_session_tick(session, now);
    if (part == part->relay->part[0] && now >= part->next_sweep) {
        part->next_sweep = now + SWEEP_SECONDS * CLOCK_SEC;
        st_pair_sweep(part->relay->pair, now);
    }
}

static void on_reap(struct worker_guest *guest)
{
    struct st_worker *part = part_of(guest);
    while (part->closed) {
        struct st_conn *conn = part->closed;
        part->closed = st_conn_free(conn);
    }
}

static void stop_conns(struct st_conn *list)
{
    struct st_conn *conn;
    DL_FOREACH (list, conn)
        st_conn_close(conn, CLOSE_SHUTDOWN);
}

static unsigned on_collect(struct worker_guest *guest, struct parcel **parcels)
{
    struct st_worker *part = part_of(guest);
    struct st_session *session, *next;
    struct session_image image;
    unsigned handed = 0;

    DL_FOREACH_SAFE (part->sessions, session, next) {
        if (st_session_hand_out(session, &image))
            continue;
        if (handing_write(&image, parcels))
            handed++;
        else
            st_session_take_back(session);
    }
    return handed;
}

/* Who was denied meanwhile ends now. */
static void on_settle(struct worker_guest *guest, bool moved)
{
    struct st_worker *part = part_of(guest);

    if (!part->away)
        return;
    while (part->away) {
        if (moved)
            st_session_hand_off(part->away);
        else
            st_session_take_back(part->away);
    }
    recheck(part);
}

static void on_stop(struct worker_guest *guest)
{
    struct st_worker *part = part_of(guest);
    struct st_session *session, *next;
    on_settle(guest, false);
    DL_FOREACH_SAFE (part->sessions, session, next)
        st_session_end(session, CLOSE_SHUTDOWN, PUMP_BOTH);
    stop_conns(part->strangers);
    stop_conns(part->known);
}

static bool on_evict(struct worker_guest *guest)
{
    struct st_conn *conn;
    DL_FOREACH (part_of(guest)->strangers, conn) {
        if (!st_conn_is_over(conn)) {
            st_conn_close(conn, CLOSE_FULL);
            return true;
        }
    }
    return false;
}

void st_relay_add(struct st_relay *relay, struct st_worker *part, struct worker *worker)
{
    *part = (struct st_worker){
        .guest = {.tick = on_tick,
                  .reap = on_reap,
                  .stop = on_stop,
                  .evict = on_evict,
                  .collect = on_collect,
                  .settle = on_settle},
        .relay = relay,
        .worker = worker,
    };
    relay->part[relay->count++] = part;
    worker_add_guest(worker, &part->guest);
}

/* --- the whole ----------------------------------------------------------------------------- */

static int make_tables(struct st_relay *relay, const struct st_relay_options *options)
{
    int rc = allow_make(options->allow, options->allow_count, options->allow_any, &relay->allow);
    if (rc)
        return rc;
    rc = st_registry_new(&relay->registry);
    if (rc == 0)
        rc = st_pair_new(relay->proxy->pair, &relay->pair);
    if (rc) {
        st_registry_free(relay->registry);
        free(relay->allow.device);
    }
    return rc;
}

int st_relay_init(struct st_relay *relay, struct proxy *proxy,
                  const struct st_relay_options *options)
{
    *relay = (struct st_relay){
        .proxy = proxy,
        .has_token = options->token != NULL,
        .address_len = options->address_len,
        .port = options->port,
    };
    memcpy(relay->address, options->address, sizeof(relay->address));
    if (options->token && gnutls_hash_fast(GNUTLS_DIG_SHA256, options->token,
                                           strlen(options->token), relay->token) < 0)
        return -FL_EKEY;
    int rc = make_tables(relay, options);
    if (rc)
        return rc;
    pthread_rwlock_init(&relay->allow_lock, NULL);
    return 0;
}

void st_relay_done(struct st_relay *relay)
{
    st_pair_free(relay->pair);
    st_registry_free(relay->registry);
    free(relay->allow.device);
    pthread_rwlock_destroy(&relay->allow_lock);
}

uint64_t st_relay_bytes(const struct st_relay *relay)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < relay->count; i++)
        sum += atomic_load_explicit(&relay->part[i]->bytes, memory_order_relaxed);
    return sum;
}
