/* test_st_status.c - rates over times gone by, and the page that shows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proxy/syncthing/st_status.h"

static void rates(void **state)
{
    struct st_rates made = {0};
    uint64_t now = CLOCK_SEC, bytes = 0;

    for (unsigned second = 0; second < 4000; second++) {
        st_rates_sample(&made, bytes, now);
        bytes += second < 3990 ? 1000 : 0; /* 8 kilobits a second, and then nothing */
        now += CLOCK_SEC;
    }
    assert_int_equal(st_rates_kbps(&made, 10), 8);
    st_rates_sample(&made, bytes, now);
    assert_int_equal(st_rates_kbps(&made, 10), 0);
    assert_int_equal(st_rates_kbps(&made, 60), 6);
    assert_int_equal(st_rates_kbps(&made, 3600), 7);
}

static void a_young_relay(void **state)
{
    struct st_rates made = {0};
    st_rates_sample(&made, 0, 5 * CLOCK_SEC);
    st_rates_sample(&made, 4500000, 16 * CLOCK_SEC);
    assert_int_equal(st_rates_kbps(&made, 10), 3600);
    assert_int_equal(st_rates_kbps(&made, 3600), 10); /* over the whole hour */
}

static void page(void **state)
{
    const struct st_numbers numbers = {.started = 1700000000,
                                       .uptime = 5,
                                       .pending = 2,
                                       .sessions = 3,
                                       .bytes = UINT64_C(1) << 40};
    struct st_rates made = {0};
    char *text = st_status_json(&numbers, &made);

    assert_non_null(text);
    assert_non_null(strstr(text, "    \"startTime\": \"2023-11-14T22:13:20Z\""));
    assert_non_null(strstr(text, "\"numPendingSessionKeys\": 4,"));
    assert_non_null(strstr(text, "\"numProxies\": 6,"));
    assert_non_null(strstr(text, "\"bytesProxied\": 1099511627776,"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates),
        cmocka_unit_test(a_young_relay),
        cmocka_unit_test(page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
