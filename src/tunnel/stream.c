/* stream.c - between GnuTLS and a leg. */
#include "tunnel/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "wire/close_reason.h"
#include "wire/message.h"

/* Beyond what leaves at once: a KeyUpdate that GnuTLS owes, an alert, a handshake flight. */
#define STAGE_MAX (LEG_DATA_MAX + 2048)

struct stream_buffers {
    uint8_t in[LEG_BUFFER];                  /* the DATA frame being fed to GnuTLS */
    uint8_t stage[FRAME_HEADER + STAGE_MAX]; /* records for the leg, after room for a header */
};

/* ---- out ---- */

int stream_flush(struct stream *stream)
{
    while (stream_staged(stream) > 0) {
        size_t most = leg_data_max(stream->leg);
        size_t n = stream_staged(stream) < most ? stream_staged(stream) : most;
        /* The header overwrites bytes that are gone already, or the room at the front. */
        uint8_t *data = stream->buffers->stage + FRAME_HEADER + stream->stage_start;
        int r = leg_send_data(stream->leg, data, n);
        if (r < 0)
            return r;
        stream->stage_start += (size_t)r;
        stream->sent += (uint64_t)r;
    }
    stream->stage_start = stream->stage_end = 0;
    return 0;
}

static ssize_t push(gnutls_transport_ptr_t ptr, const void *data, size_t len)
{
    struct stream *stream = ptr;
    if (STAGE_MAX - stream->stage_end < len && stream_flush(stream) < 0) {
        gnutls_transport_set_errno(stream->tls, EAGAIN);
        return -1;
    }
    size_t room = STAGE_MAX - stream->stage_end;
    size_t n = len < room ? len : room;
    memcpy(stream->buffers->stage + FRAME_HEADER + stream->stage_end, data, n);
    stream->stage_end += n;
    return (ssize_t)n;
}

/* ---- in ---- */

static int take_abort(struct stream *stream, const struct frame *frame)
{
    fl_Abort said;
    char safe[STREAM_TEXT_MAX / 2];
    if (message_decode(fl_Abort_fields, frame, &said) < 0)
        return -FL_EMESSAGE;
    log_escape(safe, sizeof(safe), said.text, strlen(said.text));
    (void)snprintf(stream->text, sizeof(stream->text), "the proxy ended the session: %s%s%s",
                   close_reason_text(said.code), safe[0] ? ": " : "", safe);
    return -FL_EPEER;
}

static int take_frame(struct stream *stream, const struct frame *frame)
{
    int r = frame_check(frame, PHASE_SESSION);
    if (r != 0)
        return r > 0 ? 0 : r;
    if (frame->type == FRAME_ABORT)
        return take_abort(stream, frame);
    if (frame->type == FRAME_EOF)
        return -FL_EEOF;
    if (frame->type == FRAME_RAW) /* the leg has taken note; what comes next is DATA again */
        return stream->raw ? 0 : -FL_EPHASE;
    stream->in = frame->body;
    stream->in_len = frame->len;
    return 0;
}

/* The next bytes for GnuTLS. 0: there are some; -EAGAIN also when this turn's budget is used up,
 * the leg then calls again; -FL_EEOF; other: the leg is over. */
static int fill(struct stream *stream)
{
    struct frame frame;
    while (stream->in_len == 0) {
        if (stream->ended)
            return -FL_EEOF;
        if (stream->budget == 0)
            return -EAGAIN;
        stream->budget--;
        int r = leg_recv(stream->leg, stream->buffers->in, &frame);
        if (r == 0)
            r = take_frame(stream, &frame);
        if (r == -FL_EEOF)
            stream->ended = true;
        else if (r < 0 && r != -EAGAIN)
            stream->error = r;
        if (r < 0)
            return r;
    }
    return 0;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *dst, size_t len)
{
    struct stream *stream = ptr;
    if (tls_meter_over(&stream->meter)) {
        stream->error = -FL_ETLS;
        gnutls_transport_set_errno(stream->tls, ECONNRESET);
        return -1;
    }
    int r = fill(stream);
    if (r == -FL_EEOF)
        return 0;
    if (r < 0) {
        gnutls_transport_set_errno(stream->tls, r == -EAGAIN ? EAGAIN : ECONNRESET);
        return -1;
    }
    size_t n = len < stream->in_len ? len : stream->in_len;
    memcpy(dst, stream->in, n);
    stream->in += n;
    stream->in_len -= n;
    tls_meter_add(&stream->meter, n);
    return (ssize_t)n;
}

/* GnuTLS asks before a blocking wait; there is none here. */
static int pull_wait(gnutls_transport_ptr_t ptr, unsigned ms)
{
    return 1;
}

void stream_drain(struct stream *stream)
{
    do {
        stream->in_len = 0;
    } while (!stream->ended && fill(stream) == 0);
}

/* ---- life ---- */

void stream_init(struct stream *stream, struct leg *leg, gnutls_session_t tls)
{
    *stream = (struct stream){.leg = leg, .tls = tls};
    /* Own functions always: with GnuTLS's own, a system setting could turn on kernel TLS. */
    gnutls_transport_set_ptr(tls, stream);
    gnutls_transport_set_push_function(tls, push);
    gnutls_transport_set_pull_function(tls, pull);
    gnutls_transport_set_pull_timeout_function(tls, pull_wait);
}

int stream_ready(struct stream *stream)
{
    if (!stream->buffers)
        stream->buffers = malloc(sizeof(*stream->buffers));
    return stream->buffers ? 0 : -ENOMEM;
}

bool stream_empty(const struct stream *stream)
{
    return stream_staged(stream) == 0 && stream->in_len == 0;
}

void stream_rest(struct stream *stream)
{
    free(stream->buffers);
    stream->buffers = NULL;
}
