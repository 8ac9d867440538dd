/* fuzz_frame.c - frames out of a stream of bytes, and whether they may arrive in any phase. */
#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "wire/frame.h"

static void check(const struct frame *frame)
{
    for (unsigned phase = 0; phase < PHASE_COUNT; phase++) {
        int r = frame_check(frame, (enum frame_phase)phase);
        bool known = strcmp(frame_name(frame->type), "?") != 0;

        must(r == 0 || r == 1 || r == -FL_EPHASE || r == -FL_EFRAME);
        must(known == (r == 0 || r == -FL_EPHASE));
        must(r != 1 || !(frame->flags & FRAME_CRITICAL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t header[FRAME_HEADER];
    struct frame frame;
    volatile uint8_t last;
    int n;

    while ((n = frame_parse(data, size, &frame)) > 0) {
        must((size_t)n <= size && n == FRAME_HEADER + frame.len && frame.len <= FRAME_BODY_MAX);
        must(frame.body == data + FRAME_HEADER);
        if (frame.len > 0)
            last = frame.body[frame.len - 1];
        frame_put(header, frame.type, frame.flags, frame.len);
        must(memcmp(header, data, FRAME_HEADER) == 0);
        check(&frame);
        data += n;
        size -= (size_t)n;
    }
    (void)last;
    must(n == 0 || n == -FL_EFRAME);
    must(n != 0 || size < FRAME_MAX);
    return 0;
}
