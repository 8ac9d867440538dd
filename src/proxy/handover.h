/* handover.h - what an old process of a proxy and its successor say to each other. Pure: bytes to
 * messages; sockets are handover_link.h, the old side handover_uv.h, the new one takeover.h.
 *
 *   successor                                  running process
 *   HELLO(version)                       ->
 *                                        <-    WELCOME(version, n) | REFUSED
 *                                        <-    n x SOCKET(name) + descriptor
 *   PREPARED                             ->                             nothing has changed so far
 *                                        <-    SESSION + descriptors, HELD …     each one at rest
 *                                        <-    DENIED …, END(count)
 *   READY(count)                         ->
 *                                        <-    COMMIT                   now they are the
 * successor's
 *
 * One sendmsg(2) decides: when COMMIT went out, the running process lets go of everything named
 * above; before that, whatever goes wrong, by whoever's fault or death, it goes on with all of it.
 * The successor touches no socket before it has COMMIT. Until then both have the same descriptors,
 * so neither's end closes a connection.
 *
 * Passed are the listening sockets, this unix socket among them, and the sessions that are raw both
 * ways, with what their pipes hold; those of Syncthing devices, which always are, too. What has TLS
 * state stays: sessions that are not raw end in the old process, and control legs register anew.
 * Keys of sessions that nobody has joined yet are not passed either: for a session whose one side
 * waits in the old process they would be of no use, and callers ask again at once for the rest; so
 * no secret crosses, and no key can be used twice.
 */
#ifndef FL_PROXY_HANDOVER_H
#define FL_PROXY_HANDOVER_H

#include "handover.pb.h"
#include "wire/message.h"

#define HANDOVER_VERSION 1
#define HANDOVER_FDS     6 /* of one message at most: two sockets, two pipes */

/* Frame types on the unix socket; numbers of their own. */
enum handover_type {
    HANDOVER_HELLO = 1,
    HANDOVER_WELCOME,
    HANDOVER_REFUSED,
    HANDOVER_SOCKET,
    HANDOVER_PREPARED,
    HANDOVER_SESSION,
    HANDOVER_HELD, /* the bytes themselves; flag bit 0: of the callee's flow */
    HANDOVER_DENIED,
    HANDOVER_END,
    HANDOVER_READY,
    HANDOVER_COMMIT,
    HANDOVER_TYPES,
};

/* One message, decoded. */
struct handover_message {
    enum handover_type type;
    union {
        fl_HandoverHello hello;
        fl_HandoverWelcome welcome;
        fl_HandoverRefused refused;
        fl_HandoverSocket socket;
        fl_HandoverSession session;
        fl_HandoverCount count; /* PREPARED, END, READY, COMMIT */
        fl_Denied denied;
        struct {
            unsigned side;       /* whose flow */
            const uint8_t *data; /* into the bytes decoded */
            size_t len;
        } held;
    };
};

/* handover_encode - one datagram of @type for @message (the struct that belongs to it) into @dst.
 * Returns its size, or as message_encode(). */
int handover_encode(enum handover_type type, const void *message, uint8_t *dst, size_t cap);

/* handover_encode_held - @len bytes of the flow of @side. Returns its size or -ENOBUFS. */
int handover_encode_held(unsigned side, const void *data, size_t len, uint8_t *dst, size_t cap);

/* handover_decode - the datagram @src, which came with @fds descriptors. Each type has a number of
 * them; a session's fields must fit together. Returns 0, -FL_EFRAME, -FL_EMESSAGE. */
int handover_decode(const uint8_t *src, size_t len, unsigned fds,
                    struct handover_message *ret_message);

/* handover_of_devices - is @session one of Syncthing devices? */
bool handover_of_devices(const fl_HandoverSession *session);

/* handover_pipes - how many pipes come with @session. */
unsigned handover_pipes(const fl_HandoverSession *session);

const char *handover_name(enum handover_type type);

#endif
