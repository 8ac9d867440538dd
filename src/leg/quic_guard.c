#include "leg/quic_guard.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* One in a packet costs what any packet costs, an acknowledgement; and who only receives puts one
 * into every fourth of its own, to have them acknowledged. So only more of them count. */
#define QUIC_PING 0x01

/* Frames a second and connection. Measured at 2 Gbit/s over loopback, where windows move most
 * often, a transfer needs under a tenth of these. */
static const uint32_t budgets[GUARD_KINDS] = {
    [GUARD_FREE] = UINT32_MAX, [GUARD_CREDIT] = 20000, [GUARD_STREAM] = 2000,
    [GUARD_ID] = 100,          [GUARD_PATH] = 100,     [GUARD_REST] = 500,
};

/* What follows a frame's type, one letter a field: v integer, 8 eight bytes, t a token of 16, l
 * integer and so many bytes, c byte and so many bytes, a ranges of an acknowledgement, r the rest
 * of the packet. */
static const struct {
    const char *fields; /* NULL: no such frame */
    enum quic_guard_kind kind;
} frames[] = {
    [0x00] = {"", GUARD_FREE},       [0x01] = {"", GUARD_REST},      [0x02] = {"vva", GUARD_FREE},
    [0x03] = {"vvavvv", GUARD_FREE}, [0x04] = {"vvv", GUARD_STREAM}, [0x05] = {"vv", GUARD_STREAM},
    [0x06] = {"vl", GUARD_REST},     [0x07] = {"l", GUARD_REST},     [0x08] = {"vr", GUARD_FREE},
    [0x09] = {"vr", GUARD_FREE},     [0x0a] = {"vl", GUARD_FREE},    [0x0b] = {"vl", GUARD_FREE},
    [0x0c] = {"vvr", GUARD_FREE},    [0x0d] = {"vvr", GUARD_FREE},   [0x0e] = {"vvl", GUARD_FREE},
    [0x0f] = {"vvl", GUARD_FREE},    [0x10] = {"v", GUARD_CREDIT},   [0x11] = {"vv", GUARD_CREDIT},
    [0x12] = {"v", GUARD_STREAM},    [0x13] = {"v", GUARD_STREAM},   [0x14] = {"v", GUARD_CREDIT},
    [0x15] = {"vv", GUARD_CREDIT},   [0x16] = {"v", GUARD_STREAM},   [0x17] = {"v", GUARD_STREAM},
    [0x18] = {"vvct", GUARD_ID},     [0x19] = {"v", GUARD_ID},       [0x1a] = {"8", GUARD_PATH},
    [0x1b] = {"8", GUARD_PATH},      [0x1c] = {"vvl", GUARD_FREE},   [0x1d] = {"vl", GUARD_FREE},
    [0x1e] = {"", GUARD_REST},
};

struct reader {
    const uint8_t *at, *end;
};

static bool skip(struct reader *reader, uint64_t len)
{
    if (len > (uint64_t)(reader->end - reader->at))
        return false;
    reader->at += len;
    return true;
}

/* A variable-length integer (RFC 9000 §16). */
static bool read_integer(struct reader *reader, uint64_t *ret)
{
    uint64_t value;
    size_t len;

    if (reader->at == reader->end)
        return false;
    len = (size_t)1 << (*reader->at >> 6);
    if (len > (size_t)(reader->end - reader->at))
        return false;
    value = *reader->at & 0x3f;
    for (size_t i = 1; i < len; i++)
        value = value << 8 | reader->at[i];
    reader->at += len;
    *ret = value;
    return true;
}

static bool skip_ranges(struct reader *reader)
{
    uint64_t count, value;

    if (!read_integer(reader, &count) || !read_integer(reader, &value))
        return false;
    for (; count > 0; count--) { /* ends with the packet at the latest */
        if (!read_integer(reader, &value) || !read_integer(reader, &value))
            return false;
    }
    return true;
}

/* @ret_len: of the field's own bytes, where it has some. */
static bool skip_field(struct reader *reader, char field, uint64_t *ret_len)
{
    uint64_t value;

    switch (field) {
    case 'v':
        return read_integer(reader, &value);
    case '8':
        return skip(reader, 8);
    case 't':
        return skip(reader, 16);
    case 'l':
        return read_integer(reader, ret_len) && skip(reader, *ret_len);
    case 'c':
        return reader->at < reader->end && skip(reader, UINT64_C(1) + *reader->at);
    case 'a':
        return skip_ranges(reader);
    default:
        *ret_len = (uint64_t)(reader->end - reader->at);
        return skip(reader, *ret_len);
    }
}

/* A STREAM frame (0x08 to 0x0f) without FIN that carries nothing. */
static bool is_empty_stream(uint64_t type, uint64_t len)
{
    return (type & ~UINT64_C(7)) == 0x08 && !(type & 1) && len == 0;
}

static bool walk_one(struct reader *reader, uint64_t *ret_type, enum quic_guard_kind *ret_kind)
{
    uint64_t type, len = 0;

    if (!read_integer(reader, &type) || type >= sizeof(frames) / sizeof(frames[0]) ||
        !frames[type].fields)
        return false;
    for (const char *field = frames[type].fields; *field; field++) {
        if (!skip_field(reader, *field, &len))
            return false;
    }
    *ret_type = type;
    *ret_kind = is_empty_stream(type, len) ? GUARD_STREAM : frames[type].kind;
    return true;
}

int quic_guard_walk(struct quic_guard *guard, const uint8_t *payload, size_t len, uint64_t now)
{
    struct reader reader = {payload, payload + len};
    enum quic_guard_kind kind;
    bool pinged = false;
    uint64_t type;

    if (now / CLOCK_SEC != guard->second) {
        memset(guard, 0, sizeof(*guard));
        guard->second = now / CLOCK_SEC;
    }
    while (reader.at < reader.end) {
        if (!walk_one(&reader, &type, &kind))
            return -FL_EFRAME;
        if (type == QUIC_PING && !pinged) {
            pinged = true;
            continue;
        }
        if (kind != GUARD_FREE && ++guard->count[kind] > budgets[kind])
            return -FL_EFULL;
    }
    return 0;
}
