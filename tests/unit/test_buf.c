/* test_buf.c - the byte queue keeps order and never grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void what_goes_in_comes_out(void **state)
{
    struct buf buf;

    assert_int_equal(buf_init(&buf, 8), 0);
    assert_int_equal(buf_append(&buf, "abcdef", 6), 0);
    buf_consume(&buf, 4);
    assert_int_equal(buf_append(&buf, "ghijkl", 6), 0); /* needs the move to the front */
    assert_int_equal(buf_len(&buf), 8);
    assert_memory_equal(buf_head(&buf), "efghijkl", 8);
    buf_done(&buf);
    assert_null(buf.data);
}

static void too_much_is_refused_whole(void **state)
{
    struct buf buf;

    assert_int_equal(buf_init(&buf, 4), 0);
    assert_int_equal(buf_append(&buf, "abc", 3), 0);
    assert_int_equal(buf_append(&buf, "de", 2), -ENOBUFS);
    assert_int_equal(buf_append(&buf, "x", SIZE_MAX), -ENOBUFS);
    assert_int_equal(buf_len(&buf), 3);
    assert_memory_equal(buf_head(&buf), "abc", 3);
    assert_int_equal(buf_append(&buf, "d", 1), 0);
    assert_int_equal(buf_append(&buf, NULL, 0), 0);
    buf_done(&buf);
}

static void room_moves_only_when_needed(void **state)
{
    struct buf buf;
    uint8_t *head;

    assert_int_equal(buf_init(&buf, 10), 0);
    assert_int_equal(buf_append(&buf, "abcdef", 6), 0);
    buf_consume(&buf, 2);
    head = buf_head(&buf);
    assert_int_equal(buf_room(&buf, 4), 4);
    assert_ptr_equal(buf_head(&buf), head);
    assert_int_equal(buf_room(&buf, 5), 6);
    assert_ptr_equal(buf_head(&buf), buf.data);
    assert_memory_equal(buf_head(&buf), "cdef", 4);
    assert_int_equal(buf_room(&buf, 100), 6); /* less than wanted */
    memcpy(buf_tail(&buf), "gh", 2);
    buf_commit(&buf, 2);
    assert_memory_equal(buf_head(&buf), "cdefgh", 6);
    buf_consume(&buf, 6);
    assert_int_equal(buf_room(&buf, 1), 10); /* empty starts over */
    buf_done(&buf);
}

/* Against a plain model, with lengths that wrap in every way. */
static void long_use_keeps_order(void **state)
{
    struct buf buf;
    uint8_t in = 0, out = 0;

    srandom(7);
    assert_int_equal(buf_init(&buf, 37), 0);
    for (int i = 0; i < 20000; i++) {
        uint8_t chunk[16];
        size_t n = (size_t)random() % sizeof(chunk);

        for (size_t k = 0; k < n; k++)
            chunk[k] = (uint8_t)(in + k);
        if (buf_append(&buf, chunk, n) == 0)
            in = (uint8_t)(in + n);
        n = (size_t)random() % (buf_len(&buf) + 1);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(buf_head(&buf)[k], out++);
        buf_consume(&buf, n);
        assert_true(buf.end <= buf.cap && buf.start <= buf.end);
    }
    assert_int_equal((uint8_t)(in - out), buf_len(&buf));
    buf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(too_much_is_refused_whole),
        cmocka_unit_test(room_moves_only_when_needed),
        cmocka_unit_test(long_use_keeps_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
