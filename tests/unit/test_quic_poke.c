/* test_quic_poke.c - which datagram is a poke, who hears of it, and which addresses there are. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "leg/quic_poke.h"

static const uint8_t tag[QUIC_POKE_TAG] = {7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

struct ear {
    unsigned count;
    char last[LEG_ADDRESS_MAX];
};

static void on_heard(void *ctx, const char *address)
{
    struct ear *ear = ctx;

    ear->count++;
    (void)snprintf(ear->last, sizeof(ear->last), "%s", address);
}

static struct quic_address parsed(const char *text)
{
    struct quic_address address;

    assert_int_equal(quic_address_parse(text, &address), 0);
    return address;
}

static bool take(struct quic_pokes *pokes, const uint8_t *of, const char *from)
{
    const struct quic_address address = parsed(from);
    uint8_t data[QUIC_POKE_BYTES];

    quic_poke_write(of, data);
    assert_true(quic_poke_is(data, sizeof(data)));
    return quic_pokes_take(pokes, &address, data);
}

/* Its first byte is none that QUIC, STUN, DTLS or RTP begin with (RFC 9443), and each byte of its
 * head counts. */
static void a_poke_is_nothing_else(void **state)
{
    uint8_t data[QUIC_POKE_BYTES + 1] = {0};

    quic_poke_write(tag, data);
    assert_true(data[0] > 3 && data[0] < 16);
    assert_true(quic_poke_is(data, QUIC_POKE_BYTES));
    assert_false(quic_poke_is(data, QUIC_POKE_BYTES + 1));
    assert_false(quic_poke_is(data, QUIC_POKE_BYTES - 1));
    assert_false(quic_poke_is(data, 0));
    for (unsigned i = 0; i < 8 * 8; i++) {
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(quic_poke_is(data, QUIC_POKE_BYTES));
        data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

static void each_address_is_told_once(void **state)
{
    struct quic_pokes pokes = {0};
    struct ear ear = {0};

    assert_int_equal(quic_pokes_expect(&pokes, tag, on_heard, &ear), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_true(take(&pokes, tag, "203.0.113.5:4711"));
    assert_int_equal(ear.count, 1);
    assert_string_equal(ear.last, "203.0.113.5:4711");
    assert_true(take(&pokes, tag, "203.0.113.5:4712"));
    assert_int_equal(ear.count, 2);
    assert_true(take(&pokes, tag, "[2001:db8::1]:4712"));
    assert_string_equal(ear.last, "[2001:db8::1]:4712");
}

static void a_hundred_addresses_are_four(void **state)
{
    struct quic_pokes pokes = {0};
    struct ear ear = {0};
    char from[32];

    assert_int_equal(quic_pokes_expect(&pokes, tag, on_heard, &ear), 0);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(from, sizeof(from), "198.51.100.%u:%u", i + 1, 1000 + i);
        assert_true(take(&pokes, tag, from));
    }
    assert_int_equal(ear.count, QUIC_POKE_SOURCES);
    assert_string_equal(ear.last, "198.51.100.4:1003");
}

static void others_are_not_heard(void **state)
{
    struct quic_pokes pokes = {0};
    struct ear ear = {0};
    uint8_t other[QUIC_POKE_TAG];

    assert_false(take(&pokes, tag, "203.0.113.5:4711"));
    assert_int_equal(quic_pokes_expect(&pokes, tag, on_heard, &ear), 0);
    for (unsigned i = 0; i < 8 * QUIC_POKE_TAG; i++) {
        memcpy(other, tag, sizeof(other));
        other[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(take(&pokes, other, "203.0.113.5:4711"));
    }
    assert_int_equal(ear.count, 0);
}

static void sixteen_wait_at_once(void **state)
{
    struct quic_pokes pokes = {0};
    struct ear ears[QUIC_POKES_MAX + 1] = {0};
    uint8_t each[QUIC_POKE_TAG] = {0};

    for (unsigned i = 0; i < QUIC_POKES_MAX; i++) {
        each[3] = (uint8_t)i;
        assert_int_equal(quic_pokes_expect(&pokes, each, on_heard, &ears[i]), 0);
        assert_int_equal(quic_pokes_expect(&pokes, each, on_heard, &ears[i]), -FL_EEXISTS);
    }
    each[3] = QUIC_POKES_MAX;
    assert_int_equal(quic_pokes_expect(&pokes, each, on_heard, &ears[16]), -ENOSPC);
    quic_pokes_forget(&pokes, each); /* nobody's */
    each[3] = 9;
    quic_pokes_forget(&pokes, each);
    quic_pokes_forget(&pokes, each);
    assert_false(take(&pokes, each, "203.0.113.5:4711"));
    each[3] = QUIC_POKES_MAX;
    assert_int_equal(quic_pokes_expect(&pokes, each, on_heard, &ears[16]), 0);
    for (unsigned i = 0; i <= QUIC_POKES_MAX; i++) {
        each[3] = (uint8_t)i;
        assert_int_equal(take(&pokes, each, "203.0.113.5:4711"), i != 9);
        assert_int_equal(ears[i].count, i != 9);
    }
}

static void addresses_are_of_one_machine(void **state)
{
    static const char *const good[] = {"203.0.113.5:4711", "127.0.0.1:1", "[2001:db8::1]:65535",
                                       "[::1]:80", "[::ffff:203.0.113.5]:80"};
    static const char *const bad[] = {"",
                                      "203.0.113.5",
                                      "203.0.113.5:0",
                                      "0.0.0.0:80",
                                      "0.1.2.3:1",
                                      "224.0.0.1:80",
                                      "239.255.1.1:80",
                                      "255.255.255.255:80",
                                      "240.1.1.1:80",
                                      "[::]:80",
                                      "[ff02::1]:80",
                                      "[::ffff:224.0.0.1]:80",
                                      "host:80",
                                      "203.0.113.5:65536",
                                      "[203.0.113.5]:80",
                                      "2001:db8::1:80",
                                      "203.0.113.5:80 ",
                                      "203.0.113:80",
                                      "[fe80::1%lo]:80",
                                      "[::ffff:255.255.255.255]:80"};
    struct quic_address address;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(quic_address_parse(good[i], &address), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (quic_address_parse(bad[i], &address) != -EINVAL)
            fail_msg("\"%s\" is taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_poke_is_nothing_else),
        cmocka_unit_test(each_address_is_told_once),
        cmocka_unit_test(a_hundred_addresses_are_four),
        cmocka_unit_test(others_are_not_heard),
        cmocka_unit_test(sixteen_wait_at_once),
        cmocka_unit_test(addresses_are_of_one_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
