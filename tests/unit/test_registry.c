#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proxy/registry.h"

static const struct party alice = {PARTY_AGENT, {{1}}};
static const struct party bob = {PARTY_AGENT, {{2}}};
static const struct party newcomer = {PARTY_ENROL, {{3}}};
static const struct party console = {PARTY_CONSOLE, {{4}}};

static struct conn_ref *handle(void)
{
    struct conn_ref *ref = conn_ref_new(NULL, NULL);
    assert_non_null(ref);
    return ref;
}

#define CAPS 6u

/* What was offered at the registration comes with it. */
static struct conn_ref *find(struct registry *registry, const struct party *party)
{
    uint32_t caps = 0;
    struct conn_ref *ref = registry_find(registry, party, &caps);
    assert_int_equal(caps, ref ? CAPS : 0);
    return ref;
}

/* Register a new handle; what it displaced must be @old. */
static enum close_reason add(struct registry *registry, const struct party *party,
                             const char *address, uint64_t seconds, struct conn_ref *ref,
                             struct conn_ref *old)
{
    struct conn_ref *displaced = NULL;
    enum close_reason reason =
        registry_add(registry, party, address, CAPS, ref, seconds * CLOCK_SEC, &displaced);
    assert_ptr_equal(displaced, old);
    conn_ref_unref(displaced);
    return reason;
}

static void finds_who_registered(void **state)
{
    struct registry *registry;
    struct conn_ref *a = handle();
    assert_int_equal(registry_new(10, &registry), 0);
    assert_null(find(registry, &alice));
    assert_int_equal(add(registry, &alice, "1.2.3.4:5", 1, a, NULL), CLOSE_DONE);
    struct conn_ref *found = find(registry, &alice);
    assert_ptr_equal(found, a);
    conn_ref_unref(found);
    assert_null(find(registry, &bob));
    assert_int_equal(registry_count(registry), 1);
    registry_remove(registry, &alice, a);
    assert_null(find(registry, &alice));
    assert_int_equal(registry_count(registry), 0);
    conn_ref_unref(a);
    registry_free(registry);
}

static void newest_wins(void **state)
{
    struct registry *registry;
    struct conn_ref *old = handle(), *new = handle();
    assert_int_equal(registry_new(10, &registry), 0);
    assert_int_equal(add(registry, &alice, "1.1.1.1:1", 1, old, NULL), CLOSE_DONE);
    assert_int_equal(add(registry, &alice, "1.1.1.1:2", 2, new, old), CLOSE_DONE);
    assert_int_equal(registry_count(registry), 1);
    registry_remove(registry, &alice, old); /* comes late: the new one stays */
    struct conn_ref *found = find(registry, &alice);
    assert_ptr_equal(found, new);
    conn_ref_unref(found);
    conn_ref_unref(old);
    conn_ref_unref(new);
    registry_free(registry);
}

/* Register from two hosts by turns until told otherwise; returns how often it went well. */
static unsigned fight(struct registry *registry, uint64_t start, uint64_t step, unsigned rounds)
{
    struct conn_ref *last = NULL;
    unsigned good = 0;
    for (unsigned i = 0; i < rounds; i++) {
        struct conn_ref *ref = handle();
        enum close_reason reason =
            add(registry, &alice, i % 2 ? "1.1.1.1:1" : "2.2.2.2:1", start + i * step, ref, last);
        conn_ref_unref(ref); /* the registry has its own */
        if (reason != CLOSE_DONE) {
            assert_int_equal(reason, CLOSE_FLAPPING);
            return good;
        }
        last = ref;
        good++;
    }
    return good;
}

static void clones_are_held(void **state)
{
    struct registry *registry;
    struct conn_ref *late = handle();
    assert_int_equal(registry_new(10, &registry), 0);
    assert_int_equal(fight(registry, 100, 1, 20), 1 + REGISTRY_SWAPS_MAX);
    assert_null(find(registry, &alice)); /* both are out */
    assert_int_equal(registry_count(registry), 0);
    assert_int_equal(add(registry, &alice, "1.1.1.1:1", 130, late, NULL), CLOSE_FLAPPING);
    registry_sweep(registry, 130 * CLOCK_SEC); /* must not forget the hold */
    assert_int_equal(add(registry, &alice, "1.1.1.1:1", 131, late, NULL), CLOSE_FLAPPING);
    registry_sweep(registry, 200 * CLOCK_SEC);
    assert_int_equal(add(registry, &alice, "1.1.1.1:1", 201, late, NULL), CLOSE_DONE);
    conn_ref_unref(late);
    registry_free(registry);
}

static void slow_moves_are_no_fight(void **state)
{
    struct registry *registry;
    assert_int_equal(registry_new(10, &registry), 0);
    assert_int_equal(fight(registry, 100, 25, 20), 20);
    registry_free(registry);
}

static void one_host_may_reconnect_often(void **state)
{
    struct registry *registry;
    struct conn_ref *last = NULL;
    assert_int_equal(registry_new(10, &registry), 0);
    for (unsigned i = 0; i < 50; i++) {
        struct conn_ref *ref = handle();
        assert_int_equal(add(registry, &alice, "1.1.1.1:1", 100 + i, ref, last), CLOSE_DONE);
        conn_ref_unref(ref);
        last = ref;
    }
    registry_free(registry);
}

static void newcomers_are_many_and_not_found(void **state)
{
    struct registry *registry;
    struct conn_ref *a = handle(), *b = handle();
    assert_int_equal(registry_new(10, &registry), 0);
    assert_int_equal(add(registry, &newcomer, "1.1.1.1:1", 1, a, NULL), CLOSE_DONE);
    assert_int_equal(add(registry, &newcomer, "2.1.1.1:1", 1, b, NULL), CLOSE_DONE);
    assert_int_equal(registry_count(registry), 2);
    assert_null(find(registry, &newcomer));
    registry_remove(registry, &newcomer, a);
    assert_int_equal(registry_count(registry), 1);
    conn_ref_unref(a);
    conn_ref_unref(b);
    registry_free(registry);
}

static void is_bounded_but_for_the_console(void **state)
{
    struct registry *registry;
    struct conn_ref *ref = handle();
    assert_int_equal(registry_new(1, &registry), 0);
    assert_int_equal(add(registry, &alice, "1.1.1.1:1", 1, ref, NULL), CLOSE_DONE);
    assert_int_equal(add(registry, &bob, "1.1.1.1:1", 1, ref, NULL), CLOSE_FULL);
    assert_int_equal(add(registry, &newcomer, "1.1.1.1:1", 1, ref, NULL), CLOSE_FULL);
    assert_int_equal(add(registry, &console, "1.1.1.1:1", 1, ref, NULL), CLOSE_DONE);
    conn_ref_unref(ref);
    registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_who_registered),
        cmocka_unit_test(newest_wins),
        cmocka_unit_test(clones_are_held),
        cmocka_unit_test(slow_moves_are_no_fight),
        cmocka_unit_test(one_host_may_reconnect_often),
        cmocka_unit_test(newcomers_are_many_and_not_found),
        cmocka_unit_test(is_bounded_but_for_the_console),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
