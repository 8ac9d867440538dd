/* outbox.h - a byte queue in which every frame is contiguous, so that it can be built in place and
 * whole stretches be encrypted from where they lie. It wraps by leaving the tail unused, never by
 * copying. */
#ifndef FL_TUNNEL_OUTBOX_H
#define FL_TUNNEL_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

/* Held: first [start, end), then [0, wrapped). */
struct outbox {
    uint8_t *data; /* owned; NULL until first used */
    size_t cap;    /* of @data */
    size_t start, end;
    size_t wrapped;  /* end of the part that went round; 0: none */
    size_t reserved; /* where the open reservation lies; SIZE_MAX: none */
};

/* outbox_init - at most @cap bytes; memory comes with the first reservation. */
void outbox_init(struct outbox *box, size_t cap);
void outbox_done(struct outbox *box); /* also to give the memory back while it is empty */

static inline size_t outbox_held(const struct outbox *box)
{
    return box->end - box->start + box->wrapped;
}

/* outbox_reserve - @len contiguous bytes to write to, or NULL: no such stretch, or no memory. */
uint8_t *outbox_reserve(struct outbox *box, size_t len);

/* outbox_commit - the first @len bytes of the reservation are queued; it ends with that. */
void outbox_commit(struct outbox *box, size_t len);

/* outbox_head - the first contiguous stretch; *ret_len may be 0. */
const uint8_t *outbox_head(const struct outbox *box, size_t *ret_len);
void outbox_consume(struct outbox *box, size_t len);

/* outbox_clear - forget what is held. */
void outbox_clear(struct outbox *box);

#endif
