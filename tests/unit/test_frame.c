/* test_frame.c - framing and the phases in which a frame is legal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "wire/frame.h"

static void header_is_big_endian(void **state)
{
    uint8_t bytes[FRAME_HEADER];

    frame_put(bytes, FRAME_DATA, FRAME_CRITICAL, 0x1234);
    assert_memory_equal(bytes, "\x10\x01\x12\x34", 4);
}

static void parse_waits_for_the_whole(void **state)
{
    uint8_t bytes[FRAME_HEADER + 5 + 3] = "\x0b\x00\x00\x05hello\xff\xff\xff";
    struct frame frame = {.type = 99};

    for (size_t n = 0; n < 9; n++)
        assert_int_equal(frame_parse(bytes, n, &frame), 0);
    assert_int_equal(frame.type, 99); /* untouched until whole */
    assert_int_equal(frame_parse(bytes, sizeof(bytes), &frame), 9);
    assert_int_equal(frame.type, FRAME_PING);
    assert_int_equal(frame.flags, 0);
    assert_int_equal(frame.len, 5);
    assert_ptr_equal(frame.body, bytes + 4);
}

static void parse_bounds_the_body(void **state)
{
    static uint8_t bytes[FRAME_MAX + 1];
    struct frame frame;

    frame_put(bytes, FRAME_DATA, 0, FRAME_BODY_MAX);
    assert_int_equal(frame_parse(bytes, sizeof(bytes), &frame), FRAME_MAX);
    frame_put(bytes, FRAME_DATA, 0, FRAME_BODY_MAX + 1);
    assert_int_equal(frame_parse(bytes, sizeof(bytes), &frame), -FL_EFRAME);
    assert_int_equal(frame_parse(bytes, FRAME_HEADER, &frame), -FL_EFRAME); /* before any body */
    frame_put(bytes, FRAME_DATA, 0, 0);
    assert_int_equal(frame_parse(bytes, FRAME_HEADER, &frame), FRAME_HEADER);
    assert_int_equal(frame.len, 0);
}

static void unknown_types_obey_the_flag(void **state)
{
    struct frame frame = {.type = 0x7f};

    assert_int_equal(frame_check(&frame, PHASE_SESSION), 1);
    frame.flags = 0xfe;
    assert_int_equal(frame_check(&frame, PHASE_SESSION), 1);
    frame.flags = FRAME_CRITICAL;
    assert_int_equal(frame_check(&frame, PHASE_SESSION), -FL_EFRAME);
    assert_string_equal(frame_name(0x7f), "?");
    assert_string_equal(frame_name(0), "?");
}

static void legal_in(uint8_t type, uint32_t phases)
{
    struct frame frame = {.type = type};

    for (unsigned p = 0; p < PHASE_COUNT; p++) {
        int expected = phases & PHASE_BIT(p) ? 0 : -FL_EPHASE;

        assert_int_equal(frame_check(&frame, (enum frame_phase)p), expected);
    }
}

/* Written out again by hand, so that a slip in the table shows. */
static void known_types_have_their_phases(void **state)
{
    legal_in(FRAME_HELLO, PHASE_BIT(PHASE_HELLO));
    legal_in(FRAME_HELLO_ACK, PHASE_BIT(PHASE_HELLO_ACK));
    legal_in(FRAME_REGISTER, PHASE_BIT(PHASE_READY));
    legal_in(FRAME_JOIN, PHASE_BIT(PHASE_READY));
    legal_in(FRAME_CONNECT, PHASE_BIT(PHASE_CONTROL));
    legal_in(FRAME_DENIED, PHASE_BIT(PHASE_CONTROL));
    legal_in(FRAME_DATA, PHASE_BIT(PHASE_SESSION));
    legal_in(FRAME_EOF, PHASE_BIT(PHASE_SESSION));
    legal_in(FRAME_TUNNEL_HELLO, PHASE_BIT(PHASE_GREETING));
    legal_in(FRAME_FLOW_ASSIGN, PHASE_BIT(PHASE_AGENT));
    legal_in(FRAME_ENROL_REQUEST, PHASE_BIT(PHASE_ENROLLER));
    legal_in(FRAME_WANT, PHASE_BIT(PHASE_SOURCE));
    legal_in(FRAME_BLOCK, PHASE_BIT(PHASE_TARGET));
    assert_string_equal(frame_name(FRAME_HELLO), "HELLO");
    assert_string_equal(frame_name(FRAME_DONE), "DONE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_big_endian),
        cmocka_unit_test(parse_waits_for_the_whole),
        cmocka_unit_test(parse_bounds_the_body),
        cmocka_unit_test(unknown_types_obey_the_flag),
        cmocka_unit_test(known_types_have_their_phases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
