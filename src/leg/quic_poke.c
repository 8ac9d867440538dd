#include "leg/quic_poke.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "leg/address.h"

#define HEAD_BYTES 8

static const uint8_t head[HEAD_BYTES] = {0x04, 1};

void quic_poke_write(const uint8_t tag[static QUIC_POKE_TAG],
                     uint8_t ret_data[static QUIC_POKE_BYTES])
{
    memcpy(ret_data, head, HEAD_BYTES);
    memcpy(ret_data + HEAD_BYTES, tag, QUIC_POKE_TAG);
}

bool quic_poke_is(const uint8_t *data, size_t len)
{
    return len == QUIC_POKE_BYTES && memcmp(data, head, HEAD_BYTES) == 0;
}

static struct quic_poke_wait *find(struct quic_pokes *pokes, const uint8_t *tag)
{
    for (size_t i = 0; pokes->count > 0 && i < QUIC_POKES_MAX; i++) {
        struct quic_poke_wait *wait = &pokes->waits[i];
        if (wait->heard && memcmp(wait->tag, tag, QUIC_POKE_TAG) == 0)
            return wait;
    }
    return NULL;
}

int quic_pokes_expect(struct quic_pokes *pokes, const uint8_t tag[static QUIC_POKE_TAG],
                      quic_poke_heard *heard, void *ctx)
{
    struct quic_poke_wait *wait = pokes->waits;

    if (find(pokes, tag))
        return -FL_EEXISTS;
    if (pokes->count == QUIC_POKES_MAX)
        return -ENOSPC;
    while (wait->heard)
        wait++;
    *wait = (struct quic_poke_wait){.heard = heard, .ctx = ctx};
    memcpy(wait->tag, tag, QUIC_POKE_TAG);
    pokes->count++;
    return 0;
}

void quic_pokes_forget(struct quic_pokes *pokes, const uint8_t tag[static QUIC_POKE_TAG])
{
    struct quic_poke_wait *wait = find(pokes, tag);

    if (!wait)
        return;
    *wait = (struct quic_poke_wait){0};
    pokes->count--;
}

/* Whether @from is one to be told, and from now on one that was. */
static bool is_new(struct quic_poke_wait *wait, const struct quic_address *from)
{
    for (unsigned i = 0; i < wait->count; i++) {
        if (quic_address_equal(&wait->told[i], from))
            return false;
    }
    if (wait->count == QUIC_POKE_SOURCES)
        return false;
    wait->told[wait->count++] = *from;
    return true;
}

bool quic_pokes_take(struct quic_pokes *pokes, const struct quic_address *from,
                     const uint8_t data[static QUIC_POKE_BYTES])
{
    struct quic_poke_wait *wait = find(pokes, data + HEAD_BYTES);
    char text[LEG_ADDRESS_MAX];

    if (!wait)
        return false;
    if (is_new(wait, from))
        wait->heard(wait->ctx, address_text(&from->any, text));
    return true;
}
