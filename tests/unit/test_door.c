/* The door's places: who counts as whom, limits, what is kept for the console. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/door.h"

static struct prefix from(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct prefix result;

    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        prefix_of((struct sockaddr *)&in, &result);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        prefix_of((struct sockaddr *)&in6, &result);
    }
    return result;
}

static struct door *door_with(uint32_t all, uint32_t per_address, uint32_t per_network)
{
    struct door *door;
    assert_int_equal(door_new(all, per_address, per_network, &door), 0);
    return door;
}

static enum door_answer enter(struct door *door, const char *text, struct door_place *place)
{
    struct prefix where = from(text);
    return door_enter(door, &where, place);
}

static void what_is_one_address(void **state)
{
    struct prefix a = from("192.0.2.1"), b = from("::ffff:192.0.2.1"), c = from("192.0.2.2");
    assert_int_equal(a.kind, PREFIX_V4);
    assert_int_equal(b.kind, PREFIX_V4);
    assert_true(a.address == b.address && a.address != c.address);
    a = from("2001:db8:1:2::1");
    b = from("2001:db8:1:2:ffff::9");
    c = from("2001:db8:1:3::1");
    assert_int_equal(a.kind, PREFIX_V6);
    assert_true(a.address == b.address && a.address != c.address);
    struct sockaddr none = {.sa_family = AF_UNIX};
    prefix_of(&none, &a);
    assert_int_equal(a.kind, PREFIX_NONE);
}

static void limits_of_address_and_network(void **state)
{
    static const struct {
        const char *one, *near, *far; /* same network, another one */
    } rows[] = {
        {"192.0.2.1", "192.0.2.200", "192.0.3.1"},
        {"::ffff:192.0.2.1", "192.0.2.200", "192.0.3.1"},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:2::1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct door *door = door_with(100, 2, 3);
        struct door_place place[5];
        assert_int_equal(enter(door, rows[i].one, &place[0]), DOOR_IN);
        assert_int_equal(enter(door, rows[i].one, &place[1]), DOOR_IN);
        assert_int_equal(enter(door, rows[i].one, &place[2]), DOOR_CROWDED);
        assert_false(place[2].taken);
        assert_int_equal(enter(door, rows[i].near, &place[2]), DOOR_IN);
        assert_int_equal(enter(door, rows[i].near, &place[3]), DOOR_CROWDED);
        assert_int_equal(enter(door, rows[i].far, &place[3]), DOOR_IN);
        door_leave(door, &place[0]);
        door_leave(door, &place[0]); /* a second time does nothing */
        assert_int_equal(enter(door, rows[i].one, &place[0]), DOOR_IN);
        assert_int_equal(door_count(door), 4);
        for (unsigned k = 0; k < 4; k++)
            door_leave(door, &place[k]);
        assert_int_equal(door_count(door), 0);
        assert_int_equal(door_peak(door), 4); /* were there meanwhile */
        assert_int_equal(door_peak(door), 0);
        door_free(door);
    }
}

static void a_limit_in_all(void **state)
{
    struct door *door = door_with(3, 10, 10);
    struct door_place place[4];
    char text[32];

    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof(text), "198.51.%u.1", i);
        assert_int_equal(enter(door, text, &place[i]), DOOR_IN);
    }
    for (unsigned i = 0; i < 100; i++) /* refusals leave nothing behind */
        assert_int_equal(enter(door, "203.0.113.1", &place[3]), DOOR_FULL);
    door_leave(door, &place[1]);
    assert_int_equal(enter(door, "203.0.113.1", &place[3]), DOOR_IN);
    door_set_max(door, 1, 10, 10); /* who is in stays */
    assert_int_equal(door_count(door), 3);
    assert_int_equal(enter(door, "203.0.113.2", &place[1]), DOOR_FULL);
    door_free(door);
}

static void the_console_has_places_of_its_own(void **state)
{
    struct door *door = door_with(32, 2, 2);
    struct door_place place, last;
    struct prefix console = from("192.0.2.7");
    unsigned kept = 0;

    assert_false(door_is_console(door, &console));
    door_set_max(door, 0, 2, 2);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_FULL);
    door_set_max(door, 32, 2, 2);
    door_console(door, &console);
    assert_true(door_is_console(door, &console));
    while (enter(door, "192.0.2.7", &place) == DOOR_IN && place.kept) {
        last = place;
        kept++;
    }
    assert_int_equal(kept, door_kept(32));
    assert_true(place.taken && !place.kept); /* then as everybody */
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_CROWDED);
    door_leave(door, &last);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    assert_true(place.kept);
    assert_int_equal(enter(door, "192.0.2.8", &place), DOOR_CROWDED); /* its neighbour is not it */
    door_free(door);
}

static void data_legs_have_places_of_their_own(void **state)
{
    struct door *door = door_with(16, 2, 2);
    struct prefix here = from("192.0.2.7"), nowhere = {PREFIX_NONE, 0};
    struct door_place place, last = {0};
    unsigned kept = 0;

    door_set_max(door, 0, 2, 2);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_FULL);
    assert_false(place.expected);
    door_expect(door, &here);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    assert_true(place.expected && place.kept && !place.console);
    door_leave(door, &place);
    assert_int_equal(door_count(door), 0);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_FULL); /* it was expected once */

    door_set_max(door, 16, 2, 2);
    for (unsigned i = 0; i < 2 * door_kept(16); i++)
        door_expect(door, &here);
    while (enter(door, "192.0.2.7", &place) == DOOR_IN && place.kept) {
        last = place;
        kept++;
    }
    assert_int_equal(kept, door_kept(16));
    assert_true(place.taken && place.expected); /* then a place as everybody's */
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    for (unsigned i = 0; i < 50; i++) /* which a refusal does not use up */
        assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_CROWDED);
    door_leave(door, &last);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    assert_true(place.expected && place.kept);

    door_expect(door, &nowhere);
    assert_int_equal(door_enter(door, &nowhere, &place), DOOR_IN);
    assert_false(place.expected);
    door_free(door);
}

static void what_does_not_come_is_forgotten(void **state)
{
    struct door *door = door_with(16, 16, 16);
    struct prefix here = from("2001:db8::1");
    struct door_place place;

    door_expect(door, &here);
    door_age(door);
    door_expect(door, &here);
    assert_int_equal(enter(door, "2001:db8::2", &place), DOOR_IN); /* the older one; the same /64 */
    assert_true(place.expected);
    door_age(door);
    assert_int_equal(enter(door, "2001:db8::1", &place), DOOR_IN);
    assert_true(place.expected);
    door_expect(door, &here);
    door_age(door);
    door_age(door);
    assert_int_equal(enter(door, "2001:db8::1", &place), DOOR_IN);
    assert_false(place.expected);
    door_free(door);
}

static void the_console_uses_up_no_expectation(void **state)
{
    struct door *door = door_with(16, 16, 16);
    struct prefix here = from("192.0.2.7");
    struct door_place place;

    door_console(door, &here);
    door_expect(door, &here);
    assert_int_equal(enter(door, "192.0.2.7", &place), DOOR_IN);
    assert_true(place.console && !place.expected);
    door_leave(door, &place);
    assert_int_equal(door_count(door), 0);
    door_free(door);
}

static void the_latest_consoles_are_remembered(void **state)
{
    struct door *door = door_with(32, 2, 2);
    struct prefix first = from("2001:db8::1"), other;
    char text[32];

    door_console(door, &first);
    for (unsigned i = 0; i < 2 * DOOR_CONSOLES; i++) {
        (void)snprintf(text, sizeof(text), "192.0.2.%u", i);
        other = from(text);
        door_console(door, &other);
        door_console(door, &first); /* used again and again, so never forgotten */
    }
    assert_true(door_is_console(door, &first));
    assert_true(door_is_console(door, &other));
    other = from("192.0.2.1");
    assert_false(door_is_console(door, &other));
    other = (struct prefix){PREFIX_NONE, 0};
    door_console(door, &other);
    assert_false(door_is_console(door, &other));
    door_free(door);
}

static void many_addresses(void **state)
{
    enum { COUNT = 20000 };
    static struct door_place place[COUNT];
    struct door *door = door_with(COUNT, 1, COUNT);

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            struct prefix where = {PREFIX_V6, (uint64_t)i << 16};
            assert_int_equal(door_enter(door, &where, &place[i]), DOOR_IN);
            struct door_place again;
            assert_int_equal(door_enter(door, &where, &again), DOOR_CROWDED);
        }
        for (unsigned i = 0; i < COUNT; i++)
            door_leave(door, &place[i]);
        assert_int_equal(door_count(door), 0);
    }
    door_free(door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_one_address),
        cmocka_unit_test(limits_of_address_and_network),
        cmocka_unit_test(a_limit_in_all),
        cmocka_unit_test(the_console_has_places_of_its_own),
        cmocka_unit_test(data_legs_have_places_of_their_own),
        cmocka_unit_test(what_does_not_come_is_forgotten),
        cmocka_unit_test(the_console_uses_up_no_expectation),
        cmocka_unit_test(the_latest_consoles_are_remembered),
        cmocka_unit_test(many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
