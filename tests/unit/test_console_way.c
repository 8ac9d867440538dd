/* Which proxies an agent registers at: the console's list, then those of mc_proxy that are not in
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/console_way.h"

static char first[] = "p1:1080", second[] = "p2:1080";
static char *own[] = {first, second};
static const struct agent_config config = {.proxies = {own, 2}};

static fl_ProxyList *list_of(size_t count)
{
    fl_ProxyList *list = calloc(1, sizeof(*list));

    assert_non_null(list);
    list->proxies_count = (pb_size_t)count;
    for (size_t i = 0; i < count; i++) {
        list->proxies[i].id[0] = (uint8_t)(i + 1);
        list->proxies[i].addresses_count = 2;
        (void)snprintf(list->proxies[i].addresses[0], sizeof(list->proxies[i].addresses[0]),
                       "x%zu:1", i);
        (void)snprintf(list->proxies[i].addresses[1], sizeof(list->proxies[i].addresses[1]),
                       "p%zu:1080", i + 2);
    }
    return list;
}

static void only_the_file(void **state)
{
    static struct endpoint_proxy proxies[4];

    assert_int_equal(console_way_proxies(&config, NULL, proxies, 4), 2);
    assert_string_equal(proxies[0].addresses[0], "p1:1080");
    assert_string_equal(proxies[0].name, "p1:1080");
    assert_true(id_is_zero(&proxies[0].id)); /* any of our authority */
    assert_int_equal(console_way_proxies(&config, NULL, proxies, 1), 1);
}

static void the_list_comes_first(void **state)
{
    static struct endpoint_proxy proxies[4];
    fl_ProxyList *list = list_of(1);

    assert_int_equal(console_way_proxies(&config, list, proxies, 4), 2);
    assert_int_equal(proxies[0].id.b[0], 1);
    assert_string_equal(proxies[0].addresses[1], "p2:1080");
    assert_string_equal(proxies[1].addresses[0], "p1:1080"); /* p2 is known by its address */
    free(list);
}

static void never_more_than_there_is_room(void **state)
{
    static struct endpoint_proxy proxies[ENDPOINT_PROXIES_MAX];
    fl_ProxyList *list = list_of(ENDPOINT_PROXIES_MAX);

    assert_int_equal(console_way_proxies(&config, list, proxies, ENDPOINT_PROXIES_MAX),
                     ENDPOINT_PROXIES_MAX);
    assert_int_equal(console_way_proxies(&config, list, proxies, 3), 3);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_file),
        cmocka_unit_test(the_list_comes_first),
        cmocka_unit_test(never_more_than_there_is_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
