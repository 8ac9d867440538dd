/* test_endpoint_uv.c - two endpoints in two processes and a real fairlead-proxy: register, dial
 * through the proxy and directly, move data with hashes.
 *
 * FAIRLEAD_PROXY is the program; FAIRLEAD_BENCH_MB=N moves that much and prints throughput and the
 * proxy's CPU time, with FAIRLEAD_BENCH_RAW=never within the outer TLS, with
 * FAIRLEAD_BENCH_TRANSPORT=udp over QUIC (then RAW must not be required).
 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/error.h"
#include "base/log.h"
#include "certs.h"
#include "identity/tls.h"
#include "tunnel/endpoint_uv.h"

#define BODY_MAX 15900 /* of BLOCK_DATA */

static struct certs certs;
static struct identity *target, *source, *proxy_identity;
static char proxy_address[64], direct_address[64];
static pid_t proxy_pid, source_pid;
static char config_path[] = "/tmp/fairlead-test-XXXXXX";
static const struct fl_id flow = {.b = {3}};

/* ---- the source, in a process of its own ---- */

struct stream {
    struct tunnel *tunnel;
    uint64_t left;
    uint32_t seed;
};

static void stream_push(struct stream *s)
{
    uint8_t *frame;
    while (s->left > 0 && (frame = tunnel_reserve(s->tunnel))) {
        size_t n = s->left < BODY_MAX ? (size_t)s->left : BODY_MAX;
        memset(frame + FRAME_HEADER, (int)(s->seed++ & 0xff), n);
        frame_put(frame, FRAME_BLOCK_DATA, 0, n);
        tunnel_commit(s->tunnel, FRAME_HEADER + n);
        s->left -= n;
    }
}

/* WANT with a number of bytes as its one range's index: they come. */
static int source_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct stream *s = ctx;
    fl_Want want;
    if (frame->type != FRAME_WANT || message_decode(fl_Want_fields, frame, &want) < 0 ||
        want.ranges_count != 1)
        return -FL_EMESSAGE;
    s->tunnel = tunnel;
    s->left = want.ranges[0].index;
    s->seed = 0;
    stream_push(s);
    return 0;
}

static void source_writable(void *ctx, struct tunnel *tunnel)
{
    stream_push(ctx);
}

static void source_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    free(ctx);
}

static const struct tunnel_ops source_ops = {
    .message = source_message, .writable = source_writable, .closed = source_closed};

static enum tunnel_close source_incoming(void *ctx, struct endpoint_incoming *in)
{
    in->ops = &source_ops;
    in->ctx = calloc(1, sizeof(struct stream));
    memset(in->token, 5, sizeof(in->token));
    return TUNNEL_CLOSE_DONE;
}

static bool wants_udp(void)
{
    const char *transport = getenv("FAIRLEAD_BENCH_TRANSPORT");
    return transport && strcmp(transport, "udp") == 0;
}

static void set_proxy(struct endpoint_uv *uv)
{
    if (wants_udp())
        endpoint_uv_set_transport(uv, TRANSPORT_UDP);
    struct endpoint_proxy proxy = {.id = identity_party(proxy_identity)->id, .name = "lo"};
    (void)snprintf(proxy.addresses[0], sizeof(proxy.addresses[0]), "%s", proxy_address);
    (void)endpoint_set_proxies(endpoint_uv_core(uv), &proxy, 1);
}

static void source_main(int port_pipe)
{
    static const struct endpoint_ops ops = {.incoming = source_incoming};
    uv_loop_t loop;
    struct endpoint_uv *uv;
    uint16_t port = 0;
    (void)uv_loop_init(&loop);
    if (endpoint_uv_new(&loop, source, &ops, NULL, &uv) < 0 ||
        endpoint_uv_listen(uv, "127.0.0.1", 0, &port) < 0)
        _exit(1);
    set_proxy(uv);
    if (write(port_pipe, &port, sizeof(port)) != sizeof(port))
        _exit(1);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

/* ---- the target, here ---- */

struct sink {
    uv_loop_t loop;
    struct endpoint_uv *uv;
    uv_timer_t late;
    struct tunnel *tunnel;
    uint64_t want, got, started;
    uint32_t seed;
    unsigned opened, closed, wrong;
    char text[512];
    char via[TUNNEL_VIA_MAX];
};

static void sink_opened(void *ctx, struct tunnel *tunnel)
{
    struct sink *s = ctx;
    fl_Want want = {.ranges_count = 1, .ranges = {{.index = (uint32_t)s->want}}};
    s->opened++;
    s->tunnel = tunnel;
    s->started = clock_now();
    (void)snprintf(s->via, sizeof(s->via), "%s", tunnel_via(tunnel));
    assert_int_equal(tunnel_send_message(tunnel, FRAME_WANT, fl_Want_fields, &want), 0);
}

static int sink_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct sink *s = ctx;
    uint8_t expect = (uint8_t)(s->seed++ & 0xff);
    if (frame->body[0] != expect || frame->body[frame->len - 1] != expect)
        s->wrong++;
    s->got += frame->len;
    if (s->got >= s->want)
        uv_stop(&s->loop);
    return 0;
}

static void sink_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct sink *s = ctx;
    s->closed++;
    (void)snprintf(s->text, sizeof(s->text), "%d %s", why, text);
    uv_stop(&s->loop);
}

static const struct tunnel_ops sink_ops = {
    .opened = sink_opened, .message = sink_message, .closed = sink_closed};

static void on_late(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void sink_start(struct sink *s, uint64_t bytes)
{
    static const struct endpoint_ops ops;
    *s = (struct sink){.want = bytes};
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(endpoint_uv_new(&s->loop, target, &ops, NULL, &s->uv), 0);
    set_proxy(s->uv);
    (void)uv_timer_init(&s->loop, &s->late);
    (void)uv_timer_start(&s->late, on_late, 50000, 0);
}

static void sink_dial(struct sink *s, bool direct)
{
    struct dial *dial;
    struct dial_request request = {
        .peer = *identity_party(source),
        .direct = direct,
        .relayed = !direct,
        .addresses = {direct_address},
        .address_count = direct,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
        .flow = flow,
    };
    memset(request.token, 5, sizeof(request.token));
    assert_int_equal(endpoint_dial(endpoint_uv_core(s->uv), &request, &sink_ops, s, &dial), 0);
}

static void sink_stop(struct sink *s)
{
    if (s->tunnel && !s->closed)
        tunnel_close(s->tunnel, TUNNEL_CLOSE_DONE, NULL);
    endpoint_uv_close(s->uv);
    uv_close((uv_handle_t *)&s->late, NULL);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0); /* everything has left the loop */
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void print_speed(const struct sink *s, uint64_t end)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(end - s->started) / 1e6;
    printf("%s: %.0f MB in %.2f s, %.2f Gbit/s; target's CPU so far %.2f u %.2f s\n", s->via,
           (double)s->got / 1e6, seconds, (double)s->got * 8e-9 / seconds,
           (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6);
}

static void move(bool direct, const char *via)
{
    const char *bench = getenv("FAIRLEAD_BENCH_MB");
    uint64_t bytes = (bench ? strtoull(bench, NULL, 10) : 40) * 1000000;
    struct sink s;
    sink_start(&s, bytes);
    /* A relayed dial before both are registered may be told that the peer is not there: agents dial
     * again. */
    for (unsigned i = 0; i < 20 && !s.opened; i++) {
        s.closed = 0;
        sink_dial(&s, direct);
        (void)uv_run(&s.loop, UV_RUN_DEFAULT);
        if (!s.opened)
            usleep(100000);
    }
    if (s.got < s.want)
        fail_msg("got %llu of %llu: %s", (unsigned long long)s.got, (unsigned long long)s.want,
                 s.text);
    if (bench)
        print_speed(&s, clock_now());
    assert_int_equal(s.got, s.want);
    assert_int_equal(s.wrong, 0);
    assert_string_equal(s.via, via);
    sink_stop(&s);
}

static void test_direct(void **state)
{
    move(true, "direct tcp");
}

static void test_relayed(void **state)
{
    move(false, wants_udp() ? "proxy lo udp" : "proxy lo tcp");
}

static void test_addresses(void **state)
{
    char addresses[8][LEG_ADDRESS_MAX];
    size_t n = endpoint_uv_addresses(3839, addresses, 8);
    for (size_t i = 0; i < n; i++)
        assert_non_null(strstr(addresses[i], ":3839"));
}

/* Addresses that make no sense, and closing at once. */
static void test_bad_addresses(void **state)
{
    struct sink s;
    struct dial *dial;
    sink_start(&s, 1);
    struct dial_request request = {
        .peer = *identity_party(source),
        .direct = true,
        .addresses = {"no port", ":5", "127.0.0.1:0", "[::1:5", "127.0.0.1:1"},
        .address_count = 5,
        .purpose = fl_Purpose_PURPOSE_TRANSFER,
        .flow = flow,
    };
    assert_int_equal(endpoint_dial(endpoint_uv_core(s.uv), &request, &sink_ops, &s, &dial), 0);
    (void)uv_run(&s.loop, UV_RUN_DEFAULT);
    assert_int_equal(s.closed, 1);
    s.tunnel = NULL;
    sink_stop(&s);
    sink_start(&s, 1);
    sink_dial(&s, true);
    sink_stop(&s);
}

/* ---- set-up ---- */

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static char *join_text(const char *a, const char *b)
{
    char *text = NULL;
    assert_true(asprintf(&text, "%s%s", a, b) > 0);
    return text;
}

static void write_config(void)
{
    const char *names[] = {"127.0.0.1"};
    char *key, *cert, *web;
    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(certs.authority, key, PARTY_PROXY, 3600, &cert, NULL), 0);
    assert_int_equal(
        identity_new(key, cert, strlen(cert), certs.ca_pem, strlen(certs.ca_pem), &proxy_identity),
        0);
    assert_int_equal(authority_issue_web(certs.authority, names, 1, 1, &web), 0);
    (void)snprintf(proxy_address, sizeof(proxy_address), "127.0.0.1:%u", free_port());
    char *both = join_text(key, cert);
    const char *raw = getenv("FAIRLEAD_BENCH_RAW");
    json_t *config =
        json_pack("{s:[s], s:s, s:s, s:s, s:s}", "listen", proxy_address, "identity", both, "ca",
                  certs.ca_pem, "tls_certificate", web, "raw", raw ? raw : "required");
    assert_non_null(config);
    int fd = mkstemp(config_path);
    assert_true(fd >= 0);
    assert_int_equal(json_dumpfd(config, fd, 0), 0);
    (void)close(fd);
    json_decref(config);
    free(both);
    free(web);
    free(key);
    free(cert);
}

static void start_proxy(const char *program)
{
    write_config();
    proxy_pid = fork();
    if (proxy_pid == 0) {
        (void)execl(program, program, "--config", config_path, "--log-level", "warn", NULL);
        _exit(127);
    }
    assert_true(proxy_pid > 0);
}

static void start_source(void)
{
    int fds[2];
    uint16_t port = 0;
    assert_int_equal(pipe(fds), 0);
    source_pid = fork();
    if (source_pid == 0)
        source_main(fds[1]);
    assert_true(source_pid > 0);
    assert_int_equal(read(fds[0], &port, sizeof(port)), sizeof(port));
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)snprintf(direct_address, sizeof(direct_address), "127.0.0.1:%u", port);
}

static int set_up(void **state)
{
    const char *program = getenv("FAIRLEAD_PROXY");
    assert_non_null(program);
    (void)signal(SIGPIPE, SIG_IGN);
    log_setup("test", LOG_WARN, LOG_TEXT);
    assert_int_equal(tls_global_init(), 0);
    certs_init(&certs);
    target = certs_identity(&certs, PARTY_AGENT, 3600);
    source = certs_identity(&certs, PARTY_AGENT, 3600);
    start_proxy(program);
    start_source();
    return 0;
}

static int tear_down(void **state)
{
    int status;
    (void)kill(source_pid, SIGKILL);
    (void)waitpid(source_pid, &status, 0);
    (void)kill(proxy_pid, SIGTERM);
    struct rusage usage;
    assert_int_equal(wait4(proxy_pid, &status, 0, &usage), proxy_pid);
    if (getenv("FAIRLEAD_BENCH_MB"))
        printf("proxy's CPU %.2f u %.2f s\n",
               (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6,
               (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6);
    (void)unlink(config_path);
    identity_unref(target);
    identity_unref(source);
    identity_unref(proxy_identity);
    certs_done(&certs);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct),
        cmocka_unit_test(test_relayed),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_addresses),
    };
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
