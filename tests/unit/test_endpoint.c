/* test_endpoint.c - what comes in: invitations, direct legs, floods, denied identities, renewal. */
#include "fake_proxy.h"

#include "base/cleanup.h"
#include "identity/tls.h"
#include "tunnel/endpoint_core.h"

static struct world world;
static struct identity *agents[3], *console_id, *enrol_id;
static struct owner owners[8];
static unsigned asked;
static bool close_inside;

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    struct owner *o = &owners[asked++ % ARRAY_SIZE(owners)];
    in->ops = &owner_ops;
    in->ctx = o;
    if (close_inside) {
        endpoint_close(world.endpoints[0]);
        world.endpoints[0] = NULL;
    }
    return TUNNEL_CLOSE_DONE;
}

static const struct endpoint_ops ops = {.incoming = on_incoming};

static struct endpoint *start(size_t k, struct identity *identity)
{
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    struct endpoint *endpoint = world_endpoint(&world, k, identity, &ops, NULL);
    assert_int_equal(endpoint_set_proxies(endpoint, &proxy, 1), 0);
    return endpoint;
}

static void call_console(struct endpoint *from, struct owner *owner, enum _fl_Purpose purpose)
{
    struct dial *dial;
    const struct dial_request request = {
        .peer = *identity_party(console_id), .relayed = true, .purpose = purpose};
    assert_int_equal(endpoint_dial(from, &request, &owner_ops, owner, &dial), 0);
}

static void test_control_and_enrol(void **state)
{
    struct owner a = {0}, e = {0};
    start(0, console_id);
    struct endpoint *agent = start(1, agents[0]), *newcomer = start(2, enrol_id);
    world_pass(&world, CLOCK_SEC);
    call_console(agent, &a, fl_Purpose_PURPOSE_CONTROL);
    call_console(newcomer, &e, fl_Purpose_PURPOSE_ENROL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a.opened + e.opened, 2);
    assert_int_equal(asked, 2);
    const fl_EnrolRequest request = {.device_name = "box"};
    assert_int_equal(
        tunnel_send_message(e.tunnel, FRAME_ENROL_REQUEST, fl_EnrolRequest_fields, &request), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(owners[0].messages + owners[1].messages, 1);
}

/* An enrol identity asks for a control tunnel. */
static void test_wrong_purpose(void **state)
{
    struct owner e = {0};
    start(0, console_id);
    struct endpoint *newcomer = start(2, enrol_id);
    world_pass(&world, CLOCK_SEC);
    call_console(newcomer, &e, fl_Purpose_PURPOSE_CONTROL);
    world_pass(&world, 2 * CLOCK_SEC);
    assert_int_equal(e.opened, 0);
    assert_int_equal(e.closed, 1);
    assert_int_equal(asked, 0);
}

static void test_denied(void **state)
{
    struct owner a = {0}, a2 = {0};
    struct endpoint *console = start(0, console_id), *one = start(1, agents[0]),
                    *two = start(2, agents[1]);
    world_pass(&world, CLOCK_SEC);
    call_console(one, &a, fl_Purpose_PURPOSE_CONTROL);
    call_console(two, &a2, fl_Purpose_PURPOSE_CONTROL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a.opened + a2.opened, 2);
    assert_int_equal(endpoint_deny(console, 1, &identity_party(agents[0])->id, 1), 0);
    assert_int_equal(owners[0].closed + owners[1].closed, 0); /* not inside the call */
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(owners[0].closed + owners[1].closed, 1);
    assert_int_equal(a.why, TUNNEL_CLOSE_DENIED);
    assert_int_equal(a2.closed, 0);
    assert_int_equal(world.proxies[0].denied_ids, 1);
    /* It tries again, by a proxy that does not know yet. */
    memset(&a, 0, sizeof(a));
    call_console(one, &a, fl_Purpose_PURPOSE_CONTROL);
    world_pass(&world, 15 * CLOCK_SEC);
    assert_int_equal(a.opened, 0);
    assert_int_equal(a.closed, 1);
    /* A renewed identity of the console has a trust of its own, which knows as well. */
    struct identity *renewed = certs_identity(&world.certs, PARTY_CONSOLE, 3600);
    endpoint_set_identity(console, renewed);
    assert_true(trust_is_denied(identity_trust(renewed), &identity_party(agents[0])->id));
    identity_unref(renewed);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a2.closed, 0);
}

static struct fake_leg *leg_of(const struct party *party)
{
    for (size_t k = 0; k < FAKE_LEGS; k++) {
        struct fake_leg *f = &world.proxies[0].legs[k];
        if (f->leg && f->registered && party_equal(&f->party, party))
            return f;
    }
    fail_msg("not registered");
    return NULL;
}

/* Invitations to sessions that do not exist: 64 data legs at most, and none is left after the
 * deadline. */
static void test_invite_flood(void **state)
{
    start(0, agents[0]);
    world_pass(&world, CLOCK_SEC);
    struct fake_leg *f = leg_of(identity_party(agents[0]));
    unsigned before = world.opens;
    for (unsigned i = 0; i < 1000; i++) {
        fl_Invite invite = {.expires = 30, .has_from = true};
        party_to_wire(identity_party(agents[1]), &invite.from);
        memcpy(invite.session, &i, sizeof(i));
        invite.session[15] = 1;
        fake_send(f, FRAME_INVITE, fl_Invite_fields, &invite);
    }
    world_pass(&world, 5 * CLOCK_SEC);
    assert_int_equal(world.opens - before, ENDPOINT_PENDING_MAX);
    world_pass(&world, 10 * CLOCK_SEC);
    assert_null(world.endpoints[0]->invited);
    assert_int_equal(world.endpoints[0]->pending[0], 0);
    /* Other ways in work all the time, and this one again. */
    struct owner a = {0};
    struct dial *dial;
    struct endpoint *other = start(1, agents[1]);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = {.peer = *identity_party(agents[0]),
                                   .relayed = true,
                                   .purpose = fl_Purpose_PURPOSE_TRANSFER,
                                   .flow = {.b = {1}}};
    assert_int_equal(endpoint_dial(other, &request, &owner_ops, &a, &dial), 0);
    world_pass(&world, 2 * CLOCK_SEC);
    assert_int_equal(asked, 1); /* got as far as our owner, whose token was empty */
    assert_int_equal(a.why, TUNNEL_CLOSE_PROOF);
}

static void unowned(void *ctx, struct leg *leg, unsigned events)
{
}

static void test_direct_flood(void **state)
{
    struct leg *near[100], *far[100];
    const struct leg_mem_options options = {.delay = CLOCK_MS, .plain = true};
    struct endpoint *endpoint = start(0, agents[0]);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(leg_mem_pair(world.net, &options, &near[i], &far[i]), 0);
        leg_set_handler(far[i], unowned, NULL);
        endpoint_answer(endpoint, near[i]);
    }
    assert_int_equal(endpoint->pending[ENDPOINT_PROXIES_MAX], ENDPOINT_PENDING_MAX);
    /* One who means it gets in nevertheless. */
    struct owner a = {0};
    struct dial *dial;
    const struct dial_request request = {
        .peer = *identity_party(agents[0]),
        .direct = true,
        .addresses = {"listener:0"},
        .address_count = 1,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
        .flow = {.b = {1}},
    };
    world.listeners[0] = endpoint;
    start(1, agents[1]);
    assert_int_equal(endpoint_dial(world.endpoints[1], &request, &owner_ops, &a, &dial), 0);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(asked, 1);
    world_pass(&world, 11 * CLOCK_SEC);
    assert_int_equal(endpoint->pending[ENDPOINT_PROXIES_MAX], 0);
    assert_null(endpoint->strangers.head);
    for (unsigned i = 0; i < 100; i++)
        leg_close(far[i], LEG_RESET);
}

/* The owner closes everything in the middle of being asked. */
static void test_close_inside(void **state)
{
    struct owner a = {0};
    start(0, console_id);
    struct endpoint *agent = start(1, agents[0]);
    world_pass(&world, CLOCK_SEC);
    close_inside = true;
    call_console(agent, &a, fl_Purpose_PURPOSE_CONTROL);
    world_pass(&world, 15 * CLOCK_SEC);
    assert_int_equal(a.opened, 0);
    assert_int_equal(a.closed, 1);
}

/* Control legs come and go; tunnels stay. */
static void test_tunnels_outlive_links(void **state)
{
    struct owner a = {0};
    start(0, console_id);
    struct endpoint *agent = start(1, agents[0]);
    world_pass(&world, CLOCK_SEC);
    call_console(agent, &a, fl_Purpose_PURPOSE_CONTROL);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a.opened, 1);
    fake_cut(&world.proxies[0]);
    world_pass(&world, 100 * CLOCK_SEC);
    assert_int_equal(a.closed, 0);
    assert_int_equal(endpoint_set_proxies(agent, NULL, 0), 0);
    world_pass(&world, 100 * CLOCK_SEC);
    assert_int_equal(a.closed, 0);
}

static int set_up(void **state)
{
    assert_int_equal(tls_global_init(), 0);
    world_init(&world);
    for (size_t i = 0; i < 3; i++)
        agents[i] = certs_identity(&world.certs, PARTY_AGENT, 3600);
    console_id = certs_identity(&world.certs, PARTY_CONSOLE, 3600);
    enrol_id = certs_identity(&world.certs, PARTY_ENROL, 3600);
    memset(owners, 0, sizeof(owners));
    asked = 0;
    close_inside = false;
    return 0;
}

static int tear_down(void **state)
{
    world_done(&world);
    for (size_t i = 0; i < 3; i++)
        identity_unref(agents[i]);
    identity_unref(console_id);
    identity_unref(enrol_id);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_control_and_enrol),     T(test_wrong_purpose), T(test_denied),
        T(test_invite_flood),          T(test_direct_flood),  T(test_close_inside),
        T(test_tunnels_outlive_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
