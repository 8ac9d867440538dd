#include "proxy/visitor.h"

#include <stdlib.h>

#include "base/error.h"
#include "proxy/face.h"

_Static_assert(FACE_ANSWER_MAX <= FRAME_MAX, "an answer fits a worker's buffer and one record");

static int64_t wall(const struct conn *conn)
{
    return conn->worker->env.wall(conn->worker->env.ctx);
}

/* Whether the bytes were taken makes no difference: the leg ends. */
static void say(struct conn *conn, const uint8_t *answer, size_t len, enum close_reason reason)
{
    (void)leg_send_text(conn->leg, answer, len);
    conn_close(conn, reason);
}

static void take(struct conn *conn, const void *text, size_t len)
{
    uint8_t *out = conn->worker->out;
    if (len == 0 || !face_take(conn->face, text, len))
        return;
    bool page = conn->face->head.status == HTTP_OK;
    say(conn, out, face_answer(conn->face, wall(conn), out), page ? CLOSE_VISITOR : CLOSE_FRAME);
}

/* The exporter tells whether there is encryption (leg.h). The time for a request runs from the end
 * of the handshake, as that for a HELLO. */
void visitor_begin(struct conn *conn, const void *text, size_t len)
{
    uint8_t exporter[32];
    uint64_t since = conn->since;

    conn->face = malloc(sizeof(*conn->face));
    if (!conn->face) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    face_init(conn->face, leg_exporter(conn->leg, 0, exporter) != 0);
    conn_move(conn, CONN_FACE);
    conn->since = since;
    take(conn, text, len);
}

void visitor_read(struct conn *conn)
{
    while (conn->state == CONN_FACE) {
        ssize_t n = leg_recv_text(conn->leg, conn->worker->in);
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            conn_close(conn, n == 0 ? CLOSE_GONE : close_reason_of_error((int)n));
        else
            take(conn, conn->worker->in, (size_t)n);
    }
}

void visitor_refuse(struct conn *conn, enum close_reason reason)
{
    uint8_t *out = conn->worker->out;
    say(conn, out, face_refusal(wall(conn), out), reason);
}

void visitor_done(struct conn *conn)
{
    free(conn->face);
    conn->face = NULL;
}
