/* stream.h - the stream of a leg under a TLS session: what GnuTLS writes leaves as DATA frames, and
 * DATA frames are what it reads.
 *
 * Out, records are staged behind room for a frame header, so that one full record leaves as exactly
 * one DATA frame without another copy, and several at once where bytes travel bare; whoever makes
 * records looks first whether the stage can take one, thus gnutls_record_send() never stops
 * half-way.
 */
#ifndef FL_TUNNEL_STREAM_H
#define FL_TUNNEL_STREAM_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "identity/tls.h"
#include "leg/leg.h"

#define STREAM_TEXT_MAX 192

/* A TLS 1.3 record of n bytes has n + 22 on the wire: header 5, content type 1, tag 16 (RFC 8446
 * §5.2). */
#define STREAM_RECORD_EXTRA 22
#define STREAM_RECORD_MAX   (FRAME_BODY_MAX - STREAM_RECORD_EXTRA)

struct stream_buffers;

struct stream {
    struct leg *leg;                /* not owned */
    gnutls_session_t tls;           /* not owned */
    struct stream_buffers *buffers; /* owned; only there while something flows */
    const uint8_t *in;              /* what GnuTLS has not pulled yet of the last DATA frame */
    size_t in_len;
    size_t stage_start, stage_end; /* staged bytes */
    struct tls_meter meter;        /* reset by the owner when GnuTLS has given something */
    unsigned budget; /* DATA frames that may still be taken this turn; set by the owner */
    uint64_t sent;   /* bytes that the leg took */
    bool raw;        /* the other side may say RAW */
    bool ended;      /* the leg's EOF is in */
    int error;       /* what the leg failed with while GnuTLS read; 0: nothing */
    char text[STREAM_TEXT_MAX]; /* what an ABORT said, for people */
};

/* stream_init - make @tls read and write through @leg. */
void stream_init(struct stream *stream, struct leg *leg, gnutls_session_t tls);

/* stream_ready - have buffers; before anything else in a turn. Returns 0 or -ENOMEM. */
int stream_ready(struct stream *stream);

/* stream_empty - nothing is held in either direction. stream_rest - give the buffers back, then or
 * at the end. */
bool stream_empty(const struct stream *stream);
void stream_rest(struct stream *stream);

static inline size_t stream_staged(const struct stream *stream)
{
    return stream->stage_end - stream->stage_start;
}

/* stream_takes - is there room for a record of @len bytes in what leaves next as one? If not:
 * stream_flush(). */
static inline bool stream_takes(const struct stream *stream, size_t len)
{
    return stream->stage_start == 0 &&
           stream->stage_end + len + STREAM_RECORD_EXTRA <= leg_data_max(stream->leg);
}

/* stream_flush - hand the leg what is staged. 0: all is gone; -EAGAIN; other: the leg is over. */
int stream_flush(struct stream *stream);

/* stream_drain - take and throw away what comes, up to the leg's EOF; sets ended or error. */
void stream_drain(struct stream *stream);

#endif
