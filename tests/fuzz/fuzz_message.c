/* fuzz_message.c - protobuf bodies. The first byte is the frame type, the rest its body; for types
 * whose body is a row of delimited messages (LIST, BLOCK) the whole row. What is accepted must
 * encode again and come out the same. */
#include "fuzz.h"

#include <stdalign.h>
#include <string.h>

#include "base/error.h"
#include "wire/message.h"

static alignas(16) uint8_t first[64 * 1024], second[64 * 1024]; /* above every struct */
static uint8_t bytes[FRAME_MAX], again[FRAME_MAX];

_Static_assert(sizeof(fl_ProxyList) <= sizeof(first), "the largest struct fits");
_Static_assert(sizeof(fl_FlowAssign) <= sizeof(first), "the largest struct fits");

static void whole(uint8_t type, const pb_msgdesc_t *fields, const uint8_t *body, size_t len)
{
    struct frame frame = {.type = type, .len = (uint16_t)len, .body = body};
    int n, m;

    memset(first, 0xa5, sizeof(first));
    if (message_decode(fields, &frame, first))
        return;
    n = message_encode(type, fields, first, bytes, sizeof(bytes));
    must(n >= FRAME_HEADER);
    must(frame_parse(bytes, (size_t)n, &frame) == n);
    must(message_decode(fields, &frame, second) == 0);
    m = message_encode(type, fields, second, again, sizeof(again));
    must(m == n && memcmp(bytes, again, (size_t)n) == 0);
}

static void row(const pb_msgdesc_t *fields, const uint8_t *body, size_t len)
{
    int n;

    while ((n = message_decode_delimited(fields, body, len, first)) > 0) {
        must((size_t)n <= len);
        must(message_encode_delimited(fields, first, bytes, sizeof(bytes)) > 0);
        body += n;
        len -= (size_t)n;
    }
    must(n == -FL_EMESSAGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const pb_msgdesc_t *fields;

    if (size < 1 || size - 1 > FRAME_BODY_MAX)
        return 0;
    fields = message_for(data[0]);
    if (fields)
        whole(data[0], fields, data + 1, size - 1);
    else if (data[0] == FRAME_LIST)
        row(&fl_Entry_msg, data + 1, size - 1);
    else if (data[0] == FRAME_BLOCK)
        row(&fl_BlockHead_msg, data + 1, size - 1);
    return 0;
}
