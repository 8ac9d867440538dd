/* frame.c - frame headers and the table of legal phases. */
#include "wire/frame.h"

#include "base/error.h"

struct frame_def {
    const char *name; /* NULL: no such type */
    uint32_t phases;
};

static const struct frame_def defs[256] = {
#define FRAME(name, number, message, phases) [number] = {#name, phases},
#include "frame.def"
#undef FRAME
};

_Static_assert(PHASE_COUNT <= 32, "a set of phases is 32 bits");

void frame_put(uint8_t dst[static FRAME_HEADER], uint8_t type, uint8_t flags, size_t len)
{
    dst[0] = type;
    dst[1] = flags;
    dst[2] = (uint8_t)(len >> 8);
    dst[3] = (uint8_t)len;
}

int frame_parse(const uint8_t *src, size_t len, struct frame *ret_frame)
{
    size_t body;

    if (len < FRAME_HEADER)
        return 0;
    /* The length is judged before the body is awaited, so that nobody buffers for a lie. */
    body = (size_t)src[2] << 8 | src[3];
    if (body > FRAME_BODY_MAX)
        return -FL_EFRAME;
    if (len < FRAME_HEADER + body)
        return 0;
    *ret_frame = (struct frame){
        .type = src[0], .flags = src[1], .len = (uint16_t)body, .body = src + FRAME_HEADER};
    return (int)(FRAME_HEADER + body);
}

int frame_check(const struct frame *frame, enum frame_phase phase)
{
    const struct frame_def *def = &defs[frame->type];

    if (!def->name)
        return frame->flags & FRAME_CRITICAL ? -FL_EFRAME : 1;
    return def->phases & PHASE_BIT(phase) ? 0 : -FL_EPHASE;
}

const char *frame_name(uint8_t type)
{
    return defs[type].name ? defs[type].name : "?";
}
