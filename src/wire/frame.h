/* frame.h - u8 type | u8 flags | u16 length | body; big-endian, body at most FRAME_BODY_MAX.
 *
 * The same frame is used on legs (where one frame is one TLS record) and inside tunnels (where
 * several may share a record). Pure: bytes in, frames out. docs/PROTOCOL.md is the normative text.
 */
#ifndef FL_WIRE_FRAME_H
#define FL_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER   4
#define FRAME_BODY_MAX 16000
#define FRAME_MAX      (FRAME_HEADER + FRAME_BODY_MAX)

#define FRAME_CRITICAL                                                                             \
    0x01 /* flag bit 0: an unknown type with it is an error, without it ignored */

/* Where a conversation stands, seen from the one who receives. A frame type lists in frame.def the
 * phases in which it is legal; anything else ends the leg or tunnel with a reason. */
enum frame_phase {
    PHASE_HELLO,     /* proxy: HELLO awaited */
    PHASE_READY,     /* proxy: HELLO accepted, REGISTER or JOIN awaited */
    PHASE_CONTROL,   /* proxy: a registered control leg */
    PHASE_JOINING,   /* proxy: JOIN accepted, the other side awaited */
    PHASE_SESSION,   /* proxy or endpoint: joined, data flows */
    PHASE_HELLO_ACK, /* endpoint: HELLO_ACK awaited */
    PHASE_REGISTER,  /* endpoint: REGISTERED awaited */
    PHASE_LINK,      /* endpoint: a registered control leg */
    PHASE_JOIN,      /* endpoint: JOINED awaited */
    PHASE_GREETING,  /* tunnel: first message awaited */
    PHASE_AGENT,     /* tunnel, control: what the agent receives */
    PHASE_CONSOLE,   /* tunnel, control: what the console receives */
    PHASE_ENROLLING, /* tunnel, enrol: what the newcomer receives */
    PHASE_ENROLLER,  /* tunnel, enrol: what the console receives */
    PHASE_SOURCE,    /* tunnel, transfer: what the source receives */
    PHASE_TARGET,    /* tunnel, transfer: what the target receives */
    PHASE_LISTENER,  /* tunnel, forward: what the listening agent receives */
    PHASE_CONNECTOR, /* tunnel, forward: what the connecting agent receives */
    PHASE_COUNT,
};

#define PHASE_BIT(p) (UINT32_C(1) << (p))

/* Type numbers; wire values, from frame.def. */
enum frame_type {
#define FRAME(name, number, message, phases) FRAME_##name = (number),
#include "frame.def"
#undef FRAME
};

/* One frame in a buffer of the caller. */
struct frame {
    uint8_t type;        /* enum frame_type, or an unknown number */
    uint8_t flags;       /* FRAME_CRITICAL … */
    uint16_t len;        /* of the body, 0..FRAME_BODY_MAX */
    const uint8_t *body; /* inside the buffer given; not owned */
};

/* frame_put - write a header for @len bytes of body. */
void frame_put(uint8_t dst[static FRAME_HEADER], uint8_t type, uint8_t flags, size_t len);

/* frame_parse - the frame at the start of @src, of which @len bytes are there.
 * Returns the frame's whole size (header and body); 0 when more bytes are needed; -FL_EFRAME when
 * the header announces a body over FRAME_BODY_MAX. *ret_frame is set only on a positive result. */
int frame_parse(const uint8_t *src, size_t len, struct frame *ret_frame);

/* frame_check - may @frame arrive in @phase? 0: yes. 1: unknown and not critical, ignore it.
 * -FL_EPHASE: known, but not legal there. -FL_EFRAME: unknown and critical. */
int frame_check(const struct frame *frame, enum frame_phase phase);

/* frame_name - "HELLO" …, or "?" for an unknown type. */
const char *frame_name(uint8_t type);

#endif
