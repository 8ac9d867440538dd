#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "leg/block.h"
#include "leg/quic_chain.h"

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void append(struct quic_chain *chain, uint64_t at, size_t len)
{
    uint8_t *data = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        data[i] = pattern(at + i);
    assert_int_equal(quic_chain_append(chain, data, len), 0);
    free(data);
}

/* The unpassed bytes are those from @at on. */
static void check_view(const struct quic_chain *chain, uint64_t at, size_t left)
{
    struct iovec view[64];
    unsigned n = quic_chain_view(chain, view, 64);
    size_t total = 0;

    for (unsigned i = 0; i < n; i++) {
        const uint8_t *data = view[i].iov_base;
        assert_true(view[i].iov_len > 0);
        assert_int_equal(data[0], pattern(at + total));
        total += view[i].iov_len;
        assert_int_equal(data[view[i].iov_len - 1], pattern(at + total - 1));
    }
    assert_int_equal(total, left);
    assert_int_equal(chain->left, left);
}

static void check_oldest(const struct quic_chain *chain, uint64_t at)
{
    uint8_t data[300];
    size_t len = chain->len < sizeof(data) ? chain->len : sizeof(data);

    quic_chain_peek(chain, data, len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], pattern(at + i));
}

static void empty_holds_nothing(void **state)
{
    struct quic_chain chain = {0};

    assert_int_equal(quic_chain_append(&chain, "", 0), 0);
    assert_null(chain.head);
    append(&chain, 0, 1);
    quic_chain_drop(&chain, 5);
    assert_null(chain.head);
    assert_null(chain.next);
    assert_int_equal(chain.len, 0);
    check_view(&chain, 0, 0);
}

/* A model of three offsets against the chain, at random. */
static void any_order_of_steps_keeps_the_bytes(void **state)
{
    uint32_t seed = 4711;

    for (unsigned run = 0; run < 40; run++) {
        struct quic_chain chain = {0};
        uint64_t start = 0, passed = 0, end = 0;
        for (unsigned step = 0; step < 400; step++) {
            seed = seed * 1664525 + 1013904223;
            size_t len = (seed >> 8) % (step % 7 == 0 ? 3 * BLOCK_BYTES : 5000);
            switch (seed >> 30) {
            case 0:
            case 1:
                append(&chain, end, len);
                end += len;
                break;
            case 2:
                quic_chain_pass(&chain, len);
                passed = passed + len < end ? passed + len : end;
                break;
            default:
                quic_chain_drop(&chain, len);
                start = start + len < end ? start + len : end;
                passed = passed > start ? passed : start;
            }
            assert_int_equal(chain.len, end - start);
            check_oldest(&chain, start);
            if (end - passed < 60 * (BLOCK_BYTES - 64))
                check_view(&chain, passed, end - passed);
        }
        quic_chain_clear(&chain);
        assert_null(chain.head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_holds_nothing),
        cmocka_unit_test(any_order_of_steps_keeps_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
