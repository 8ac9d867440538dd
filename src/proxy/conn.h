/* conn.h - the proxy's side of one leg, from accept to its one close reason.
 *
 *   FIRST_BYTE -> HANDSHAKE -> HELLO -> READY -+-REGISTER-> CONTROL
 *                                |             '-JOIN-> JOINING -> GREETING -> SESSION
 *                                '-no frame-> FACE
 *   every state -> CLOSING
 *
 * A conn is on one worker's thread; only JOINING moves it, once the other side of its session has
 * joined too, to where the session lives.
 */
#ifndef FL_PROXY_CONN_H
#define FL_PROXY_CONN_H

#include <stdbool.h>

#include "leg/leg.h"
#include "proxy/worker.h"

enum conn_state {
    CONN_FIRST_BYTE, /* nothing has come yet */
    CONN_HANDSHAKE,  /* the leg is setting up its encryption, or waits to */
    CONN_HELLO,      /* proof of identity awaited */
    CONN_FACE,       /* the peer speaks text: the rest of its request is awaited (visitor.c) */
    CONN_READY,      /* REGISTER or JOIN awaited */
    CONN_CONTROL,    /* registered */
    CONN_JOINING,    /* the other side is awaited; nothing is read */
    CONN_GREETING,   /* JOINED is on its way out; nothing is read */
    CONN_SESSION,    /* the pump has the leg */
    CONN_CLOSING,    /* closed; memory goes at the end of the turn */
    CONN_STATES,
};

struct control;
struct face;
struct out_frame;

struct conn {
    struct conn *prev, *next; /* worker's list of known ones or one of those of strangers */
    struct conn **list;       /* which of them */
    struct conn *closed;      /* worker's list of what waits to be freed */
    struct worker *worker;    /* whose thread it is on */
    struct leg *leg;          /* owned; dead once CLOSING */
    unsigned state;           /* enum conn_state */
    unsigned side;            /* of @session */
    uint64_t since;           /* when it entered @state */
    uint64_t opened;          /* when it was accepted */
    uint64_t served;          /* when we first did something for this stranger; 0: not yet */
    struct door_place place;  /* held until it is known */
    bool certified;           /* showed a certificate of our authority, good or not */
    struct party party;       /* from READY on */
    uint32_t caps;            /* HELLO_CAP_… that it offered */
    struct out_frame *out;    /* frames that the leg did not take yet, oldest first */
    uint32_t out_bytes;       /* of @out */
    struct control *control;  /* CONTROL */
    struct face *face;        /* FACE */
    struct session *session;  /* JOINING, GREETING, SESSION */
    struct conn_ref *ref;     /* JOINING: how the other side's thread reaches it; owned */
    struct worker *loads;     /* whose load it counts for, once its session has a home */
    struct account *account;  /* where it counts as a leg, from READY on; NULL for the console */
};

/* conn_new - take over @leg, just accepted, on @worker, and @place, which door_enter() gave for it
 * (NULL for none). Returns 0, or -ENOMEM and then the leg is closed and the place given back. */
int conn_new(struct worker *worker, struct leg *leg, const struct door_place *place);

/* conn_serve - for worker_turn(): the turn of a stranger that waited has come. */
void conn_serve(struct conn *conn, uint64_t now);

/* conn_close - the one way to end it, for @reason, told to a peer that has proved itself. With a
 * session, that ends as well. A second call does nothing. The memory stays until worker_turn(). */
void conn_close(struct conn *conn, enum close_reason reason);

/* conn_finish - conn_close() without looking at the session; for session.c, which ends both sides.
 * @abort is told instead of the reason when not NULL. */
void conn_finish(struct conn *conn, enum close_reason reason, const fl_Abort *abort);

/* conn_free - for worker_turn(): free a closed conn; returns the next closed one. */
struct conn *conn_free(struct conn *conn);

/* conn_tick - deadlines, keepalive, report. */
void conn_tick(struct conn *conn, uint64_t now);

/* conn_send - one frame in order; kept for a while when the leg is busy. A peer that lets too much
 * pile up is closed. */
void conn_send(struct conn *conn, uint8_t type, const void *body, size_t len);

/* conn_paired - the other side has joined too, and the session has a home: go there. */
void conn_paired(struct conn *conn);

/* conn_arrive - on the thread of @worker: a conn that came by mail, with its leg detached, to run
 * its session. */
void conn_arrive(struct conn *conn, struct worker *worker);

/* conn_leave - its leg is detached and may go to another process: nothing ticks it. conn_return -
 * it stays after all; wants are to be set anew. Returns 0 or a negative code, and the leg is in no
 * loop. */
void conn_leave(struct conn *conn);
int conn_return(struct conn *conn);

/* conn_adopt - @leg came from another process, in the middle of @session, as its @side. Returns
 * NULL without memory. */
struct conn *conn_adopt(struct session *session, unsigned side, struct leg *leg, uint32_t caps,
                        uint64_t opened);

/* conn_greet - the session begins: tell @joined, and session_greeted() once it is out. */
void conn_greet(struct conn *conn, const fl_Joined *joined);

/* conn_send_message - conn_send() of @message, encoded. */
void conn_send_message(struct conn *conn, uint8_t type, const pb_msgdesc_t *fields,
                       const void *message);

/* conn_move - the only way to change the state; starts its deadline. */
void conn_move(struct conn *conn, enum conn_state state);

static inline bool conn_is_closed(const struct conn *conn)
{
    return conn->state == CONN_CLOSING;
}

#endif
