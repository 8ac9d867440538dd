/* test_dial.c - ways to a peer: which is taken, what is said when none works, and what proxies and
 * peers may try. */
#include "fake_proxy.h"

#include "base/cleanup.h"
#include "identity/tls.h"
#include "tunnel/endpoint_core.h"

static struct world world;
static struct identity *caller_id, *callee_id, *third_id;
static struct owner a, b;
static struct dial *dial;
static enum tunnel_close verdict;
static unsigned asked;

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    asked++;
    in->ops = &owner_ops;
    in->ctx = &b;
    memset(in->token, 5, sizeof(in->token));
    return verdict;
}

static const struct endpoint_ops ops = {.incoming = on_incoming};

/* The caller is endpoint 0, the callee 1; both at the first @count proxies. */
static void start(size_t count)
{
    struct endpoint_proxy proxies[4];
    for (size_t i = 0; i < count; i++)
        proxies[i] = fake_config(&world.proxies[i]);
    world_endpoint(&world, 0, caller_id, &ops, NULL);
    world_endpoint(&world, 1, callee_id, &ops, NULL);
    for (size_t k = 0; k < 2; k++)
        assert_int_equal(endpoint_set_proxies(world.endpoints[k], proxies, count), 0);
}

static void start_slow(uint64_t delay)
{
    world.proxies[0].delay = delay;
    start(1);
    world_pass(&world, 2 * CLOCK_SEC);
}

static struct dial_request request_for(const char *address)
{
    struct dial_request request = world_request(callee_id, address);
    request.relayed = true;
    return request;
}

static void call(const struct dial_request *request)
{
    assert_int_equal(endpoint_dial(world.endpoints[0], request, &owner_ops, &a, &dial), 0);
    assert_int_equal(a.opened + a.closed, 0); /* never inside the call */
}

static void expect_via(const char *via, uint64_t within)
{
    world_pass(&world, within);
    assert_int_equal(a.opened, 1);
    assert_int_equal(b.opened, 1);
    assert_int_equal(a.closed + b.closed, 0);
    assert_string_equal(tunnel_via(a.tunnel), via);
    world_pass(&world, 30 * CLOCK_SEC);
    assert_int_equal(a.closed + b.closed, 0);
    assert_int_equal(b.opened, 1); /* other ways never came up as tunnels */
}

static void expect_failure(enum tunnel_close why, const char *text, uint64_t within)
{
    world_pass(&world, within);
    assert_int_equal(a.opened, 0);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.why, why);
    if (!strstr(a.text, text))
        fail_msg("\"%s\" is not in \"%s\"", text, a.text);
}

static void test_relayed(void **state)
{
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    expect_via("proxy eu mem", CLOCK_SEC);
    uint8_t *frame = tunnel_reserve(b.tunnel);
    frame_put(frame, FRAME_BLOCK_DATA, 0, 16000);
    tunnel_commit(b.tunnel, FRAME_MAX);
    world_pass(&world, CLOCK_SEC);
    assert_int_equal(a.bytes, 16000);
    tunnel_close(a.tunnel, TUNNEL_CLOSE_DONE, "thanks");
    world_pass(&world, CLOCK_SEC);
    assert_string_equal(b.text, "thanks");
    assert_null(world.endpoints[0]->tunnels.head);
    assert_null(world.endpoints[1]->tunnels.head);
}

static void test_direct(void **state)
{
    start(1);
    world.listeners[1] = world.endpoints[1];
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for("listener:1");
    call(&request);
    expect_via("direct mem", 200 * CLOCK_MS);
    assert_int_equal(world.proxies[0].connects, 0); /* its head start sufficed */
}

static void test_direct_needs_no_proxy(void **state)
{
    start(0);
    world.listeners[1] = world.endpoints[1];
    struct dial_request request = request_for("listener:1");
    call(&request);
    expect_via("direct mem", CLOCK_SEC);
}

/* Refused at once: no waiting for the head start. A black hole: the proxy after 300 ms. */
static void test_falls_back(void **state)
{
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for("listener:3");
    request.addresses[request.address_count++] = "hole:3";
    request.addresses[request.address_count++] = "listener:2";
    call(&request);
    expect_via("proxy eu mem", 600 * CLOCK_MS);
}

/* Somebody else answers at the address. */
static void test_wrong_direct_peer(void **state)
{
    start(1);
    world_endpoint(&world, 2, third_id, &ops, NULL);
    world.listeners[2] = world.endpoints[2];
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for("listener:2");
    call(&request);
    expect_via("proxy eu mem", CLOCK_SEC);
    assert_int_equal(asked, 1);
}

static void test_waits_for_registration(void **state)
{
    start(1);
    world.proxies[0].down = true;
    world_pass(&world, 2 * CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    world_pass(&world, 5 * CLOCK_SEC);
    assert_int_equal(a.closed, 0);
    world.proxies[0].down = false;
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    assert_int_equal(endpoint_set_proxies(world.endpoints[1], NULL, 0),
                     0); /* the callee comes at once */
    assert_int_equal(endpoint_set_proxies(world.endpoints[1], &proxy, 1), 0);
    /* The longest pause between two tries that fits: 8 s and a quarter, and then the dial itself.
     */
    expect_via("proxy eu mem", 13 * CLOCK_SEC);
}

static void test_never_registered(void **state)
{
    start(1);
    world.proxies[0].down = true;
    struct dial_request request = request_for(NULL);
    call(&request);
    world_pass(&world, 19 * CLOCK_SEC);
    assert_int_equal(a.closed, 0);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "no proxy", 2 * CLOCK_SEC);
}

static void test_nothing_to_try(void **state)
{
    start(0);
    struct dial_request request = request_for(NULL);
    call(&request);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "no address", CLOCK_SEC);
}

static void test_not_found(void **state)
{
    start(2);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for("listener:3");
    request.peer.id.b[0] ^= 1;
    call(&request);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "not registered here", 3 * CLOCK_SEC);
    assert_non_null(strstr(a.text, "direct listener:3: "));
    assert_non_null(strstr(a.text, "proxy eu: "));
}

/* Each step waits for what it cannot be made without, and for nothing else: one round trip of the
 * hop for CONNECT, half of one until the leg is open (with these legs), one for HELLO and JOIN
 * together, and two each for TLS and for the hellos of the ends. */
static void test_no_needless_trips(void **state)
{
    const uint64_t trip = 100 * CLOCK_MS;
    start_slow(trip / 2);
    struct dial_request request = request_for(NULL);
    call(&request);
    world_pass(&world, 6 * trip);
    assert_int_equal(a.opened, 0);
    expect_via("proxy eu mem", trip);
}

/* What has to come first comes with the greeting: the callee has it before the caller is open. */
static void test_first_message(void **state)
{
    static const fl_Start start = {.version = 1};
    static const struct tunnel_first first = {FRAME_START, fl_Start_fields, &start};
    struct tunnel_info info;
    start_slow(50 * CLOCK_MS);
    struct dial_request request = request_for(NULL);
    request.first = &first;
    call(&request);
    world_pass(&world, 600 * CLOCK_MS);
    assert_int_equal(a.opened, 0);
    assert_int_equal(b.opened, 1);
    assert_int_equal(b.messages, 1);
    assert_int_equal(b.last_type, FRAME_START);
    expect_via("proxy eu mem", 100 * CLOCK_MS);
    assert_int_equal(b.messages, 1);
    tunnel_info(a.tunnel, &info);
    assert_true(info.first_said);
    tunnel_info(b.tunnel, &info);
    assert_false(info.first_said);
}

/* The nearer proxy first. */
static void test_nearest(void **state)
{
    world.proxies[0].delay = 40 * CLOCK_MS;
    world.proxies[1].delay = 20 * CLOCK_MS;
    start(2);
    world_pass(&world, 2 * CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    expect_via("proxy eu mem", 2 * CLOCK_SEC);
    assert_int_equal(world.proxies[1].connects, 1);
    assert_int_equal(world.proxies[0].connects, 0);
}

/* A proxy that does not answer delays by a second only. */
static void test_overlap(void **state)
{
    world.proxies[0].lie = LIE_NO_ANSWER;
    world.proxies[1].delay = 60 * CLOCK_MS;
    start(2);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    expect_via("proxy eu mem", 2 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 1);
}

static unsigned ways_failed;

static void on_way_failed(void *ctx, const struct fl_id *proxy, const char *label, const char *text)
{
    assert_ptr_equal(ctx, &a);
    assert_string_equal(label, "proxy eu");
    ways_failed += id_equal(proxy, &identity_party(world.proxies[0].identity)->id);
}

/* A proxy to be avoided comes last, however near, or not at all; each failure is told as it comes.
 */
static void test_avoid(void **state)
{
    world.proxies[1].delay = 60 * CLOCK_MS;
    start(2);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    request.avoid[request.avoid_count++] = identity_party(world.proxies[0].identity)->id;
    assert_int_equal(endpoint_usable(world.endpoints[0], NULL, 0), 2);
    assert_int_equal(endpoint_usable(world.endpoints[0], request.avoid, 1), 1);
    call(&request);
    expect_via("proxy eu mem", 2 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 0);
    assert_int_equal(world.proxies[1].connects, 1);
    struct tunnel_info info;
    tunnel_info(a.tunnel, &info);
    assert_true(id_equal(&info.proxy, &identity_party(world.proxies[1].identity)->id));
    assert_true(info.several);
}

/* Of two about as near, one of nine times the weight is asked first nine times as often. */
static void test_weight(void **state)
{
    unsigned first = 0;
    world.proxies[0].delay = world.proxies[1].delay = 30 * CLOCK_MS;
    start(2);
    struct endpoint_proxy proxies[2] = {fake_config(&world.proxies[0]),
                                        fake_config(&world.proxies[1])};
    proxies[0].weight = 900;
    assert_int_equal(endpoint_set_proxies(world.endpoints[0], proxies, 2), 0);
    world_pass(&world, CLOCK_SEC);
    for (unsigned i = 0; i < 60; i++) {
        unsigned before = world.proxies[0].connects;
        struct dial_request request = request_for(NULL);
        call(&request);
        world_pass(&world, 100 * CLOCK_MS);
        first += world.proxies[0].connects > before;
        if (!a.opened && !a.closed)
            dial_cancel(dial);
        if (a.tunnel)
            tunnel_close(a.tunnel, TUNNEL_CLOSE_DONE, NULL);
        world_pass(&world, 500 * CLOCK_MS);
        a.tunnel = NULL;
        a.opened = a.closed = 0;
    }
    assert_in_range(first, 45, 59);
    assert_int_equal(first + world.proxies[1].connects, 60);
}

static void test_only_others(void **state)
{
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    request.avoid[request.avoid_count++] = identity_party(world.proxies[0].identity)->id;
    request.only_others = true;
    call(&request);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "no proxy to try", CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 0);
}

static void test_tells_of_each(void **state)
{
    world.proxies[0].lie = LIE_ZERO_SESSION;
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    request.failed = on_way_failed;
    ways_failed = 0;
    call(&request);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "malformed", 3 * CLOCK_SEC);
    assert_int_equal(ways_failed, 1);
}

/* The near one is asked first, and then the other, which hangs. The callee is @there, or nowhere.
 */
static void ask_two(bool there)
{
    world.proxies[1].delay = 60 * CLOCK_MS;
    world.proxies[1].lie = LIE_NO_ANSWER;
    start(2);
    if (!there)
        assert_int_equal(endpoint_set_proxies(world.endpoints[1], NULL, 0), 0);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    request.failed = on_way_failed;
    ways_failed = 0;
    call(&request);
    world_pass(&world, there ? 1500 * CLOCK_MS : 500 * CLOCK_MS);
    assert_int_equal(world.proxies[0].connects, 1);
    assert_int_equal(world.proxies[1].connects, 1);
    assert_int_equal(ways_failed, !there);
}

/* The peer comes to where it was not. */
static void test_asks_again(void **state)
{
    ask_two(false);
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    assert_int_equal(endpoint_set_proxies(world.endpoints[1], &proxy, 1), 0);
    expect_via("proxy eu mem", CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 2);
    assert_int_equal(ways_failed, 1);
}

/* The same, while the dial waits for a proxy that we are not registered at. */
static void test_asks_again_meanwhile(void **state)
{
    world.proxies[1].black_hole = true;
    start(2);
    assert_int_equal(endpoint_set_proxies(world.endpoints[1], NULL, 0), 0);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    world_pass(&world, 500 * CLOCK_MS);
    assert_int_equal(world.proxies[0].connects, 1);
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    assert_int_equal(endpoint_set_proxies(world.endpoints[1], &proxy, 1), 0);
    expect_via("proxy eu mem", CLOCK_SEC);
}

/* Our own leg to the proxy breaks while we ask. */
static void test_asks_again_by_another_leg(void **state)
{
    world.proxies[0].lie = LIE_NO_ANSWER;
    ask_two(true);
    world.proxies[0].lie = LIE_NONE;
    fake_drop(fake_find(&world.proxies[0], identity_party(caller_id), NULL), LEG_RESET);
    expect_via("proxy eu mem", 3 * CLOCK_SEC);
    assert_int_equal(world.proxies[0].connects, 2);
    assert_int_equal(ways_failed, 1);
}

/* Not for ever, and it is told once; once the other has failed too it is over. */
static void test_does_not_nag(void **state)
{
    ask_two(false);
    world_pass(&world, 9 * CLOCK_SEC);
    assert_int_equal(a.closed, 0);
    assert_int_equal(world.proxies[0].connects, 4); /* after 1, 2 and 4 s */
    assert_int_equal(ways_failed, 1);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "not registered here", 2 * CLOCK_SEC);
    assert_int_equal(ways_failed, 1);
    assert_null(strstr(strstr(a.text, "not registered here") + 1, "not registered here"));
}

static void test_lying_proxies(void **state)
{
    static const struct {
        enum fake_lie lie;
        const char *text;
        uint64_t within;
    } lies[] = {
        {LIE_JOINED_SESSION, "broke the protocol", 3 * CLOCK_SEC},
        {LIE_JOINED_PEER, "another identity", 3 * CLOCK_SEC},
        {LIE_JOINED_CALLER, "", 16 * CLOCK_SEC},
        {LIE_OTHER_PEER, "another identity", 3 * CLOCK_SEC},
        {LIE_ZERO_SESSION, "malformed", 3 * CLOCK_SEC},
        {LIE_NO_JOINED, "did not join in time", 13 * CLOCK_SEC},
        {LIE_NO_ANSWER, "no answer in time", 13 * CLOCK_SEC},
    };
    start(1);
    struct endpoint_proxy proxy = fake_config(&world.proxies[0]);
    world_endpoint(&world, 2, third_id, &ops, NULL);
    assert_int_equal(endpoint_set_proxies(world.endpoints[2], &proxy, 1), 0);
    world_pass(&world, CLOCK_SEC);
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        memset(&a, 0, sizeof(a));
        world.proxies[0].lie = lies[i].lie;
        struct dial_request request = request_for(NULL);
        call(&request);
        expect_failure(TUNNEL_CLOSE_UNREACHABLE, lies[i].text, lies[i].within);
        assert_int_equal(b.opened, 0);
    }
    assert_int_equal(asked, 0);
}

/* What the peer itself says is final, and told as it is. */
static void test_refused(void **state)
{
    start(2);
    world_pass(&world, CLOCK_SEC);
    verdict = TUNNEL_CLOSE_NOT_NOW;
    struct dial_request request = request_for(NULL);
    call(&request);
    expect_failure(TUNNEL_CLOSE_NOT_NOW, "paused", CLOCK_SEC);
    assert_int_equal(asked, 1);
}

static void test_wrong_token(void **state)
{
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    request.token[0] ^= 1;
    call(&request);
    expect_failure(TUNNEL_CLOSE_PROOF, "token", CLOCK_SEC);
}

static void test_cancel_at_any_time(void **state)
{
    start(1);
    world.listeners[1] = world.endpoints[1];
    world_pass(&world, CLOCK_SEC);
    for (unsigned ms = 0; ms < 120; ms += 10) {
        struct dial_request request = request_for(ms % 20 ? "listener:1" : NULL);
        call(&request);
        world_pass(&world, ms * CLOCK_MS);
        if (a.opened)
            tunnel_close(a.tunnel, TUNNEL_CLOSE_DONE, NULL);
        else
            dial_cancel(dial);
        world_pass(&world, CLOCK_SEC);
        assert_int_equal(a.closed, 0);
        assert_int_equal(b.opened, b.closed);
        memset(&a, 0, sizeof(a));
    }
}

static void test_close_at_any_time(void **state)
{
    for (unsigned ms = 0; ms < 120; ms += 10) {
        start(1);
        world_pass(&world, CLOCK_SEC);
        struct dial_request request = request_for(NULL);
        call(&request);
        world_pass(&world, ms * CLOCK_MS);
        for (size_t k = 0; k < 2; k++) {
            endpoint_close(world.endpoints[(k + ms / 10) % 2]);
            world.endpoints[(k + ms / 10) % 2] = NULL;
            world_pass(&world, 30 * CLOCK_MS);
        }
        world_pass(&world, 6 * CLOCK_SEC);
        memset(&a, 0, sizeof(a));
        memset(&b, 0, sizeof(b));
    }
}

/* The proxy is taken out of the configuration while we wait for its answer. */
static void test_proxy_removed(void **state)
{
    world.proxies[0].lie = LIE_NO_ANSWER;
    start(1);
    world_pass(&world, CLOCK_SEC);
    struct dial_request request = request_for(NULL);
    call(&request);
    world_pass(&world, 100 * CLOCK_MS);
    assert_int_equal(endpoint_set_proxies(world.endpoints[0], NULL, 0), 0);
    assert_int_equal(a.closed, 0);
    expect_failure(TUNNEL_CLOSE_UNREACHABLE, "not configured", CLOCK_SEC);
}

/* One cell of the table: the policies of both ends, and whether the proxy allows raw. */
static void raw_cell(enum endpoint_raw ours, enum endpoint_raw theirs, bool allowed)
{
    bool agreed = allowed && ours != ENDPOINT_RAW_NEVER && theirs != ENDPOINT_RAW_NEVER;
    bool required = ours == ENDPOINT_RAW_REQUIRED || theirs == ENDPOINT_RAW_REQUIRED;

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    world.proxies[0].raw = allowed;
    world.proxies[0].raws = 0;
    endpoint_set_raw(world.endpoints[0], ours);
    endpoint_set_raw(world.endpoints[1], theirs);
    struct dial_request request = request_for(NULL);
    call(&request);
    if (agreed || !required) {
        expect_via("proxy eu mem", CLOCK_SEC);
        tunnel_close(a.tunnel, TUNNEL_CLOSE_DONE, NULL);
        world_pass(&world, CLOCK_SEC);
        assert_int_equal(b.why, TUNNEL_CLOSE_DONE);
    } else {
        expect_failure(TUNNEL_CLOSE_UNREACHABLE, "raw is required", 3 * CLOCK_SEC);
        assert_int_equal(b.opened, 0);
    }
    assert_int_equal(world.proxies[0].raws, agreed ? 2 : 0); /* each direction says so once */
}

static void test_raw_policies(void **state)
{
    start(1);
    world_pass(&world, CLOCK_SEC);
    for (unsigned ours = 0; ours < 3; ours++) {
        for (unsigned theirs = 0; theirs < 3; theirs++) {
            raw_cell((enum endpoint_raw)ours, (enum endpoint_raw)theirs, false);
            raw_cell((enum endpoint_raw)ours, (enum endpoint_raw)theirs, true);
        }
    }
}

static int set_up(void **state)
{
    assert_int_equal(tls_global_init(), 0);
    world_init(&world);
    caller_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    callee_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    third_id = certs_identity(&world.certs, PARTY_AGENT, 3600);
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    verdict = TUNNEL_CLOSE_DONE;
    asked = 0;
    return 0;
}

static int tear_down(void **state)
{
    world_done(&world);
    identity_unref(caller_id);
    identity_unref(callee_id);
    identity_unref(third_id);
    return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_relayed),
        T(test_direct),
        T(test_direct_needs_no_proxy),
        T(test_falls_back),
        T(test_wrong_direct_peer),
        T(test_waits_for_registration),
        T(test_never_registered),
        T(test_nothing_to_try),
        T(test_not_found),
        T(test_no_needless_trips),
        T(test_first_message),
        T(test_nearest),
        T(test_overlap),
        T(test_avoid),
        T(test_weight),
        T(test_only_others),
        T(test_tells_of_each),
        T(test_asks_again),
        T(test_asks_again_meanwhile),
        T(test_asks_again_by_another_leg),
        T(test_does_not_nag),
        T(test_lying_proxies),
        T(test_refused),
        T(test_wrong_token),
        T(test_cancel_at_any_time),
        T(test_close_at_any_time),
        T(test_proxy_removed),
        T(test_raw_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
