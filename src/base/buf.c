/* buf.c - a byte queue of fixed capacity. */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int buf_init(struct buf *buf, size_t cap)
{
    uint8_t *data = malloc(cap ? cap : 1);

    if (!data)
        return -ENOMEM;
    *buf = (struct buf){.data = data, .cap = cap};
    return 0;
}

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

size_t buf_room(struct buf *buf, size_t want)
{
    if (buf->cap - buf->end < want && buf->start > 0) {
        size_t len = buf_len(buf);

        memmove(buf->data, buf->data + buf->start, len);
        buf->start = 0;
        buf->end = len;
    }
    return buf->cap - buf->end;
}

void buf_commit(struct buf *buf, size_t n)
{
    assert(n <= buf->cap - buf->end);
    buf->end += n;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
    if (buf_room(buf, len) < len)
        return -ENOBUFS;
    if (len > 0)
        memcpy(buf_tail(buf), data, len);
    buf->end += len;
    return 0;
}

void buf_consume(struct buf *buf, size_t n)
{
    assert(n <= buf_len(buf));
    buf->start += n;
    /* An empty queue starts over, so that the next append needs no move. */
    if (buf->start == buf->end)
        buf->start = buf->end = 0;
}
