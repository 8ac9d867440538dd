#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/account.h"
#include "proxy/settings.h"

static const struct party alice = {PARTY_AGENT, {{1}}}, bob = {PARTY_AGENT, {{2}}};
static const struct party console = {PARTY_CONSOLE, {{9}}};
static struct proxy_limits limits;
static struct accounts *accounts;

static int setup(void **state)
{
    limits = (struct proxy_limits){
        .sessions_per_agent = 2, .legs_per_agent = 3, .volume_agent_day = 1000};
    assert_int_equal(accounts_new(&limits, &accounts), 0);
    accounts_set_day(accounts, 20000);
    return 0;
}

static int teardown(void **state)
{
    accounts_free(accounts);
    return 0;
}

static struct account *session(const struct party *party, enum close_reason reason)
{
    struct account *account;
    assert_int_equal(account_open_session(accounts, party, &account), reason);
    return account;
}

static struct account *leg(const struct party *party, enum close_reason reason)
{
    struct account *account;
    assert_int_equal(account_open_leg(accounts, party, &account), reason);
    return account;
}

static void counts_are_bounded(void **state)
{
    struct account *a = session(&alice, CLOSE_DONE);
    assert_ptr_equal(session(&alice, CLOSE_DONE), a);
    assert_null(session(&alice, CLOSE_FULL));
    struct account *b = session(&bob, CLOSE_DONE);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(leg(&alice, CLOSE_DONE), a);
    assert_null(leg(&alice, CLOSE_FULL));
    account_close_session(accounts, a);
    assert_ptr_equal(session(&alice, CLOSE_DONE), a);
    limits.sessions_per_agent = 1;
    accounts_set_limits(accounts, &limits);
    assert_null(session(&alice, CLOSE_FULL));
    account_close_session(accounts, a);
    assert_null(session(&alice, CLOSE_FULL)); /* one is still there */
    account_close_session(accounts, a);
    assert_int_equal(accounts_count(accounts), 2);
    account_close_session(accounts, b);
    for (unsigned i = 0; i < 3; i++)
        account_close_leg(accounts, a);
    assert_int_equal(accounts_count(accounts), 0);
}

static void the_console_is_not(void **state)
{
    for (unsigned i = 0; i < 10; i++) {
        assert_null(session(&console, CLOSE_DONE));
        assert_null(leg(&console, CLOSE_DONE));
    }
    assert_true(account_add(accounts, NULL, UINT64_MAX));
    assert_null(account_bucket(NULL));
    account_close_session(accounts, NULL);
    account_close_leg(accounts, NULL);
    assert_int_equal(accounts_count(accounts), 0);
}

static void volume_of_a_day(void **state)
{
    struct account *a = session(&alice, CLOSE_DONE);
    assert_true(account_add(accounts, a, 1000));
    assert_false(account_add(accounts, a, 1));
    account_close_session(accounts, a);
    assert_null(session(&alice, CLOSE_VOLUME)); /* remembered without a session */
    (void)session(&bob, CLOSE_DONE);
    assert_ptr_equal(leg(&alice, CLOSE_DONE), a); /* it may still be registered */
    accounts_set_day(accounts, 20001);
    assert_ptr_equal(session(&alice, CLOSE_DONE), a);
    assert_true(account_add(accounts, a, 999));
    accounts_set_day(accounts, 20000); /* the clock was set back */
    assert_true(account_add(accounts, a, 999));
    limits.volume_agent_day = 500;
    accounts_set_limits(accounts, &limits);
    assert_false(account_add(accounts, a, 1));
    limits.volume_agent_day = 0;
    accounts_set_limits(accounts, &limits);
    assert_true(account_add(accounts, a, UINT64_C(1) << 50));
    assert_ptr_equal(session(&alice, CLOSE_DONE), a);
}

/* Who came once does not stay for ever. */
static void forgets_at_midnight(void **state)
{
    for (uint8_t i = 0; i < 100; i++) {
        struct party party = {PARTY_ENROL, {{i}}};
        struct account *account = session(&party, CLOSE_DONE);
        assert_true(account_add(accounts, account, i));
        account_close_session(accounts, account);
    }
    assert_int_equal(accounts_count(accounts), 99); /* the first has moved nothing */
    accounts_set_day(accounts, 20001);
    assert_int_equal(accounts_count(accounts), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counts_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(the_console_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(volume_of_a_day, setup, teardown),
        cmocka_unit_test_setup_teardown(forgets_at_midnight, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
