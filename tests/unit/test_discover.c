/* LAN discovery: who knows the domain and the id finds the address, nobody else; what strangers
 * send is refused or costs one entry of a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/discover.h"
#include "base/clock.h"
#include "base/error.h"

#define NOW  (1000 * CLOCK_SEC)
#define PORT 3839

static struct discover_table table;
static uint8_t key[DISCOVER_KEY];
static struct fl_id alpha, beta;

static int setup(void **state)
{
    memset(&table, 0, sizeof(table));
    assert_int_equal(discover_key("ab01", key), 0);
    id_random(&alpha);
    id_random(&beta);
    return 0;
}

static struct discover_place v4(uint8_t last)
{
    return (struct discover_place){.family = AF_INET, .ip = {192, 0, 2, last}};
}

static struct discover_said said(const struct fl_id *id, uint16_t port)
{
    uint8_t bytes[DISCOVER_BYTES];
    struct discover_said ret;
    struct fl_id nonce;

    id_random(&nonce);
    assert_int_equal(discover_make(key, id, port, false, nonce.b, bytes), 0);
    assert_int_equal(discover_parse(bytes, sizeof(bytes), &ret), 0);
    return ret;
}

static void hear(const struct fl_id *id, uint16_t port, struct discover_place from, uint64_t now)
{
    struct discover_said what = said(id, port);

    discover_keep(&table, &what, &from, now);
}

static size_t find(const struct fl_id *id, uint64_t now, char (*ret)[LEG_ADDRESS_MAX])
{
    return discover_find(&table, key, id, now, ret, DISCOVER_FOUND);
}

static void test_found(void **state)
{
    struct discover_place six = {.family = AF_INET6, .ip = {0xfe, 0x80, [15] = 7}, .scope = 3};
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    hear(&alpha, PORT, v4(1), NOW);
    hear(&beta, PORT, v4(2), NOW);
    hear(&alpha, PORT, six, NOW + 1);
    assert_int_equal(find(&alpha, NOW + 2, found), 2);
    assert_string_equal(found[0], "[fe80::7%3]:3839"); /* the last heard first */
    assert_string_equal(found[1], "192.0.2.1:3839");
    assert_int_equal(find(&beta, NOW + 2, found), 1);
    assert_string_equal(found[0], "192.0.2.2:3839");
}

static void test_newest_kept(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    for (uint8_t i = 1; i <= 9; i++)
        hear(&alpha, PORT, v4(i), NOW + (i * 7) % 10);
    assert_int_equal(find(&alpha, NOW + 20, found), DISCOVER_FOUND);
    assert_string_equal(found[0], "192.0.2.7:3839"); /* 49 % 10 = 9, then 4: 8, 1: 7, 8: 6 */
    assert_string_equal(found[1], "192.0.2.4:3839");
    assert_string_equal(found[2], "192.0.2.1:3839");
    assert_string_equal(found[3], "192.0.2.8:3839");
    assert_int_equal(discover_find(&table, key, &alpha, NOW + 20, found, 1), 1);
    assert_string_equal(found[0], "192.0.2.7:3839");
}

/* The same agent at the same place speaks again, with another nonce: still one address. */
static void test_again(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    for (unsigned i = 0; i < 5; i++)
        hear(&alpha, PORT, v4(1), NOW + i);
    assert_int_equal(find(&alpha, NOW + 9, found), 1);
    hear(&beta, PORT, v4(1), NOW + 10); /* the host has another agent now */
    assert_int_equal(find(&alpha, NOW + 11, found), 0);
    assert_int_equal(find(&beta, NOW + 11, found), 1);
}

static void test_forgotten(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    hear(&alpha, PORT, v4(1), NOW);
    assert_int_equal(find(&alpha, NOW + DISCOVER_KEPT - 1, found), 1);
    assert_int_equal(find(&alpha, NOW + DISCOVER_KEPT, found), 0);
}

static void test_other_domain(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];
    uint8_t other[DISCOVER_KEY];

    hear(&alpha, PORT, v4(1), NOW);
    assert_int_equal(discover_key("ab02", other), 0);
    assert_int_equal(discover_find(&table, other, &alpha, NOW, found, DISCOVER_FOUND), 0);
}

/* A port is part of what the tag says: nobody can put another in its place. */
static void test_other_port(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];
    struct discover_said changed = said(&alpha, PORT);
    struct discover_place from = v4(1);

    changed.port = 22;
    discover_keep(&table, &changed, &from, NOW);
    assert_int_equal(find(&alpha, NOW, found), 0);
}

static void test_no_port(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    hear(&alpha, 0, v4(1), NOW);
    assert_int_equal(find(&alpha, NOW, found), 0);
}

static void test_nothing_alike(void **state)
{
    struct discover_said a = said(&alpha, PORT), b = said(&alpha, PORT);

    assert_memory_not_equal(a.tag, b.tag, sizeof(a.tag));
    assert_memory_not_equal(a.nonce, b.nonce, sizeof(a.nonce));
}

/* One host that says much takes 8 places, not those of others. */
static void test_loud_host(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    hear(&alpha, PORT, v4(1), NOW);
    for (uint16_t i = 1; i < 2000; i++)
        hear(&beta, i, v4(2), NOW + i);
    assert_int_equal(find(&alpha, NOW + 2000, found), 1);
    assert_int_equal(find(&beta, NOW + 2000, found), DISCOVER_FOUND);
    assert_string_equal(found[0], "192.0.2.2:1999");
    unsigned there = 0;
    for (size_t i = 0; i < DISCOVER_HEARD; i++)
        there += table.heard[i].at != 0;
    assert_int_equal(there, 1 + DISCOVER_PER_HOST);
}

/* Many places: the oldest gives way, and who speaks again is found again. */
static void test_full(void **state)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];

    hear(&alpha, PORT, v4(1), NOW);
    for (unsigned i = 0; i < DISCOVER_HEARD; i++) {
        struct discover_place from = {.family = AF_INET,
                                      .ip = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};

        hear(&beta, PORT, from, NOW + 1 + i);
    }
    assert_int_equal(find(&alpha, NOW + 1000, found), 0);
    hear(&alpha, PORT, v4(1), NOW + 1000);
    assert_int_equal(find(&alpha, NOW + 1001, found), 1);
}

static void test_malformed(void **state)
{
    uint8_t bytes[DISCOVER_BYTES + 1] = {0};
    uint8_t nonce[DISCOVER_NONCE] = {0};
    struct discover_said ret;

    assert_int_equal(discover_make(key, &alpha, PORT, true, nonce, bytes), 0);
    assert_int_equal(discover_parse(bytes, DISCOVER_BYTES, &ret), 0);
    assert_true(ret.ask && ret.port == PORT);
    for (size_t len = 0; len <= DISCOVER_BYTES + 1; len++)
        assert_int_equal(discover_parse(bytes, len, &ret),
                         len == DISCOVER_BYTES ? 0 : -FL_EMESSAGE);
    for (size_t i = 0; i < 6; i++) { /* magic, version, flags that are not known */
        bytes[i] ^= 0x40;
        assert_int_equal(discover_parse(bytes, DISCOVER_BYTES, &ret), -FL_EMESSAGE);
        bytes[i] ^= 0x40;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_found, setup),
        cmocka_unit_test_setup(test_newest_kept, setup),
        cmocka_unit_test_setup(test_again, setup),
        cmocka_unit_test_setup(test_forgotten, setup),
        cmocka_unit_test_setup(test_other_domain, setup),
        cmocka_unit_test_setup(test_other_port, setup),
        cmocka_unit_test_setup(test_no_port, setup),
        cmocka_unit_test_setup(test_nothing_alike, setup),
        cmocka_unit_test_setup(test_loud_host, setup),
        cmocka_unit_test_setup(test_full, setup),
        cmocka_unit_test_setup(test_malformed, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
