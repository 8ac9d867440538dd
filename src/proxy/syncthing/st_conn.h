/* st_conn.h - the relay's side of one Syncthing connection, from accept until it ends or carries a
 * session. The first byte tells which of two kinds it is: TLS, in which a device waits for calls or
 * makes one, or in clear, in which it joins a session.
 *
 *   SNIFF -+-TLS-> SHAKE -> ASK -+-JoinRelay-> [DUEL ->] JOINED
 *          |                     '-Connect----------------+--> HANGUP
 *          '-clear-> KEY -JoinSession-> WAIT -> PAIRED    |
 *                     '-----------------------------------'
 *   every state -> CLOSED
 *
 * DUEL: another connection of the same device is registered and has been asked for a sign of life.
 * HANGUP: the last answer is on its way out, and the client's end of the stream is awaited.
 * PAIRED: the session has the connection, as a leg.
 */
#ifndef FL_PROXY_ST_CONN_H
#define FL_PROXY_ST_CONN_H

#include <stdbool.h>

#include "proxy/conn_ref.h"
#include "proxy/door.h"
#include "proxy/syncthing/st_link.h"
#include "proxy/syncthing/st_xdr.h"
#include "wire/close_reason.h"

#define ST_PING_SECONDS   60  /* at most; clients leave after 120 s without a message */
#define ST_SILENT_SECONDS 120 /* in which a registered device must have answered */
#define ST_DUEL_SECONDS   5   /* for a sign of life */

enum st_conn_state {
    ST_SNIFF,
    ST_SHAKE,
    ST_ASK,
    ST_DUEL,
    ST_JOINED,
    ST_KEY,
    ST_WAIT,
    ST_HANGUP,
    ST_PAIRED,
    ST_CLOSED,
    ST_STATES,
};

struct st_worker;
struct st_session;

struct st_conn {
    struct st_conn *prev, *next; /* the part's list of strangers or of known ones */
    struct st_conn **list;       /* which of the two */
    struct st_conn *closed;      /* the part's list of what waits to be freed */
    struct st_worker *part;      /* whose thread it is on */
    struct st_link *link;        /* owned; dead once PAIRED or CLOSED */
    struct conn_ref *ref;        /* owned, from ASK on in TLS; how other threads reach it */
    struct conn_ref *rival;      /* DUEL: owned; whose place it wants */
    struct conn_ref *challenger; /* JOINED: owned; who waits for a sign of life */
    struct st_session *session;  /* WAIT */
    unsigned side;               /* of @session */
    unsigned state;              /* enum st_conn_state */
    enum close_reason reason;    /* HANGUP: what it ends for */
    uint64_t since;              /* when it entered @state */
    uint64_t opened;             /* when it was accepted */
    struct door_place place;     /* held until it is known */
    uint64_t heard;              /* JOINED: when the last message came */
    uint64_t next_ping;          /* JOINED */
    uint64_t moves_at;           /* JOINED, when a new process has taken over: when it goes there */
    unsigned epoch;              /* of the last order to drain that was looked at */
    uint64_t leave_at;           /* JOINED, while the proxy drains: when it goes; 0: it stays */
    struct st_device device;     /* from ASK on */
    bool secured;                /* counted in the relay's number of such */
    uint8_t got;                 /* bytes of @header */
    uint16_t filled;             /* bytes of @payload */
    uint8_t header[ST_HEADER];   /* of the message that is coming in */
    uint8_t *payload;            /* owned; of the same, once its length is known */
};

/* st_conn_new - take over @link, just accepted, and @place, which admit_place() gave for it (NULL
 * for none). Returns 0, or -ENOMEM and then the link is closed and the place given back. */
int st_conn_new(struct st_worker *part, struct st_link *link, const struct door_place *place);

/* st_conn_close - the one way to end it. A second call does nothing. The memory stays until the
 * part is reaped. */
void st_conn_close(struct st_conn *conn, enum close_reason reason);

/* st_conn_free - for the reaper: frees a closed conn; returns the next closed one. */
struct st_conn *st_conn_free(struct st_conn *conn);

/* st_conn_tick - deadlines and keepalive. */
void st_conn_tick(struct st_conn *conn, uint64_t now);

/* st_conn_take - the session begins: hand its link over. It ends with the session, which counts
 * that. */
struct st_link *st_conn_take(struct st_conn *conn);

/* st_conn_arrive - on the thread of @part: a conn that came by mail to where its partner waits. */
void st_conn_arrive(struct st_conn *conn, struct st_worker *part);

/* By mail: see st_relay.h. */
void st_conn_invite(struct st_conn *conn, const struct st_invitation *invitation);
void st_conn_challenge(struct st_conn *conn, struct conn_ref *challenger);
void st_conn_verdict(struct st_conn *conn, bool alive);

/* st_conn_recheck - the list of allowed devices has changed. */
void st_conn_recheck(struct st_conn *conn);

static inline bool st_conn_is_over(const struct st_conn *conn)
{
    return conn->state >= ST_PAIRED;
}

#endif
