/* test_link.c - an endpoint's control legs: registering, losing, coming back, and proxies that
 * misbehave. */
#include "fake_proxy.h"
#include "tunnel/endpoint_core.h"
#include "tunnel/link.h"

#include "base/cleanup.h"
#include "identity/tls.h"

static struct world world;
static struct identity *agent, *console;
static unsigned changes, reports;
static struct endpoint_proxy_info last;

static void on_changed(void *ctx, const struct endpoint_proxy_info *info)
{
    changes++;
    last = *info;
}

static void on_report(void *ctx, const struct fl_id *proxy, const fl_Report *report)
{
    reports++;
}

static struct endpoint_proxy_leg result_leg;
static fl_ConfigResult result;
static unsigned results;

static void on_config_result(void *ctx, const struct endpoint_proxy_leg *leg,
                             const fl_ConfigResult *message)
{
    results++;
    result_leg = *leg;
    result = *message;
}

static const struct endpoint_ops ops = {
    .proxy_changed = on_changed, .report = on_report, .config_result = on_config_result};

static struct endpoint *start(struct identity *identity, const struct endpoint_proxy *proxies,
                              size_t count)
{
    (void)world_endpoint(&world, 0, identity, &ops, NULL);
    assert_int_equal(endpoint_set_proxies(world.endpoints[0], proxies, count), 0);
    return world.endpoints[0];
}

static struct endpoint *start_one(void)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    return start(agent, &proxy, 1);
}

static enum endpoint_proxy_state state_now(void)
{
    struct endpoint_proxy_info info;
    assert_int_equal(endpoint_proxies(world.endpoints[0], &info, 1), 1);
    last = info;
    return info.state;
}

static void test_registers(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_string_equal(last.name, "eu");
    assert_string_equal(last.observed, "192.0.2.1:5");
    assert_true(last.rtt >= 2 * CLOCK_MS && last.rtt < 50 * CLOCK_MS);
    assert_int_equal(changes, 2); /* connecting, registered */
    world_pass(&world, 300 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 1); /* our pings keep it alive */
}

static void test_unpinned(void **state)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    memset(&proxy.id, 0, sizeof(proxy.id));
    struct endpoint *endpoint = start(agent, &proxy, 1);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_true(id_equal(&last.id, &identity_party(world.proxies[0].identity)->id));
    /* The console's list names it by id: the leg stays. */
    proxy = fake_config(&world.proxies[0]);
    assert_int_equal(endpoint_set_proxies(endpoint, &proxy, 1), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 1);
    assert_int_equal(endpoint_set_proxies(endpoint, NULL, 0), 0);
    assert_int_equal(endpoint_proxies(endpoint, &last, 1), 0);
}

static void test_wrong_id(void **state)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    proxy.id.b[0] ^= 1;
    start(agent, &proxy, 1);
    world_pass(&world, CLOCK_SEC);
    assert_int_not_equal(state_now(), PROXY_REGISTERED);
    assert_int_equal(last.error, -FL_EIDENTITY);
    assert_int_equal(world.proxies[0].registrations, 0);
}

static void test_not_a_proxy(void **state)
{
    identity_unref(world.proxies[0].identity);
    world.proxies[0].identity = certs_identity(&world.certs, PARTY_AGENT, 3600);
    start_one();
    world_pass(&world, CLOCK_SEC);
    (void)state_now();
    assert_int_equal(last.error, -FL_EROLE);
}

static void test_comes_back(void **state)
{
    start_one();
    world_pass(&world, 60 * CLOCK_SEC);
    fake_cut(&world.proxies[0]);
    world_pass(&world, 10 * CLOCK_MS);
    assert_int_equal(state_now(), PROXY_WAITING);
    world_pass(&world, 600 * CLOCK_MS); /* the first retry is quick */
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_int_equal(world.proxies[0].registrations, 2);
}

static void test_backs_off(void **state)
{
    world.proxies[0].down = true;
    start_one();
    world_pass(&world, 60 * CLOCK_SEC);
    unsigned minute = world.proxies[0].dials;
    assert_in_range(minute, 7, 14);
    assert_int_equal(last.error, -ECONNREFUSED);
    world_pass(&world, 600 * CLOCK_SEC);
    assert_in_range(world.proxies[0].dials - minute, 28, 56); /* every 15 s on average */
    world.proxies[0].down = false;
    world_pass(&world, 40 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    /* Steady for 30 s: the next loss starts from the shortest again. */
    world_pass(&world, 31 * CLOCK_SEC);
    fake_cut(&world.proxies[0]);
    world_pass(&world, 600 * CLOCK_MS);
    assert_int_equal(state_now(), PROXY_REGISTERED);
}

/* Registered and thrown out at once, again and again: no fast loop. */
static void test_unsteady(void **state)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    strcpy(proxy.addresses[1], world.proxies[0].address);
    start(agent, &proxy, 1);
    for (unsigned i = 0; i < 600; i++) {
        world_pass(&world, 100 * CLOCK_MS);
        fake_cut(&world.proxies[0]);
    }
    assert_in_range(world.proxies[0].registrations, 3, 12);
}

static void test_addresses_in_turn(void **state)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[1]);
    strcpy(proxy.addresses[0], "p0:443");
    strcpy(proxy.addresses[1], "hole:1");
    strcpy(proxy.addresses[2], "p1:443");
    world.proxies[0].down = true;
    start(agent, &proxy, 1);
    world_pass(&world, 11 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_string_equal(last.address, "p1:443");
}

static void test_deadlines(void **state)
{
    static const enum fake_lie lies[] = {LIE_SILENT, LIE_NO_REGISTERED};
    for (size_t i = 0; i < 2; i++) {
        world.proxies[i].lie = lies[i];
        struct endpoint_proxy proxy = fake_config(&world.proxies[i]);
        start(agent, &proxy, 1);
        world_pass(&world, 9900 * CLOCK_MS);
        assert_int_equal(state_now(), PROXY_CONNECTING);
        for (unsigned n = 0; n < 30 && state_now() == PROXY_CONNECTING; n++)
            world_pass(&world, 10 * CLOCK_MS);
        assert_int_equal(last.error, -FL_ETIMEOUT);
        endpoint_close(world.endpoints[0]);
    }
    world.endpoints[0] = NULL;
}

static void test_black_hole(void **state)
{
    world.proxies[0].black_hole = true;
    start_one();
    world_pass(&world, 10200 * CLOCK_MS);
    (void)state_now();
    assert_int_equal(last.error, -FL_ETIMEOUT);
}

static void test_silence(void **state)
{
    world.proxies[0].lie = LIE_DEAF_PING;
    start_one();
    world_pass(&world, 74 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    world_pass(&world, 2 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 2);
}

/* With another proxy to go to, a silent one is doubtful within seconds and lost soon after; it is
 * not when something comes. */
static void test_silence_beside_another(void **state)
{
    struct endpoint_proxy proxies[2] = {fake_config(&world.proxies[0]),
                                        fake_config(&world.proxies[1])};
    const struct fl_id id = identity_party(world.proxies[0].identity)->id;
    start(agent, proxies, 2);
    world_pass(&world, 30 * CLOCK_SEC);
    const struct link *link = world.endpoints[0]->links[0];
    assert_false(link_doubtful(link));
    assert_int_equal(endpoint_usable(world.endpoints[0], NULL, 0), 2);
    world.proxies[0].lie = LIE_DEAF_PING;
    endpoint_check(world.endpoints[0], &id); /* a tunnel over it has failed: no need to wait */
    world_pass(&world, 1900 * CLOCK_MS);
    assert_false(link_doubtful(link));
    world_pass(&world, 400 * CLOCK_MS);
    assert_true(link_doubtful(link));
    assert_int_equal(endpoint_usable(world.endpoints[0], NULL, 0), 1);
    world.proxies[0].lie = LIE_NONE;
    world_pass(&world, 2500 * CLOCK_MS); /* it is asked again, and answers */
    assert_false(link_doubtful(link));
    assert_int_equal(world.proxies[0].registrations, 1);
    world.proxies[0].lie = LIE_DEAF_PING;
    world_pass(&world, 14 * CLOCK_SEC); /* by itself: the next PING, and 6 s */
    assert_int_equal(world.proxies[0].registrations, 2);
    assert_int_equal(world.proxies[1].registrations, 1);
}

/* Nobody answers: that may be our own line, and no proxy is left for it. */
static void test_silence_of_all(void **state)
{
    struct endpoint_proxy proxies[2] = {fake_config(&world.proxies[0]),
                                        fake_config(&world.proxies[1])};
    start(agent, proxies, 2);
    world_pass(&world, 30 * CLOCK_SEC);
    world.proxies[0].lie = world.proxies[1].lie = LIE_DEAF_PING;
    world_pass(&world, 40 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations + world.proxies[1].registrations, 2);
    assert_int_equal(endpoint_usable(world.endpoints[0], NULL, 0), 0);
}

static void test_holds(void **state)
{
    static const struct {
        uint32_t code;
        unsigned seconds;
    } cases[] = {{CLOSE_FLAPPING, 44}, {CLOSE_SUPERSEDED, 7}, {CLOSE_DENIED, 44}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct endpoint_proxy proxy = fake_config(&world.proxies[i]);
        start(agent, &proxy, 1);
        world_pass(&world, CLOCK_SEC);
        fake_status(&world.proxies[i], cases[i].code);
        world_pass(&world, cases[i].seconds * CLOCK_SEC);
        assert_int_equal(state_now(), PROXY_WAITING);
        assert_non_null(strstr(last.text, close_reason_text(cases[i].code)));
        assert_int_equal(world.proxies[i].registrations, 1);
        world_pass(&world, 35 * CLOCK_SEC);
        assert_int_equal(world.proxies[i].registrations, 2);
        endpoint_close(world.endpoints[0]);
    }
    world.endpoints[0] = NULL;
}

static void test_refused(void **state)
{
    world.proxies[0].status = CLOSE_EXPIRED;
    start_one();
    world_pass(&world, CLOCK_SEC);
    (void)state_now();
    assert_int_equal(last.error, -FL_EEXPIRED);
    assert_non_null(strstr(last.text, "so it is"));
}

static struct fake_leg *control_leg(struct fake_proxy *proxy)
{
    for (size_t k = 0; k < FAKE_LEGS; k++) {
        if (proxy->legs[k].leg && proxy->legs[k].registered)
            return &proxy->legs[k];
    }
    fail_msg("no control leg");
    return NULL;
}

/* Firewalls and HTTP proxies cut what says nothing for a minute. */
static void test_never_idle_for_a_minute(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    for (int i = 0; i < 10; i++) {
        uint64_t before = control_leg(&world.proxies[0])->leg->rx_bytes;

        world_pass(&world, 55 * CLOCK_SEC);
        assert_true(control_leg(&world.proxies[0])->leg->rx_bytes > before);
    }
}

static void say_drain(uint32_t reconnect_in_ms, uint32_t try_for_ms)
{
    const fl_Drain drain = {.reconnect_in_ms = reconnect_in_ms,
                            .try_for_ms = try_for_ms,
                            .alternates_count = 1,
                            .alternates = {"p1:443"}};
    fake_send(control_leg(&world.proxies[0]), FRAME_DRAIN, fl_Drain_fields, &drain);
    world_pass(&world, 100 * CLOCK_MS);
}

static void test_leaves_when_told(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    say_drain(20000, 300000);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_true(last.leaving);
    assert_non_null(strstr(last.text, "no new work"));
    world_pass(&world, 19 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    world_pass(&world, 2 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_WAITING);
    assert_int_equal(world.proxies[1].dials, 0); /* a proxy does not tell us whom to dial */
    world_pass(&world, 220 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 1);
    world_pass(&world, 170 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_false(last.leaving);
}

/* One that is known but was not there is tried at once when a proxy that drains names it. */
static void test_goes_to_an_alternate(void **state)
{
    struct endpoint_proxy both[] = {fake_config(&world.proxies[0]), fake_config(&world.proxies[1])};
    world.proxies[1].down = true;
    start(agent, both, 2);
    world_pass(&world, 120 * CLOCK_SEC); /* 22 to 38 s between two tries by now */
    unsigned dials = world.proxies[1].dials;
    for (unsigned i = 0; world.proxies[1].dials == dials && i < 400; i++)
        world_pass(&world, 100 * CLOCK_MS); /* right after one */
    world.proxies[1].down = false;
    say_drain(20000, 300000);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[1].registrations, 1);
    fake_cut(&world.proxies[1]);
    world.proxies[1].down = true;
    world_pass(&world, 10 * CLOCK_SEC);
    dials = world.proxies[1].dials;
    say_drain(20000, 300000); /* but not again and again */
    say_drain(20000, 300000);
    assert_true(world.proxies[1].dials <= dials + 1);
}

static void test_stays_after_all(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    say_drain(5000, 300000);
    say_drain(0, 0);
    world_pass(&world, 20 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_false(last.leaving);
    assert_string_equal(last.text, "");
    assert_int_equal(world.proxies[0].registrations, 1);
}

/* Also a proxy that says nonsense keeps us away for an hour or so, not for weeks. */
static void test_sent_away_for_long(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    say_drain(0, UINT32_MAX);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_WAITING);
    world_pass(&world, 4700 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
}

static void test_refused_while_draining(void **state)
{
    world.proxies[0].status = CLOSE_DRAINING;
    start_one();
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_WAITING);
    world.proxies[0].status = 0;
    world_pass(&world, 40 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_WAITING);
    world_pass(&world, 40 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
}

static struct endpoint *start_console(void)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    return start(console, &proxy, 1);
}

static void say_result(uint64_t version)
{
    const fl_ConfigResult message = {.version = version};
    fake_send(control_leg(&world.proxies[0]), FRAME_CONFIG_RESULT, fl_ConfigResult_fields,
              &message);
    world_pass(&world, 100 * CLOCK_MS);
}

static void test_orders(void **state)
{
    const struct fl_id *id = &identity_party(world.proxies[0].identity)->id;
    const fl_Config config = {.version = 1};
    struct endpoint *endpoint = start_console();
    assert_int_equal(endpoint_order(endpoint, id, FRAME_CONFIG, fl_Config_fields, &config),
                     -FL_ECLOSED);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(endpoint_order(endpoint, id, FRAME_CONFIG, fl_Config_fields, &config), 0);
    world_pass(&world, 100 * CLOCK_MS);
    assert_int_equal(world.proxies[0].configs, 1);
    say_result(7);
    assert_int_equal(results, 1);
    assert_int_equal(result.version, 7);
    assert_int_equal(result_leg.boot[0], 0xb0);
    assert_true(id_equal(&result_leg.id, id));
    assert_true(result_leg.number > 0);
}

static void test_agents_hear_no_result(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    say_result(1);
    assert_int_equal(results, 0);
    assert_int_equal(state_now(), PROXY_REGISTERED);
}

/* A newer leg without a time without any. */
static void test_renews(void **state)
{
    const struct fl_id *id = &identity_party(world.proxies[0].identity)->id;
    struct endpoint *endpoint = start_console();
    world_pass(&world, CLOCK_SEC);
    say_result(1);
    uint64_t first = result_leg.number;
    changes = 0;
    assert_int_equal(endpoint_renew(endpoint, id), 0);
    assert_int_equal(endpoint_renew(endpoint, id), 0); /* one is on its way */
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 2);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_int_equal(changes, 1);
    assert_int_equal(last.state, PROXY_REGISTERED); /* nothing else was told */
    say_result(1);
    assert_true(result_leg.number > first);
    world_pass(&world, 300 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].registrations, 2);
    struct fl_id other = *id;
    other.b[3] ^= 1;
    assert_int_equal(endpoint_renew(endpoint, &other), -FL_ENOTFOUND);
}

/* The first leg is lost while the second is made: whichever comes, there is one in the end. */
static void test_renews_through_a_loss(void **state)
{
    const struct fl_id *id = &identity_party(world.proxies[0].identity)->id;
    struct endpoint *endpoint = start_console();
    world_pass(&world, CLOCK_SEC);
    world.proxies[0].down = true;
    assert_int_equal(endpoint_renew(endpoint, id), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED); /* the old one stays */
    fake_cut(&world.proxies[0]);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_WAITING);
    world.proxies[0].down = false;
    world_pass(&world, 60 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_int_equal(endpoint_set_proxies(endpoint, NULL, 0), 0);
    world_pass(&world, CLOCK_SEC);
}

/* The proxy is taken out of the list while a second leg is on its way. */
static void test_forgotten_while_renewing(void **state)
{
    struct endpoint *endpoint = start_console();
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(endpoint_renew(endpoint, &identity_party(world.proxies[0].identity)->id), 0);
    endpoint_tick(endpoint, rig_now);
    assert_int_equal(endpoint_set_proxies(endpoint, NULL, 0), 0);
    world_pass(&world, 60 * CLOCK_SEC);
    assert_int_equal(endpoint_proxies(endpoint, &last, 1), 0);
}

static void test_answers_ping(void **state)
{
    start_one();
    world_pass(&world, CLOCK_SEC);
    const fl_Ping ping = {.nonce = 5};
    fake_send(control_leg(&world.proxies[0]), FRAME_PING, fl_Ping_fields, &ping);
    world_pass(&world, 100 * CLOCK_MS);
    assert_int_equal(world.proxies[0].pongs, 1);
}

/* What breaks a rule costs the proxy the leg, and us nothing. */
static void test_bad_frames(void **state)
{
    static const struct {
        uint8_t type, flags;
        const char *body;
        size_t len;
    } bad[] = {
        {FRAME_INVITE, 0, "\xff\xff\xff", 3},
        {FRAME_OFFER, 0, "\x0a\x7f", 2},
        {FRAME_REGISTERED, 0, "", 0},
        {FRAME_HELLO_ACK, 0, "", 0},
        {FRAME_CONNECT, 0, "", 0},
        {0xee, FRAME_CRITICAL, "", 0},
        {FRAME_STATUS, 0, "\xff", 1},
        {FRAME_REPORT, 0, "\x07\x07", 2},
        {FRAME_TUNNEL_HELLO, 0, "", 0},
        {FRAME_REJECT, 0, "\x1a\x05q", 3},
        {FRAME_PING, 0, "\x08", 1},
        {FRAME_DRAIN, 0, "\x1a\x7f", 2},
        {FRAME_CONFIG_RESULT, 0, "\x10\x09", 2},
        {FRAME_CONFIG, 0, "", 0},
    };
    start_one();
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        world_pass(&world, 100 * CLOCK_SEC);
        assert_int_equal(state_now(), PROXY_REGISTERED);
        (void)leg_send(control_leg(&world.proxies[0])->leg, bad[i].type, bad[i].flags, bad[i].body,
                       bad[i].len);
        world_pass(&world, 10 * CLOCK_MS);
        assert_int_equal(state_now(), PROXY_WAITING);
    }
}

/* Legal, and of no consequence: answers to nothing, unknown frames, reports to an agent. */
static void test_harmless_frames(void **state)
{
    const fl_Offer offer = {.request = 99};
    const fl_Reject reject = {.request = 98};
    const fl_Report report = {.endpoints = 3};
    const fl_Invite invite = {.expires = 3};
    start_one();
    world_pass(&world, CLOCK_SEC);
    struct fake_leg *f = control_leg(&world.proxies[0]);
    fake_send(f, FRAME_OFFER, fl_Offer_fields, &offer);
    fake_send(f, FRAME_REJECT, fl_Reject_fields, &reject);
    fake_send(f, FRAME_REPORT, fl_Report_fields, &report);
    fake_send(f, FRAME_INVITE, fl_Invite_fields, &invite); /* from nobody */
    (void)leg_send(f->leg, 0xee, 0, "", 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
    assert_int_equal(reports, 0);
}

/* Any type, any bytes, at any moment. */
static void test_random_frames(void **state)
{
    uint32_t x = 12345;
    uint8_t body[300];
    start_one();
    for (unsigned i = 0; i < 3000; i++) {
        for (size_t k = 0; k < FAKE_LEGS; k++) {
            struct fake_leg *f = &world.proxies[0].legs[k];
            x = x * 1664525u + 1013904223u;
            for (size_t n = 0; f->leg && n < sizeof(body); n++)
                body[n] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24) & (n % 3 ? 0x1f : 0xff);
            if (f->leg)
                (void)leg_send(f->leg, (uint8_t)((x >> 20) % 0x16), 0, body,
                               (x >> 8) % sizeof(body));
        }
        world_pass(&world, (x >> 16) % 600 * CLOCK_MS);
    }
    world_pass(&world, 100 * CLOCK_SEC);
    assert_int_equal(state_now(), PROXY_REGISTERED);
}

static void test_console(void **state)
{
    static struct fl_id ids[450];
    const fl_Report report = {.endpoints = 3};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        id_random(&ids[i]);
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    struct endpoint *endpoint = start(console, &proxy, 1);
    world_pass(&world, CLOCK_SEC);
    fake_send(control_leg(&world.proxies[0]), FRAME_REPORT, fl_Report_fields, &report);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(reports, 1);
    assert_int_equal(world.proxies[0].denied_parts, 0);
    assert_int_equal(endpoint_deny(endpoint, 1, ids, ARRAY_SIZE(ids)), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].denied_parts, 3);
    assert_int_equal(world.proxies[0].denied_ids, 450);
    /* An empty list is pushed as well, and again after a reconnect. */
    assert_int_equal(endpoint_deny(endpoint, 2, ids, 0), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].denied_parts, 1);
    assert_int_equal(world.proxies[0].denied_ids, 0);
    world.proxies[0].denied_parts = 0;
    fake_cut(&world.proxies[0]);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(world.proxies[0].denied_parts, 1);
}

static void test_too_many(void **state)
{
    struct endpoint_proxy many[ENDPOINT_PROXIES_MAX + 1] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        (void)snprintf(many[i].addresses[0], sizeof(many[i].addresses[0]), "no%zu:1", i);
    (void)world_endpoint(&world, 0, agent, &ops, NULL);
    assert_int_equal(endpoint_set_proxies(world.endpoints[0], many, ARRAY_SIZE(many)), -FL_EFULL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(endpoint_set_proxies(world.endpoints[0], many, 0), 0);
}

static int set_up(void **state)
{
    assert_int_equal(tls_global_init(), 0);
    world_init(&world);
    agent = certs_identity(&world.certs, PARTY_AGENT, 3600);
    console = certs_identity(&world.certs, PARTY_CONSOLE, 3600);
    changes = reports = results = 0;
    return 0;
}

static int tear_down(void **state)
{
    world_done(&world);
    identity_unref(agent);
    identity_unref(console);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_registers),
        T(test_never_idle_for_a_minute),
        T(test_unpinned),
        T(test_wrong_id),
        T(test_not_a_proxy),
        T(test_comes_back),
        T(test_backs_off),
        T(test_unsteady),
        T(test_addresses_in_turn),
        T(test_deadlines),
        T(test_black_hole),
        T(test_silence),
        T(test_silence_beside_another),
        T(test_silence_of_all),
        T(test_holds),
        T(test_leaves_when_told),
        T(test_stays_after_all),
        T(test_goes_to_an_alternate),
        T(test_sent_away_for_long),
        T(test_refused_while_draining),
        T(test_orders),
        T(test_agents_hear_no_result),
        T(test_renews),
        T(test_renews_through_a_loss),
        T(test_forgotten_while_renewing),
        T(test_refused),
        T(test_answers_ping),
        T(test_bad_frames),
        T(test_harmless_frames),
        T(test_random_frames),
        T(test_console),
        T(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
