#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "leg/network.h"

static const char routes[] =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
    "tun0\t00000000\t0100000A\t0003\t0\t0\t50\t00000080\t0\t0\t0\n" /* half of the world */
    "eth1\t00000000\t0200000A\t0002\t0\t0\t0\t00000000\t0\t0\t0\n"  /* is down */
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

static const char arp[] =
    "IP address       HW type     Flags       HW address            Mask     Device\n"
    "192.0.2.7        0x1         0x2         02:fc:00:00:00:07     *        eth0\n"
    "192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0\n"
    "192.0.2.9        0x1         0x0         02:fc:00:00:00:09     *        eth0\n";

static void the_preferred_default_router_is_found(void **state)
{
    assert_int_equal(network_router(routes), inet_addr("192.0.2.1"));
    assert_int_equal(network_router(""), 0);
    assert_int_equal(network_router("no\nroute here\n"), 0);
    assert_int_equal(network_router("head\neth0\t00000000\t0102"), 0);
}

static void its_hardware_address_is_found(void **state)
{
    static const uint8_t five[6] = {2, 0xfc, 0, 0, 0, 5}, none[6];
    uint8_t mac[6];

    network_mac(arp, inet_addr("192.0.2.1"), mac);
    assert_memory_equal(mac, five, 6);
    network_mac(arp, inet_addr("192.0.2.9"), mac); /* asked for, and has not answered */
    assert_memory_equal(mac, none, 6);
    network_mac("", inet_addr("192.0.2.1"), mac);
    assert_memory_equal(mac, none, 6);
}

static void homes_differ_by_their_routers(void **state)
{
    struct network a = {.own = 0xc0a801, .router = 1, .mac = {2, 0, 0, 0, 0, 1}}, b = a;

    assert_true(network_equal(&a, &b));
    b.mac[5] = 2;
    assert_false(network_equal(&a, &b));
    memset(b.mac, 0, 6); /* not asked yet */
    assert_true(network_equal(&a, &b));
    b.router = 2;
    assert_false(network_equal(&a, &b));
    b.router = 1;
    b.own++;
    assert_false(network_equal(&a, &b));
}

static void the_kernel_says_which_way_is_taken(void **state)
{
    struct network network, again;

    network_now("127.0.0.1", &network);
    assert_int_equal(network.own, 0x7f0000);
    network_now("127.0.0.2", &again);
    assert_true(network_equal(&network, &again));
    network_now("proxy.example", &network); /* whatever this machine has, it is always the same */
    network_now("other.example", &again);
    assert_true(network_equal(&network, &again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_preferred_default_router_is_found),
        cmocka_unit_test(its_hardware_address_is_found),
        cmocka_unit_test(homes_differ_by_their_routers),
        cmocka_unit_test(the_kernel_says_which_way_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
