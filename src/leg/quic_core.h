/* quic_core.h - what the quic_*.c files share: endpoint, connection, stream, dial. Not for others.
 *
 * Nothing is freed, and no handler called, from within a callback of ngtcp2: streams that have
 * something to tell and connections that have something to send are put in lists, which
 * quic_endpoint_turn() works off when the loop has polled and before it polls again.
 */
#ifndef FL_LEG_QUIC_CORE_H
#define FL_LEG_QUIC_CORE_H

#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "identity/tls.h"
#include "leg/prefix.h"
#include "leg/quic_chain.h"
#include "leg/quic_endpoint.h"
#include "leg/quic_guard.h"
#include "leg/quic_pace.h"
#include "leg/quic_packet.h"
#include "leg/quic_poke.h"
#include "leg/quic_tokens.h"
#include "leg/quic_wear.h"

#define QUIC_LISTEN_MAX 16
#define QUIC_PACKET_MAX 1500 /* bytes of one that we send; ngtcp2's probes end below it */

#ifndef QUIC_IDLE_US /* tests have less patience */
#define QUIC_IDLE_US (30 * CLOCK_SEC)
#endif
#define QUIC_KEEPALIVE_US (10 * CLOCK_SEC) /* home routers forget UDP after 30 s */

/* quic_stamp - now, as ngtcp2 counts. */
static inline ngtcp2_tstamp quic_stamp(void)
{
    return clock_now() * NGTCP2_MICROSECONDS;
}

/* quic_path_of - @path as ngtcp2 takes it; points into it. quic_path_from - the opposite, copied.
 */
static inline ngtcp2_path quic_path_of(const struct quic_path *path)
{
    return (ngtcp2_path){
        .local = {(ngtcp2_sockaddr *)&path->local.any, path->local.len},
        .remote = {(ngtcp2_sockaddr *)&path->remote.any, path->remote.len},
    };
}

static inline void quic_path_from(const ngtcp2_path *path, struct quic_path *ret_path)
{
    memcpy(&ret_path->local.any, path->local.addr, path->local.addrlen);
    ret_path->local.len = path->local.addrlen;
    memcpy(&ret_path->remote.any, path->remote.addr, path->remote.addrlen);
    ret_path->remote.len = path->remote.addrlen;
}

/* ---- streams ---- */

enum quic_stream_state {
    QSTREAM_NEW,     /* opened by the peer; nobody owns it yet */
    QSTREAM_WAITING, /* for its connection, or for the peer to allow one more */
    QSTREAM_OPEN,
    QSTREAM_LINGERING, /* its owner has closed it: deliver the rest */
    QSTREAM_FAILED,    /* no connection any more; its owner closes it */
    QSTREAM_GONE,
};

enum quic_rx_state { QRX_OPEN, QRX_FIN, QRX_RESET };
enum quic_tx_state { QTX_OPEN, QTX_FIN_QUEUED, QTX_FIN_SENT, QTX_RESET };

struct quic_stream {
    struct quic_stream *prev, *next;             /* of its connection, or of its dial */
    struct quic_stream *ready_prev, *ready_next; /* of those with something to send */
    struct quic_stream *tell_prev, *tell_next;   /* of those with something to tell */
    struct quic_endpoint *endpoint;              /* kept alive by this stream */
    struct quic_conn *conn;                      /* NEW, OPEN and LINGERING; else NULL */
    struct quic_dial *dial;                      /* WAITING */
    int64_t id;                                  /* on @conn */
    unsigned state;                              /* enum quic_stream_state */
    unsigned rx, tx;                             /* enum quic_rx_state, enum quic_tx_state */
    bool known;                                  /* to ngtcp2: not closed both ways yet */
    bool is_ready;                               /* in the connection's list */
    bool is_told;                                /* in the endpoint's list */
    bool blocked;                                /* the peer's window is full */
    unsigned wants;                              /* LEG_READABLE, LEG_WRITABLE */
    unsigned due;                                /* LEG_OPENED, LEG_FAILED */
    int error;                                   /* once it is over */
    size_t need;                                 /* bytes that make it readable */
    uint64_t deadline;                           /* LINGERING */
    struct quic_chain in;                        /* received, not taken */
    struct quic_chain out;                       /* written, not acknowledged */
    quic_stream_handler *handler;
    void *ctx; /* for it */
};

struct quic_stream *quic_stream_new(struct quic_endpoint *endpoint, enum quic_stream_state state);
void quic_stream_bind(struct quic_stream *stream, struct quic_conn *conn, int64_t id);

/* What ngtcp2 says of a stream. */
int quic_stream_received(struct quic_stream *stream, const uint8_t *data, size_t len, bool fin);
void quic_stream_acked(struct quic_stream *stream, size_t len);
void quic_stream_unblocked(struct quic_stream *stream);
void quic_stream_was_reset(struct quic_stream *stream);
void quic_stream_was_closed(struct quic_stream *stream);

/* quic_stream_fail - its connection is gone, or never came. */
void quic_stream_fail(struct quic_stream *stream, int error);

/* quic_stream_sent - @len bytes were put in a packet, and the end too if @fin.
 * quic_stream_cannot_send - not before the peer moves the window if @blocked, else never more. */
void quic_stream_sent(struct quic_stream *stream, size_t len, bool fin);
void quic_stream_cannot_send(struct quic_stream *stream, bool blocked);

/* quic_stream_tell - call the handler with what is due. quic_stream_tick - linger no longer. */
void quic_stream_tell(struct quic_stream *stream);
void quic_stream_tick(struct quic_stream *stream, uint64_t now);

/* quic_stream_waits - are there bytes that were sent and not acknowledged? */
bool quic_stream_waits(const struct quic_stream *stream);

/* ---- connections ---- */

enum quic_conn_state {
    QCONN_HANDSHAKE,
    QCONN_OPEN,
    QCONN_CLOSING, /* we have said CONNECTION_CLOSE, or the peer has */
    QCONN_GONE,    /* in the endpoint's list of the dead */
};

/* A connection id of ours, under which packets for @conn come. */
struct quic_route {
    ngtcp2_cid cid;
    struct quic_conn *conn;
    struct quic_route *next; /* of this connection */
    UT_hash_handle hh;       /* by the id's bytes */
};

struct quic_conn {
    struct quic_conn *prev, *next;             /* of the endpoint */
    struct quic_conn *dirty_prev, *dirty_next; /* of those that may have something to send */
    struct quic_conn *dead;                    /* next one to be freed */
    struct quic_endpoint *endpoint;
    struct quic_socket *socket; /* the client's own, or one that the endpoint answers at */
    struct quic_dial *dial;     /* the client's, until it is gone */
    ngtcp2_conn *ngtcp2;
    ngtcp2_crypto_conn_ref ref; /* how GnuTLS callbacks find @ngtcp2 */
    gnutls_session_t tls;
    struct identity *identity; /* a reference */
    uv_timer_t timer;          /* ngtcp2's next expiry, or that of @pace */
    unsigned state;            /* enum quic_conn_state */
    bool is_dirty;             /* in the endpoint's list */
    bool may_read_short;       /* client: 1-RTT packets are let through (quic_conn_read.c) */
    bool authentic;            /* the datagram being read has a packet of the peer's */
    bool dialled;              /* by us: we are the client */
    bool shared;               /* and that from a socket that we answer at (quic_shared.c) */
    struct prefixes *counted;  /* accepted, and not opened: of which it is one */
    struct prefix from;        /* there */
    int verdict;               /* why the peer's certificate was refused, or 0 */
    int error;                 /* why it ended, for its streams */
    uint64_t opened;           /* microseconds */
    uint64_t heard;            /* when the peer's last good packet came */
    uint64_t idle_since;       /* no stream is open; 0: one is */
    uint64_t moved;            /* when stream bytes last came, or arrived; 0: never */
    bool busy;                 /* that is not long ago */
    uint64_t asked; /* since when packets of ours have waited for any answer; 0: none do */
    uint64_t acked, acked_seen; /* acknowledgements of stream bytes; as of the last tick */
    unsigned stalls;            /* ticks in a row in which bytes waited and none came */
    uint64_t small_until;       /* no large packets until then: a black hole swallows them */
    unsigned holes;             /* how often that was so */
    struct quic_pace pace;
    bool paced; /* there is more to send than it allows */
    struct quic_wear wear;
    struct quic_guard guard;
    struct tls_meter meter; /* of all its handshake */
    uint64_t ids_second;    /* that @ids were made in */
    unsigned ids;           /* of ours, that the peer made us make */
    struct quic_route *routes;
    struct quic_stream *streams;
    struct quic_stream *ready; /* with something to send, the next one first */
    struct quic_path path;     /* the last one used */
    uint8_t *farewell;         /* CLOSING: our CONNECTION_CLOSE, to be repeated */
    size_t farewell_len;
    unsigned strays, farewell_at; /* packets since, and at how many it is sent again */
};

/* How a connection is dialled. */
struct quic_dialling {
    bool shared;           /* from a socket that we answer at; else from one of its own */
    uint64_t handshake_us; /* how long it may take to open */
    uint64_t rtt_us;       /* a guess; 0: the library's */
};

/* quic_conn_accept - the server's side of what @head begins. @odcid: of the Retry, or NULL.
 * quic_conn_dial - the client's. Return 0 or a negative code. */
int quic_conn_accept(struct quic_endpoint *endpoint, struct quic_socket *socket,
                     const struct quic_path *path, const ngtcp2_pkt_hd *head,
                     const ngtcp2_cid *odcid, struct quic_conn **ret_conn);
int quic_conn_dial(struct quic_endpoint *endpoint, const struct quic_address *remote,
                   const struct quic_dialling *how, struct quic_dial *dial,
                   struct quic_conn **ret_conn);

/* quic_conn_check_open - has its handshake been completed? Then its dial is told.
 * quic_conn_open_streams - those that wait, as many as the peer allows. */
void quic_conn_check_open(struct quic_conn *conn);
void quic_conn_open_streams(struct quic_conn *conn);

/* quic_conn_end - with CONNECTION_CLOSE where there is somebody to hear it; @reason NULL: no error
 * (0 of the application). Streams fail with @error. quic_conn_drop - without a word.
 * quic_conn_failed - as @code, an error of ngtcp2, asks for. */
void quic_conn_end(struct quic_conn *conn, const ngtcp2_ccerr *reason, int error);
void quic_conn_drop(struct quic_conn *conn, int error);
void quic_conn_failed(struct quic_conn *conn, int code);

/* quic_conn_stray - CLOSING, and one more packet came: it may have missed our CONNECTION_CLOSE. */
void quic_conn_stray(struct quic_conn *conn);

/* quic_conn_free - of the endpoint's dead alone. */
void quic_conn_free(struct quic_conn *conn);

/* ---- packets that come in (quic_conn_read.c) ---- */

extern const ngtcp2_callbacks quic_conn_callbacks; /* their user data: the connection */

/* quic_conn_read - a datagram of @len bytes that came by @path, for one of its ids. It may be
 * CLOSING or GONE afterwards. */
void quic_conn_read(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                    const uint8_t *data, size_t len);

/* ---- packets that go out (quic_conn_write.c) ---- */

/* quic_conn_touch - it may have something to send. quic_conn_write - send it, or what of it may go
 * now; the rest follows by itself. It may be CLOSING or GONE afterwards. */
void quic_conn_touch(struct quic_conn *conn);
void quic_conn_write(struct quic_conn *conn);

/* ---- is the way still good? (quic_conn_watch.c) ---- */

/* quic_conn_tick - once a second. It may be CLOSING or GONE afterwards. */
void quic_conn_tick(struct quic_conn *conn, uint64_t now);

/* quic_conn_worn - a new stream had better go over a new connection (quic_wear.h). */
bool quic_conn_worn(const struct quic_conn *conn);

/* quic_conn_doubtful - packets have waited for an answer longer than they should. */
bool quic_conn_doubtful(const struct quic_conn *conn, uint64_t now);

/* ---- their TLS (quic_tls.c) ---- */

/* quic_tls_open - after ngtcp2_conn_…_new(); conn->verdict is then why the peer was refused.
 * Returns 0 or a negative code. quic_tls_alert - to tell the peer in a CONNECTION_CLOSE.
 * quic_tls_error_of_close - what the peer has told in one, as an error of ours. */
int quic_tls_open(struct quic_conn *conn);
uint8_t quic_tls_alert(const struct quic_conn *conn);
int quic_tls_error_of_close(const struct quic_conn *conn);

/* ---- dials ---- */

struct quic_dial;

void quic_dial_opened(struct quic_dial *dial);
/* The connection is gone, with @error. Streams that wait get another address or fail. */
void quic_dial_lost(struct quic_dial *dial, int error);
void quic_dial_silent(const struct quic_dial *dial);
struct quic_stream *quic_dial_next_stream(const struct quic_dial *dial);
void quic_dial_forget(struct quic_dial *dial, struct quic_stream *stream);

/* quic_dial_leave - the same, by its owner: where nobody else waits, a peer behind a router is not
 * knocked at any longer. */
void quic_dial_leave(struct quic_dial *dial, struct quic_stream *stream);
void quic_dial_end_all(struct quic_endpoint *endpoint, int error);

/* ---- the endpoint ---- */

/* A batch that the kernel did not take. */
struct quic_stuck {
    struct quic_socket *socket;
    struct quic_path path;
    uint8_t ecn;
    size_t len, segment;
    uint8_t data[];
};

enum quic_endpoint_state { QEND_OPEN, QEND_STOPPING, QEND_CLOSED };

struct quic_endpoint {
    struct quic_endpoint_config config;
    struct identity *identity; /* a reference */
    unsigned state;            /* enum quic_endpoint_state */
    uint64_t stopped;          /* since when it is STOPPING */
    unsigned refs;             /* streams, and handles of the loop */
    struct quic_tokens tokens;
    struct quic_endpoint_stats stats;
    /* Handshakes of others that are not finished, and those that have failed while they are
     * CLOSING: of those that have shown by the token of a Retry that they are where they say, and
     * of those who may be anywhere. */
    struct prefixes *shown, *unshown;
    struct quic_socket *sockets[QUIC_LISTEN_MAX]; /* that we listen on */
    unsigned socket_count;
    unsigned shared;           /* connections dialled from one of them */
    struct quic_socket *made;  /* of them, by quic_shared.c; NULL: none */
    uint64_t made_used;        /* when that was last used */
    struct quic_pokes pokes;   /* that are waited for */
    struct quic_route *routes; /* hash */
    struct quic_conn *conns;
    struct quic_conn *dirty;
    struct quic_conn *dead; /* to be freed at the end of the turn */
    struct quic_stream *tell;
    unsigned tell_count; /* of them */
    struct quic_dial *dials;
    struct quic_stuck *stuck;
    uint8_t batch[QUIC_BATCH_BYTES + QUIC_PACKET_MAX]; /* packets being put together */
    uv_prepare_t prepare;                              /* before the loop polls */
    uv_check_t check;                                  /* and after */
    uv_idle_t idle;  /* active while the next turn has something to do */
    uv_timer_t tick; /* every second */
};

extern const struct quic_socket_ops quic_dialled_socket_ops; /* ctx: the connection */

int quic_endpoint_add_route(struct quic_conn *conn, const ngtcp2_cid *cid);
void quic_endpoint_remove_route(struct quic_conn *conn, const ngtcp2_cid *cid);
void quic_endpoint_unref(struct quic_endpoint *endpoint);

/* quic_endpoint_send - a batch; false: the kernel took it not now, it is kept, and nothing more may
 * be sent until it is gone. quic_endpoint_is_stuck - is that so for @socket? */
bool quic_endpoint_send(struct quic_endpoint *endpoint, struct quic_socket *socket,
                        const struct quic_path *path, uint8_t ecn, const uint8_t *data, size_t len,
                        size_t segment);
bool quic_endpoint_is_stuck(const struct quic_endpoint *endpoint);

/* quic_endpoint_drop_socket - a connection's own socket goes, or one that no connection is on. */
void quic_endpoint_drop_socket(struct quic_endpoint *endpoint, struct quic_socket *socket);

/* ---- connections from sockets that we answer at (quic_shared.c) ---- */

/* quic_shared_connect - the socket from which @remote is reached, made if there is none, and the
 * way as it is told to ngtcp2. Returns 0 or a negative errno (ENETUNREACH …). */
int quic_shared_connect(struct quic_endpoint *endpoint, const struct quic_address *remote,
                        struct quic_socket **ret_socket, struct quic_path *ret_path);

/* quic_shared_read - as quic_conn_read(), for a connection that is shared. false: it is not from
 * its peer, and was not read. */
bool quic_shared_read(struct quic_conn *conn, const struct quic_path *path, uint8_t ecn,
                      const uint8_t *data, size_t len);

/* quic_shared_was_reset - a packet with an id of nobody's: was it the Stateless Reset of such a
 * connection, which has ended thereby? */
bool quic_shared_was_reset(struct quic_endpoint *endpoint, const struct quic_socket *socket,
                           const struct quic_path *path, const uint8_t *data, size_t len);

void quic_shared_tick(struct quic_endpoint *endpoint, uint64_t now);

#endif
