/* Who may use a proxy: everybody without a list, only the agents on it with one, others always. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/allow.h"

static struct party agent(uint8_t first)
{
    return (struct party){.role = PARTY_AGENT, .id = {{first, 7}}};
}

static bool has(struct allow *allow, struct party party)
{
    return allow_has(allow, &party);
}

static void test_nobody_is_named(void **state)
{
    struct allow allow;
    assert_int_equal(allow_init(&allow), 0);
    assert_true(has(&allow, agent(1)));
    allow_done(&allow);
}

static void test_the_list_holds(void **state)
{
    const struct fl_id ids[] = {
        {{9, 7}}, {{2, 7}}, {{5, 7}}, {{2, 7}}}; /* in no order, one twice */
    struct allow allow;

    assert_int_equal(allow_init(&allow), 0);
    assert_int_equal(allow_set(&allow, ids, 4), 0);
    for (uint8_t first = 0; first < 12; first++)
        assert_int_equal(has(&allow, agent(first)), first == 2 || first == 5 || first == 9);
    assert_int_equal(allow_set(&allow, ids, 1), 0); /* it replaces the former one */
    assert_true(has(&allow, agent(9)) && !has(&allow, agent(2)));
    assert_int_equal(allow_set(&allow, NULL, 0), 0);
    assert_true(has(&allow, agent(1)));
    allow_done(&allow);
}

static void test_it_is_about_agents(void **state)
{
    const struct fl_id id = {{9, 7}};
    struct allow allow;

    assert_int_equal(allow_init(&allow), 0);
    assert_int_equal(allow_set(&allow, &id, 1), 0);
    assert_true(has(&allow, (struct party){.role = PARTY_CONSOLE}));
    assert_true(has(&allow, (struct party){.role = PARTY_ENROL, .id = {{3}}}));
    assert_false(has(&allow, agent(3)));
    allow_done(&allow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_named),
        cmocka_unit_test(test_the_list_holds),
        cmocka_unit_test(test_it_is_about_agents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
