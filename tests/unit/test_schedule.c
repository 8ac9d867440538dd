#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rate.h"
#include "base/schedule.h"

enum { MON, TUE, WED, THU, FRI, SAT, SUN };

static struct schedule schedule;
static const char *const names[] = {"rate_session", "rate_agent", "rate_proxy", NULL};
static char message[512];

static int setup(void **state)
{
    memset(&schedule, 0, sizeof(schedule));
    return 0;
}

static void add(const char *text)
{
    message[0] = '\0';
    if (schedule_add(&schedule, names, text, message, sizeof(message)))
        fail_msg("%s: %s", text, message);
}

static uint64_t proxy_rate(unsigned day, unsigned hour, unsigned minute)
{
    uint64_t rates[] = {1, 2, 3};
    schedule_rates(&schedule, (struct schedule_time){day, hour * 60 + minute}, rates);
    assert_int_equal(rates[0], 1);
    return rates[2] / 1024;
}

static void office_hours(void **state)
{
    add("mon-fri 08:00-18:00 rate_proxy=10240");
    assert_int_equal(proxy_rate(MON, 7, 59), 0); /* 3 bytes a second, of the base */
    assert_int_equal(proxy_rate(MON, 8, 0), 10240);
    assert_int_equal(proxy_rate(FRI, 17, 59), 10240);
    assert_int_equal(proxy_rate(FRI, 18, 0), 0);
    assert_int_equal(proxy_rate(SAT, 12, 0), 0);
    assert_int_equal(proxy_rate(SUN, 12, 0), 0);
}

static void over_midnight(void **state)
{
    add("fri,sun 22:00-06:00 rate_proxy=1");
    assert_int_equal(proxy_rate(FRI, 5, 0), 0); /* of Thursday's night */
    assert_int_equal(proxy_rate(FRI, 21, 59), 0);
    assert_int_equal(proxy_rate(FRI, 22, 0), 1);
    assert_int_equal(proxy_rate(SAT, 5, 59), 1);
    assert_int_equal(proxy_rate(SAT, 6, 0), 0);
    assert_int_equal(proxy_rate(SAT, 23, 0), 0);
    assert_int_equal(proxy_rate(SUN, 23, 59), 1);
    assert_int_equal(proxy_rate(MON, 0, 0), 1); /* over the end of the week as well */
    assert_int_equal(proxy_rate(MON, 6, 0), 0);
}

static void until_midnight(void **state)
{
    add("tue 20:00-24:00 rate_proxy=1");
    add("wed 20:00-00:00 rate_proxy=2");
    add("thu 00:00-24:00 rate_proxy=4");
    assert_int_equal(proxy_rate(TUE, 23, 59), 1);
    assert_int_equal(proxy_rate(WED, 0, 0), 0);
    assert_int_equal(proxy_rate(WED, 23, 59), 2);
    assert_int_equal(proxy_rate(THU, 0, 0), 4);
    assert_int_equal(proxy_rate(THU, 23, 59), 4);
    assert_int_equal(proxy_rate(FRI, 0, 0), 0);
}

static void days(void **state)
{
    add("sat-mon,wed 12:00-13:00 rate_proxy=5");
    static const unsigned on[] = {1, 0, 1, 0, 0, 1, 1};
    for (unsigned day = 0; day < 7; day++)
        assert_int_equal(proxy_rate(day, 12, 30), on[day] * 5);
    add("daily 12:00-14:00 rate_proxy=6");
    for (unsigned day = 0; day < 7; day++)
        assert_int_equal(proxy_rate(day, 12, 30), on[day] ? 5 : 6); /* the first wins */
}

static void rates_not_named_stay(void **state)
{
    uint64_t rates[] = {1, 2, 3};
    add("daily  00:00-12:00   rate_agent=0 rate_session=67108864");
    schedule_rates(&schedule, (struct schedule_time){SUN, 0}, rates);
    assert_int_equal(rates[0], RATE_MOST);
    assert_int_equal(rates[1], 0);
    assert_int_equal(rates[2], 3);
    rates[0] = 1;
    schedule_rates(&schedule, (struct schedule_time){SUN, 720}, rates);
    assert_int_equal(rates[0], 1);
}

/* One line that says what and where, whatever came in. */
static void bad_texts(void **state)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"", "expected DAYS"},
        {"mon", "expected DAYS"},
        {"mon 08:00-09:00", "expected DAYS"},
        {", 08:00-09:00 rate_proxy=1", "expected DAYS"},
        {"mon-fry 08:00-18:00 rate_proxy=1", "(\"mon-fry\")"},
        {"Mon 08:00-18:00 rate_proxy=1", "(\"Mon\")"},
        {"mon-tue-wed 08:00-18:00 rate_proxy=1", "(\"mon-tue-wed\")"},
        {"mon 8:00-18:00 rate_proxy=1", "(\"8:00-18:00\")"},
        {"mon 08:00-25:00 rate_proxy=1", "two different times"},
        {"mon 08:00-24:01 rate_proxy=1", "two different times"},
        {"mon 24:00-08:00 rate_proxy=1", "two different times"},
        {"mon 08:60-09:00 rate_proxy=1", "two different times"},
        {"mon 08:00-08:00 rate_proxy=1", "two different times"},
        {"mon 08:00 rate_proxy=1", "two different times"},
        {"mon 08:00-09:00 rate=1", "(\"rate=1\")"},
        {"mon 08:00-09:00 rate_proxy", "(\"rate_proxy\")"},
        {"mon 08:00-09:00 rate_proxy=", "whole number"},
        {"mon 08:00-09:00 rate_proxy=-1", "whole number"},
        {"mon 08:00-09:00 rate_proxy=1M", "whole number"},
        {"mon 08:00-09:00 rate_proxy=67108865", "whole number"},
        {"mon 08:00-09:00 rate_proxy=99999999999999999999999", "whole number"},
        {"mon\n08:00-09:00 rate_proxy=1", "expected"},
        {"m\non 08:00-09:00 rate_proxy=1", "expected"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        message[0] = '\0';
        assert_int_not_equal(schedule_add(&schedule, names, bad[i].text, message, sizeof(message)),
                             0);
        if (!strstr(message, bad[i].word) || strchr(message, '\n'))
            fail_msg("%s: %s", bad[i].text, message);
    }
    assert_int_equal(schedule.count, 0);
}

static void is_bounded(void **state)
{
    char text[2000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_not_equal(schedule_add(&schedule, names, text, message, sizeof(message)), 0);
    for (unsigned i = 0; i < SCHEDULE_MAX; i++)
        add("mon 08:00-18:00 rate_proxy=1");
    assert_int_not_equal(
        schedule_add(&schedule, names, "mon 08:00-18:00 rate_proxy=1", message, sizeof(message)),
        0);
    assert_non_null(strstr(message, "32"));
}

/* Local time, with the night in March that has no 02:30 in Berlin and the one in October that has
 * it twice. */
static void local_time(void **state)
{
    static const struct {
        int64_t wall;
        unsigned day, hour, minute;
    } moments[] = {
        {0, THU, 1, 0},                                     /* 1970-01-01 00:00 UTC */
        {1774745940, SUN, 1, 59},                           /* 2026-03-29 00:59 UTC */
        {1774746000, SUN, 3, 0},  {1792888200, SUN, 2, 30}, /* 2026-10-25 00:30 UTC, summer */
        {1792891800, SUN, 2, 30},                           /* an hour later, winter */
        {1792969200, MON, 0, 0},
    };
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        struct schedule_time time = schedule_time_of(moments[i].wall);
        assert_int_equal(time.day, moments[i].day);
        assert_int_equal(time.minute, moments[i].hour * 60 + moments[i].minute);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(office_hours, setup),
        cmocka_unit_test_setup(over_midnight, setup),
        cmocka_unit_test_setup(until_midnight, setup),
        cmocka_unit_test_setup(days, setup),
        cmocka_unit_test_setup(rates_not_named_stay, setup),
        cmocka_unit_test_setup(bad_texts, setup),
        cmocka_unit_test_setup(is_bounded, setup),
        cmocka_unit_test_setup(local_time, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
