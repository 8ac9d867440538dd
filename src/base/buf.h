/* buf.h - a byte queue of fixed capacity: append at the end, consume at the front. */
#ifndef FL_BASE_BUF_H
#define FL_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* owned; @cap bytes */
    size_t cap;    /* never grows */
    size_t start;  /* first byte held */
    size_t end;    /* one past the last */
};

/* buf_init - allocate @cap bytes. Returns 0 or -ENOMEM. */
int buf_init(struct buf *buf, size_t cap);
void buf_done(struct buf *buf);

/* buf_len - bytes held; buf_head - the first of them. */
static inline size_t buf_len(const struct buf *buf)
{
    return buf->end - buf->start;
}
static inline uint8_t *buf_head(const struct buf *buf)
{
    return buf->data + buf->start;
}

/* buf_room - contiguous bytes that may be appended, after moving the content to the front if that
 * is needed to have @want of them. May be less than @want. */
size_t buf_room(struct buf *buf, size_t want);

/* buf_tail - where to append; then buf_commit() what was written there. */
static inline uint8_t *buf_tail(const struct buf *buf)
{
    return buf->data + buf->end;
}
void buf_commit(struct buf *buf, size_t n);

/* buf_append - all of it or -ENOBUFS. */
int buf_append(struct buf *buf, const void *data, size_t len);

/* buf_consume - drop @n bytes from the front; @n at most buf_len(). */
void buf_consume(struct buf *buf, size_t n);

#endif
