#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "leg/quic_guard.h"

#define NOW (100 * CLOCK_SEC)

static int walk(const void *payload, size_t len)
{
    struct quic_guard guard = {0};
    return quic_guard_walk(&guard, payload, len, NOW);
}

#define WALK(...)                                                                                  \
    ({                                                                                             \
        static const uint8_t walk_bytes[] = {__VA_ARGS__};                                         \
        walk(walk_bytes, sizeof(walk_bytes));                                                      \
    })

static void every_frame_is_known(void **state)
{
    assert_int_equal(walk("", 0), 0);
    assert_int_equal(WALK(0, 0, 1, 0), 0);
    assert_int_equal(WALK(0x02, 9, 0, 1, 2, /* range */ 1, 1, 1), 0);
    assert_int_equal(WALK(0x03, 9, 0, 0, 2, /* ECN */ 1, 2, 3, 1), 0);
    assert_int_equal(WALK(0x04, 0, 0, 0x40, 100, 0x05, 0, 0), 0);
    assert_int_equal(WALK(0x06, 0, 2, 1, 2, 0x07, 3, 1, 2, 3), 0);
    assert_int_equal(WALK(0x08, 0, 1, 2, 3), 0);       /* to the end */
    assert_int_equal(WALK(0x0a, 0, 2, 1, 2, 0x01), 0); /* with length */
    assert_int_equal(WALK(0x0f, 0, 5, 0, 0x01), 0);    /* offset, length, FIN */
    assert_int_equal(
        WALK(0x10, 1, 0x11, 0, 1, 0x12, 1, 0x13, 1, 0x14, 1, 0x15, 0, 1, 0x16, 1, 0x17, 1), 0);
    assert_int_equal(
        WALK(0x18, 1, 0, 2, 7, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x19, 0),
        0);
    assert_int_equal(WALK(0x1a, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b, 1, 2, 3, 4, 5, 6, 7, 8), 0);
    assert_int_equal(WALK(0x1c, 0, 0, 1, 'x', 0x1d, 0, 0, 0x1e), 0);
    assert_int_equal(WALK(0x40, 0x01), 0); /* a type in two bytes */
}

static void what_does_not_parse_is_refused(void **state)
{
    assert_int_equal(WALK(0x1f), -FL_EFRAME);
    assert_int_equal(WALK(0x30, 0), -FL_EFRAME); /* DATAGRAM was not negotiated */
    assert_int_equal(WALK(0xff), -FL_EFRAME);
    assert_int_equal(WALK(0x02, 9, 0, 0x3f, 2, 1, 1), -FL_EFRAME);
    assert_int_equal(WALK(0x02, 9, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1),
                     -FL_EFRAME);
    assert_int_equal(WALK(0x04, 0, 0), -FL_EFRAME);
    assert_int_equal(WALK(0x06, 0, 3, 1, 2), -FL_EFRAME);
    assert_int_equal(WALK(0x0a, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), -FL_EFRAME);
    assert_int_equal(WALK(0x18, 1, 0), -FL_EFRAME);
    assert_int_equal(WALK(0x18, 1, 0, 20, 1), -FL_EFRAME);
    assert_int_equal(WALK(0x1a, 1, 2, 3), -FL_EFRAME);
    assert_int_equal(WALK(0x10, 0xc0, 1), -FL_EFRAME);
}

/* @frame over and over: how many until it is too much, and again in the next second? */
static unsigned allowed(const uint8_t *frame, size_t len)
{
    struct quic_guard guard = {0};
    unsigned n = 0;

    while (n < 100000 && quic_guard_walk(&guard, frame, len, NOW) == 0)
        n++;
    if (n < 100000)
        assert_int_equal(quic_guard_walk(&guard, frame, len, NOW + CLOCK_SEC), 0);
    return n;
}

#define ALLOWED(...)                                                                               \
    ({                                                                                             \
        static const uint8_t allowed_bytes[] = {__VA_ARGS__};                                      \
        allowed(allowed_bytes, sizeof(allowed_bytes));                                             \
    })

static void floods_are_stopped(void **state)
{
    assert_int_equal(ALLOWED(0x08, 0, 1), 100000); /* data is what we are here for */
    assert_int_equal(ALLOWED(0x02, 9, 0, 0, 0), 100000);
    assert_int_equal(ALLOWED(0x04, 0, 0, 0), 2000);
    assert_int_equal(ALLOWED(0x05, 0, 0), 2000);
    assert_int_equal(ALLOWED(0x0a, 0, 0), 2000); /* empty, no FIN */
    assert_int_equal(ALLOWED(0x08, 0), 2000);
    assert_int_equal(ALLOWED(0x0b, 0, 0), 100000); /* the FIN is something */
    assert_int_equal(ALLOWED(0x10, 1), 20000);
    assert_int_equal(ALLOWED(0x19, 1), 100);
    assert_int_equal(ALLOWED(0x1a, 1, 2, 3, 4, 5, 6, 7, 8), 100);
    assert_int_equal(ALLOWED(0x01), 100000); /* with its own packet */
    assert_int_equal(ALLOWED(0x01, 0x01), 500);
    assert_int_equal(ALLOWED(0x07, 1, 1), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_is_known),
        cmocka_unit_test(what_does_not_parse_is_refused),
        cmocka_unit_test(floods_are_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
