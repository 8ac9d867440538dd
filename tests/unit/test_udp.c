/* The proxy's UDP port: the limit of endpoints holds there too, also when it changes. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "leg/leg_quic.h"
#include "leg/quic_packet.h"
#include "proxy/udp.h"
#include "proxy_rig.h"

#define PATIENCE (15 * CLOCK_SEC)

static struct rig rig;
static uv_loop_t loop;
static struct udp *udp;

/* An endpoint that dials the proxy. */
struct client {
    struct identity *identity;
    struct quic_endpoint *endpoint;
    struct leg *leg;
    unsigned seen;
};

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    ((struct client *)ctx)->seen |= events;
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    worker_drain(&rig.worker[0]);
    worker_turn(&rig.worker[0]);
    (void)poll(NULL, 0, 1);
}

static void client_dial(struct client *client, uint16_t port)
{
    client->identity = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    const struct quic_endpoint_config config = {.loop = &loop, .identity = client->identity};

    assert_int_equal(quic_endpoint_new(&config, &client->endpoint), 0);
    assert_int_equal(
        leg_quic_dial(client->endpoint, "127.0.0.1", port, on_leg, client, &client->leg), 0);
}

static bool opens_within(const struct client *client, uint64_t us)
{
    uint64_t end = clock_now() + us;
    while (!(client->seen & LEG_OPENED) && clock_now() < end)
        turn();
    return client->seen & LEG_OPENED;
}

static void client_done(struct client *client)
{
    leg_close(client->leg, LEG_RESET);
    quic_endpoint_close(client->endpoint);
    identity_unref(client->identity);
}

static void as_many_as_there_may_be_endpoints(void **state)
{
    struct proxy_limits limits = proxy_settings_default.limits;
    struct client first = {0}, second = {0};
    struct proxy_settings settings;
    int fd;

    limits.endpoints = 1;
    rig_init(&rig, &limits);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(udp_new(&rig.worker[0], &loop, &udp), 0);
    assert_int_equal(udp_listen(udp, "127.0.0.1:0", 0, &fd), 0);
    struct quic_address at = {.len = sizeof(at.in6)};
    assert_int_equal(getsockname(fd, &at.any, &at.len), 0);

    client_dial(&first, ntohs(at.in.sin_port));
    assert_true(opens_within(&first, PATIENCE));
    client_dial(&second, ntohs(at.in.sin_port));
    assert_false(opens_within(&second, CLOCK_SEC));
    settings = rig_settings(&rig);
    settings.limits.endpoints = 2;
    proxy_apply(&rig.proxy, &settings);
    turn();
    worker_tick(&rig.worker[0]);
    assert_true(opens_within(&second, PATIENCE)); /* it asks again by itself */

    client_done(&first);
    client_done(&second);
    udp_end(udp);
    rig_done(&rig);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    udp_free(udp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_as_there_may_be_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
