/* quic_endpoint.h - QUIC connections over UDP, and their streams as pipes of bytes.
 *
 * An endpoint lives in one loop and on one thread. It may listen, dial, or both. A connection to an
 * address is shared by the streams dialled to it, until it is worn, and ends when none is left.
 * Everything that ngtcp2 (RFC 9000) is used for happens here and in the files quic_*.c; above it
 * are only streams.
 *
 *   quic_packet.c    datagrams and sockets           quic_guard.c    what a peer may make us do
 *   quic_tokens.c    answers without a connection    quic_chain.c    bytes in blocks
 *   quic_endpoint.c  whose packet is it              quic_conn.c     one connection
 *   quic_dial.c      from a name to a connection     quic_stream.c   one stream
 *   quic_pace.c      when packets go                 quic_shared.c   dialled from where we answer
 *   quic_poke.c      what opens a NAT first          quic_tls.c      who the other side is
 *   quic_conn_read.c, quic_conn_write.c, quic_conn_watch.c: its packets, and whether they arrive
 *
 * Both sides show the certificate of their identity and check the other's within the handshake, so
 * that only members of the domain reach what follows it.
 */
#ifndef FL_LEG_QUIC_ENDPOINT_H
#define FL_LEG_QUIC_ENDPOINT_H

#include <stdbool.h>
#include <uv.h>

#include "identity/identity.h"
#include "leg/leg.h"
#include "leg/quic_poke.h"

#define QUIC_ALPN "fairlead/1"

struct quic_endpoint;
struct quic_stream;

struct quic_endpoint_config {
    uv_loop_t *loop;
    struct identity *identity; /* shown to peers; whom it trusts is let in; a reference is taken */
    unsigned connections;      /* at once, besides unfinished ones; 0: 1024 */
    unsigned handshakes; /* unfinished, above which a client has to show first that it is where it
                            says it is (Retry); four times as many are the most, of which one
                            address may have a sixteenth, one network a fourth (prefix.h), and as
                            many again before they have to show where they are. 0: 64 */
    unsigned streams;    /* that a peer may have open on a connection; 0: 256 */
    void *ctx;           /* for accepted() */
    /* A peer opened a stream; the callee's to close. Called from the loop. NULL: never listens. */
    void (*accepted)(void *ctx, struct quic_stream *stream);
    /* A connection that we dialled and that was open fell silent, and ends. Not after
     * quic_endpoint_stop(). May be NULL. */
    void (*silent)(void *ctx, const char *host, uint16_t port);
};

/* What may be read for metrics. */
struct quic_endpoint_stats {
    uint64_t connections; /* that are there */
    uint64_t handshakes;  /* of them, not finished */
    uint64_t refused;     /* handshakes that failed, connections that were one too many */
    uint64_t crowded;     /* newcomers whose address or network had too many handshakes */
    uint64_t retries, negotiations, resets; /* answers sent without a connection */
    uint64_t dropped;                       /* datagrams that led to nothing */
    uint64_t guarded;                       /* connections that ended for a flood of frames */
    uint64_t receive_buffer;                /* bytes that the kernel granted, the least of all */
};

/* quic_endpoint_new - returns 0, -ENOMEM, -FL_ETLS (no library, or too old a one), -FL_EKEY. */
int quic_endpoint_new(const struct quic_endpoint_config *config,
                      struct quic_endpoint **ret_endpoint);

/* quic_endpoint_listen - answer at @host ("" for all addresses) and @port (0: any); up to 16 times.
 * Returns 0, a negative errno, -FL_ENOTHERE. */
int quic_endpoint_listen(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                         uint16_t *ret_port);

/* quic_endpoint_take - answer on @fd, a UDP socket that somebody else has bound; it is the
 * endpoint's from now on, closed on failure too. Returns as quic_endpoint_listen().
 * quic_endpoint_fd - the socket of the latest quic_endpoint_listen(), which stays the endpoint's.
 */
int quic_endpoint_take(struct quic_endpoint *endpoint, int fd);
int quic_endpoint_fd(const struct quic_endpoint *endpoint);

/* quic_endpoint_set_identity - for handshakes from now on. */
void quic_endpoint_set_identity(struct quic_endpoint *endpoint, struct identity *identity);

/* quic_endpoint_set_connections - how many there may be from now on (1 or more); those that are
 * there stay. */
void quic_endpoint_set_connections(struct quic_endpoint *endpoint, unsigned connections);

void quic_endpoint_stats(const struct quic_endpoint *endpoint, struct quic_endpoint_stats *ret);

/* quic_endpoint_stop - take no more connections and streams, and close when all streams are
 * closed and delivered, after 3 s or so in any case; @endpoint is dead for the caller.
 * quic_endpoint_close - at once: what was written goes out as far as the peers allow, and every
 * connection is closed; streams that are left fail without a word, and are their owners' to close
 * still. */
void quic_endpoint_stop(struct quic_endpoint *endpoint);
void quic_endpoint_close(struct quic_endpoint *endpoint);

/* quic_endpoint_poke - a poke to @remote, from the socket that QUIC_SHARED dials from. Returns 0,
 * -EAGAIN, another negative errno, -FL_ECLOSED. quic_endpoint_expect_poke - see quic_poke.h. */
int quic_endpoint_poke(struct quic_endpoint *endpoint, const struct quic_address *remote,
                       const uint8_t tag[static QUIC_POKE_TAG]);
int quic_endpoint_expect_poke(struct quic_endpoint *endpoint,
                              const uint8_t tag[static QUIC_POKE_TAG], quic_poke_heard *heard,
                              void *ctx);
void quic_endpoint_forget_poke(struct quic_endpoint *endpoint,
                               const uint8_t tag[static QUIC_POKE_TAG]);

/* ---- streams ---- */

/* quic_stream_handler - as leg_handler(): a set of enum leg_event, from the loop. */
typedef void quic_stream_handler(void *ctx, struct quic_stream *stream, unsigned events);

/* quic_endpoint_dial - a new stream to @host:@port, over the connection that is there, or a new
 * one: also when that has carried much over a long line, up to four at once. LEG_OPENED or
 * LEG_FAILED follows. Returns 0 or -ENOMEM. */
int quic_endpoint_dial(struct quic_endpoint *endpoint, const char *host, uint16_t port,
                       quic_stream_handler *handler, void *ctx, struct quic_stream **ret_stream);

/* quic_endpoint_dial_from - the same; connections are shared by those of one @from only.
 * QUIC_SHARED: from the socket that we answer at, or, where we answer nowhere, from one that is
 * made now, and given up when it has not been used for a minute. QUIC_PUNCHED: so too, to a peer
 * that waits for it behind a router: it answers within six seconds or not at all. */
enum quic_from { QUIC_OWN, QUIC_SHARED, QUIC_PUNCHED };
int quic_endpoint_dial_from(struct quic_endpoint *endpoint, enum quic_from from, const char *host,
                            uint16_t port, quic_stream_handler *handler, void *ctx,
                            struct quic_stream **ret_stream);

/* quic_endpoint_reaches - is there a connection to @host:@port that a stream can open on now? */
bool quic_endpoint_reaches(const struct quic_endpoint *endpoint, const char *host, uint16_t port);

/* quic_endpoint_doubts - is there one, and has it stopped answering? It may come back. */
bool quic_endpoint_doubts(const struct quic_endpoint *endpoint, const char *host, uint16_t port);

void quic_stream_set_handler(struct quic_stream *stream, quic_stream_handler *handler, void *ctx);

/* quic_stream_want - which events to be told of, level-triggered. LEG_READABLE: @need bytes are
 * there, or all that will ever come. SIZE_MAX: never again. */
void quic_stream_want(struct quic_stream *stream, unsigned events);
void quic_stream_need(struct quic_stream *stream, size_t need);

/* quic_stream_unread - bytes received and not taken. quic_stream_peek - copy the first @len of
 * them, which must be there. quic_stream_take - the same, and give the peer credit for as many. */
size_t quic_stream_unread(const struct quic_stream *stream);
void quic_stream_peek(const struct quic_stream *stream, void *dst, size_t len);
void quic_stream_take(struct quic_stream *stream, void *dst, size_t len);

/* quic_stream_finished - has the peer finished? What is unread is all that there will be. */
bool quic_stream_finished(const struct quic_stream *stream);

/* quic_stream_error - why it is over, negative; 0: it is not. What was received before may still be
 * taken. */
int quic_stream_error(const struct quic_stream *stream);

/* quic_stream_room - will quic_stream_write() take something? */
bool quic_stream_room(const struct quic_stream *stream);

/* quic_stream_write - all of @len bytes. Returns 0, -EAGAIN (nothing was taken), -ENOMEM, or what
 * quic_stream_error() says. quic_stream_finish - nothing follows. */
int quic_stream_write(struct quic_stream *stream, const void *data, size_t len);
void quic_stream_finish(struct quic_stream *stream);

/* quic_stream_abort - both halves are reset, what is unread is dropped, and LEG_FAILED is told in
 * the next turn with @error, unless the stream has failed before. */
void quic_stream_abort(struct quic_stream *stream, int error);

/* quic_stream_close - @graceful: deliver what was written, finish, and give the peer 5 s to do the
 * same; else both halves are reset. No callback follows. */
void quic_stream_close(struct quic_stream *stream, bool graceful);

/* quic_stream_exporter - 32 bytes that only the two ends of this stream know: of the connection's
 * TLS, with @context and the stream's number as context. Returns 0 or -FL_ETLS. */
int quic_stream_exporter(const struct quic_stream *stream, const char *label, uint8_t context,
                         uint8_t ret_out[static 32]);

/* quic_stream_remote - the other end's address; good until the loop's next turn. */
const struct sockaddr *quic_stream_remote(const struct quic_stream *stream);

/* quic_stream_rtt - the shortest round trip of its connection, microseconds; 0: not known. */
uint64_t quic_stream_rtt(const struct quic_stream *stream);

/* quic_stream_peer - the other end's address as text. */
void quic_stream_peer(const struct quic_stream *stream, char ret_text[static LEG_ADDRESS_MAX]);

#endif
