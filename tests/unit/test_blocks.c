#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/blocks.h"
#include "agent/want.h"
#include "base/error.h"

static void sizes(void **state)
{
    const uint64_t kib = 1024, mib = 1024 * kib, gib = 1024 * mib;

    assert_int_equal(blocks_size(0), 128 * kib);
    assert_int_equal(blocks_count(0), 0);
    assert_int_equal(blocks_count(1), 1);
    assert_int_equal(blocks_size(250 * mib), 128 * kib);
    assert_int_equal(blocks_size(250 * mib + 1), 256 * kib);
    assert_int_equal(blocks_count(250 * mib), 2000);
    assert_int_equal(blocks_size(1000000000), 512 * kib);
    assert_int_equal(blocks_size(32 * gib), 16 * mib + 0);
    assert_int_equal(blocks_size(UINT64_C(1) << 50), 16 * mib);
    assert_int_equal(blocks_count(BLOCKS_FILE_MAX), 1u << 30);
}

static void lengths(void **state)
{
    for (uint64_t size = 1; size < (UINT64_C(1) << 54); size = size * 7 + 3) {
        uint32_t count = blocks_count(size);

        assert_true(blocks_offset(size, count - 1) < size);
        assert_int_equal(blocks_offset(size, count - 1) + blocks_length(size, count - 1), size);
        assert_int_equal(blocks_span(size, 0, count), size);
        if (count > 1)
            assert_int_equal(blocks_length(size, 0), blocks_size(size));
    }
}

static void zeros(void **state)
{
    uint8_t data[100] = {0};

    for (size_t len = 0; len <= sizeof(data); len++)
        assert_true(blocks_is_zero(data, len));
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = 1;
        assert_false(blocks_is_zero(data, sizeof(data)));
        assert_true(blocks_is_zero(data, i));
        data[i] = 0;
    }
}

static void file_hashes(void **state)
{
    struct blocks_hasher hasher;
    uint8_t a[32], b[32];
    FILE *file = tmpfile();
    bool zero;

    assert_non_null(file);
    assert_int_equal(blocks_hasher_init(&hasher), 0);
    assert_int_equal(ftruncate(fileno(file), 5 << 20), 0);
    blocks_hash_zero(&hasher, 3 << 20, a);
    assert_int_equal(blocks_hash_file(&hasher, fileno(file), 0, 3 << 20, false, b, &zero), 0);
    assert_memory_equal(a, b, 32);
    assert_int_equal(blocks_hash_file(&hasher, fileno(file), 1 << 20, 3 << 20, true, b, &zero), 0);
    assert_memory_equal(a, b, 32);
    assert_int_equal(pwrite(fileno(file), "x", 1, 100), 1);
    assert_int_equal(blocks_hash_file(&hasher, fileno(file), 0, 3 << 20, true, b, &zero), 0);
    assert_memory_not_equal(a, b, 32);
    assert_false(zero);
    /* Past the end: told, and the next hash is not spoilt. */
    assert_int_equal(blocks_hash_file(&hasher, fileno(file), 4 << 20, 3 << 20, false, b, &zero),
                     -FL_ECHANGED);
    assert_int_equal(blocks_hash_file(&hasher, fileno(file), 1 << 20, 3 << 20, false, b, &zero), 0);
    assert_memory_equal(a, b, 32);
    blocks_hasher_done(&hasher);
    (void)fclose(file);
}

/* ---- the window ---- */

static void window_bytes(void **state)
{
    const uint32_t block = 131072, all = WANT_BYTES / block;
    struct want want;
    uint64_t size = UINT64_C(100) << 20;

    assert_int_equal(want_init(&want), 0);
    assert_int_equal(want_fit(&want, size, 0, 800), all);
    want_push(&want, NULL, size, 0, all);
    assert_int_equal(want_fit(&want, size, all, 800 - all), 0);
    assert_false(want_low(&want));
    for (unsigned i = 0; i < all / 4; i++) {
        want_bytes(&want, block);
        want_block(&want);
    }
    assert_true(want_low(&want));
    assert_int_equal(want_fit(&want, size, all, 800 - all), all / 4);
    assert_int_equal(want_front(&want)->first, all / 4);
    want_pop(&want);
    assert_null(want_front(&want));
    assert_int_equal(want.bytes, 0);
    want_done(&want);
}

static void window_large_blocks(void **state)
{
    struct want want;
    uint64_t size = UINT64_C(1) << 40;

    assert_int_equal(want_init(&want), 0);
    assert_int_equal(want_fit(&want, size, 0, 1000), 1);
    want_push(&want, NULL, size, 0, 1);
    assert_int_equal(want_fit(&want, size, 1, 999), 0);
    want_bytes(&want, 12 << 20);
    assert_int_equal(want_fit(&want, size, 1, 999), 1); /* before the line runs empty */
    want_done(&want);
}

static void window_ranges(void **state)
{
    struct want want;

    assert_int_equal(want_init(&want), 0);
    for (unsigned i = 0; i < WANT_RANGES; i++) {
        assert_int_equal(want_fit(&want, 10, 0, 1), 1);
        want_push(&want, NULL, 10, 0, 1);
    }
    assert_int_equal(want_fit(&want, 10, 0, 1), 0);
    for (unsigned i = 0; i < WANT_RANGES; i++) {
        want_bytes(&want, 10);
        want_block(&want);
    }
    assert_int_equal(want.count, 0);
    assert_int_equal(want.bytes, 0);
    want_done(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),         cmocka_unit_test(lengths),
        cmocka_unit_test(zeros),         cmocka_unit_test(file_hashes),
        cmocka_unit_test(window_bytes),  cmocka_unit_test(window_large_blocks),
        cmocka_unit_test(window_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
