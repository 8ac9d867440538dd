#include "proxy/handing.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "proxy/conn.h"
#include "proxy/session_move.h"

struct parcel *parcel_new(size_t len)
{
    struct parcel *parcel = calloc(1, sizeof(*parcel) + len);
    if (parcel)
        parcel->len = len;
    return parcel;
}

struct parcel *parcel_message(enum handover_type type, const void *message)
{
    uint8_t bytes[FRAME_MAX];
    int size = handover_encode(type, message, bytes, sizeof(bytes));
    struct parcel *parcel = size < 0 ? NULL : parcel_new((size_t)size);
    if (parcel)
        memcpy(parcel->bytes, bytes, parcel->len);
    return parcel;
}

void parcels_free(struct parcel **list)
{
    struct parcel *parcel, *next;
    DL_FOREACH_SAFE (*list, parcel, next)
        free(parcel);
    *list = NULL;
}

/* ---- out ---- */

static struct parcel *parcel_held(unsigned side, const void *data, size_t len)
{
    struct parcel *parcel = parcel_new(FRAME_HEADER + len);
    if (parcel)
        (void)handover_encode_held(side, data, len, parcel->bytes, parcel->len);
    return parcel;
}

static bool write_held(const struct session_image *image, struct parcel **list)
{
    for (unsigned i = 0; i < 2; i++) {
        if (image->held[i].len == 0)
            continue;
        struct parcel *parcel = parcel_held(i, image->held[i].data, image->held[i].len);
        if (!parcel)
            return false;
        DL_APPEND(*list, parcel);
    }
    return true;
}

bool handing_write(const struct session_image *image, struct parcel **parcels)
{
    struct parcel *list = NULL, *parcel = parcel_message(HANDOVER_SESSION, &image->message);
    if (!parcel)
        return false;
    memcpy(parcel->fds, image->fds, sizeof(parcel->fds));
    parcel->count = image->count;
    DL_APPEND(list, parcel);
    if (!write_held(image, &list)) {
        parcels_free(&list);
        return false;
    }
    DL_CONCAT(*parcels, list);
    return true;
}

static bool hand_out(struct session *session, struct parcel **parcels)
{
    struct session_image image;
    if (session_hand_out(session, &image))
        return false;
    if (handing_write(&image, parcels))
        return true;
    session_take_back(session);
    return false;
}

/* A session once: at its caller's side. */
static bool carries_session(const struct conn *conn)
{
    return conn->state == CONN_SESSION && conn->side == 0;
}

/* The sessions of a list of conns, which changes when they leave. Returns how many; the array is
 * the caller's to free, NULL without memory. */
static size_t list_sessions(struct conn *conns, struct session ***ret_sessions)
{
    struct conn *conn;
    size_t count = 0, i = 0;

    DL_FOREACH (conns, conn)
        count += carries_session(conn);
    *ret_sessions = reallocarray(NULL, count + 1, sizeof(**ret_sessions));
    if (!*ret_sessions)
        return 0;
    DL_FOREACH (conns, conn) {
        if (carries_session(conn))
            (*ret_sessions)[i++] = conn->session;
    }
    return count;
}

unsigned handing_collect(struct worker *worker, struct parcel **parcels)
{
    _cleanup_free_ struct session **sessions = NULL;
    size_t count = list_sessions(worker->known, &sessions);
    unsigned handed = 0;

    for (size_t i = 0; i < count; i++)
        handed += hand_out(sessions[i], parcels);
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next) {
        if (guest->collect)
            handed += guest->collect(guest, parcels);
    }
    return handed;
}

/* ---- the outcome ---- */

/* Who waits for a session, and who came over UDP: those sockets are the new process's now. */
static void send_away(struct worker *worker)
{
    struct conn *conn;
    DL_FOREACH (worker->known, conn) {
        if (!conn_is_closed(conn) && (conn->state == CONN_JOINING || !leg_can_move(conn->leg)))
            conn_close(conn, CLOSE_MOVED);
    }
}

static void let_go(struct worker *worker)
{
    struct conn *conn; /* closed ones stay in the list until the turn's end */
    DL_FOREACH (worker->away, conn) {
        if (carries_session(conn))
            session_hand_off(conn->session);
    }
    send_away(worker);
}

/* A session that is away, or NULL: closed conns stay in the list until the turn's end. */
static struct session *find_away(const struct worker *worker)
{
    struct conn *conn;
    DL_FOREACH (worker->away, conn) {
        if (conn->state == CONN_SESSION)
            return conn->session;
    }
    return NULL;
}

/* Each one takes its conns out of the list, or ends there. Who was denied meanwhile ends as well:
 * nobody looks at those who are away. */
static void take_back(struct worker *worker)
{
    struct session *session;
    if (!worker->away)
        return;
    while ((session = find_away(worker)))
        session_take_back(session);
    (void)worker_post_recheck(worker);
}

static void settle_guests(struct worker *worker, bool moved)
{
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next) {
        if (guest->settle)
            guest->settle(guest, moved);
    }
}

void handing_settle(struct worker *worker)
{
    struct proxy *proxy = worker->proxy;
    unsigned recalls = atomic_load(&proxy->recalls);

    if (atomic_load(&proxy->moved)) {
        let_go(worker);
        settle_guests(worker, true);
    } else if (recalls != worker->recalls) {
        worker->recalls = recalls;
        take_back(worker);
        settle_guests(worker, false);
    }
}
