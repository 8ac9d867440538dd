/* test_st_device.c - device ids as Syncthing writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "proxy/syncthing/st_device.h"

/* Made by Syncthing 1.19. */
#define GOLDEN "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ3"
static const struct st_device golden = {{0x97, 0x4b, 0x32, 0xc3, 0xcd, 0x7d, 0xff, 0x8d,
                                         0x72, 0xc9, 0x34, 0xaa, 0x82, 0x60, 0xaa, 0x04,
                                         0x76, 0x7f, 0x65, 0x9c, 0x2f, 0x80, 0x9a, 0xb6,
                                         0x34, 0x9c, 0x14, 0xe8, 0xb2, 0x68, 0x4b, 0x6b}};

static void text_is_what_syncthing_shows(void **state)
{
    char text[ST_DEVICE_TEXT], small[ST_DEVICE_SHORT];
    assert_string_equal(st_device_text(&golden, text), GOLDEN);
    assert_string_equal(st_device_short(&golden, small), "S5FTFQ6");
}

static void what_people_write(void **state)
{
    static const char *const good[] = {
        GOLDEN,
        "s5ftfq6-npx7y2b-4wjgsvi-eyfkary-3h6zm4f-6ajvnrn-utqkorm-tijnvq3",
        "S5FTFQ6NPX7Y2B4WJGSVIEYFKARY3H6ZM4F6AJVNRNUTQKORMTIJNVQ3",
        "S5FTFQ6 NPX7Y2B 4WJGSVI EYFKARY 3H6ZM4F 6AJVNRN UTQKORM TIJNVQ3",
        "S5FTFQ6-NPX7Y28-4WJGSV1-EYFKARY-3H6ZM4F-6AJVNRN-UTQK0RM-T1JNVQ3",
        "S5FTFQ6NPX7Y24WJGSVIEYFKAR3H6ZM4F6AJVNRUTQKORMTIJNVQ", /* no check characters */
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct st_device device = {{0}};
        assert_int_equal(st_device_parse(good[i], &device), 0);
        assert_true(st_device_equal(&device, &golden));
    }
}

static void what_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "any",
        GOLDEN "A",
        "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ4", /* last check */
        "T5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ3", /* first digit */
        "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ",
        "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNV/3",
        "S5FTFQ6NPX7Y24WJGSVIEYFKAR3H6ZM4F6AJVNRUTQKORMTIJNVR", /* more than 256 bits */
    };
    struct st_device device = golden;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(st_device_parse(bad[i], &device), -EINVAL);
    assert_true(st_device_equal(&device, &golden)); /* untouched */
}

static void round_trip(void **state)
{
    struct st_device device, again;
    char text[ST_DEVICE_TEXT];
    for (unsigned seed = 0; seed < 300; seed++) {
        for (unsigned i = 0; i < ST_DEVICE_BYTES; i++)
            device.b[i] = (uint8_t)(seed * 131 + i * 29 + seed * i);
        assert_int_equal(st_device_parse(st_device_text(&device, text), &again), 0);
        assert_true(st_device_equal(&device, &again));
    }
}

/* One wrong or two swapped neighbouring characters are noticed. */
static void typos_are_noticed(void **state)
{
    struct st_device device;
    char text[] = GOLDEN;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        char right = text[i];
        if (right == '-')
            continue;
        text[i] = right == 'A' ? 'C' : 'A';
        assert_int_equal(st_device_parse(text, &device), -EINVAL);
        text[i] = right;
    }
    assert_int_equal(st_device_parse(text, &device), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_what_syncthing_shows),
        cmocka_unit_test(what_people_write),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(typos_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
