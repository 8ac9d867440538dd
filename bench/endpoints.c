/* endpoints - many endpoints, or many idle sessions, at one relay; for bench/run.
 *
 *     endpoints setup DIR PORT         keys and a proxy.json that listens on 127.0.0.1:PORT
 *     endpoints registered DIR PORT N  N registered agents at the fairlead-proxy at PORT
 *     endpoints sessions DIR PORT N    two agents with N sessions, raw both ways, each used once
 *     endpoints joins DIR PORT N [MS]  sessions one after the other; prints how long each took.
 *                                      With pauses of MS: from an address of their own
 *     endpoints devices DIR PORT N     N devices waiting at a Syncthing relay (protocol version 1)
 *
 * Prints "ready" when all of them stand, and keeps them (answering pings) until standard input
 * ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "source.h"
#include "tunnel/hail.h"
#include "wire/close_reason.h"

#define AT_ONCE  32 /* handshakes in progress: the relay's work is measured, not its queue */
#define SECONDS  86400
#define DEADLINE (600 * CLOCK_SEC)
#define FIRST    16000 /* bytes that use each session once */

static noreturn void die(const char *what, int code)
{
    fprintf(stderr, "endpoints: %s: %s\n", what, code ? error_text(code) : "unexpected");
    exit(1);
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, code);
}

/* ---- keys and files ---- */

static char *load(const char *dir, const char *name)
{
    char path[512], *text = calloc(1, 65536);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    if (!file || !text || fread(text, 1, 65535, file) == 0)
        die(path, -errno);
    (void)fclose(file);
    return text;
}

static void save(const char *dir, const char *name, const char *first, const char *second)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    if (!file || fprintf(file, "%s%s", first, second) < 0 || fclose(file) != 0)
        die(path, -errno);
}

static void set_up(const char *dir, const char *port)
{
    const char *names[] = {"localhost"};
    struct authority *authority;
    char *key, *cert, *own, *own_cert, *web, json[1024];
    struct fl_id id;

    check("authority", authority_create(&key, &cert));
    check("authority", authority_load(key, cert, &authority));
    save(dir, "ca.pem", cert, "");
    save(dir, "ca.key", key, "");
    check("key", identity_make_key(&own));
    check("certificate", authority_issue_key(authority, own, PARTY_PROXY, SECONDS, &own_cert, &id));
    save(dir, "proxy.pem", own, own_cert);
    check("web", authority_issue_web(authority, names, 1, 1, &web));
    save(dir, "web.pem", web, "");
    (void)snprintf(
        json, sizeof(json),
        "{\"listen\": [\"127.0.0.1:%s\"], \"identity\": \"proxy.pem\", \"ca\": \"ca.pem\",\n"
        " \"tls_certificate\": \"web.pem\", \"log\": {\"level\": \"warn\"},\n"
        " \"limits\": {\"idle_seconds\": 0, \"sessions_per_agent\": 20000, \"legs_agent\": "
        "20000}}\n",
        port);
    save(dir, "proxy.json", json, "");
}

struct maker {
    char *key, *cert; /* PEM */
    struct authority *authority;
};

static void maker_init(struct maker *maker, const char *dir)
{
    maker->key = load(dir, "ca.key");
    maker->cert = load(dir, "ca.pem");
    check("authority", authority_load(maker->key, maker->cert, &maker->authority));
}

/* A fresh agent's key and certificate, PEM; the caller frees both. */
static void make_pair(const struct maker *maker, char **ret_key, char **ret_cert)
{
    struct fl_id id;

    check("key", identity_make_key(ret_key));
    check("certificate",
          authority_issue_key(maker->authority, *ret_key, PARTY_AGENT, SECONDS, ret_cert, &id));
}

static struct identity *make_agent(const struct maker *maker)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    struct identity *identity;

    make_pair(maker, &key, &cert);
    check("identity",
          identity_new(key, cert, strlen(cert), maker->cert, strlen(maker->cert), &identity));
    return identity;
}

/* ---- the run ---- */

static struct {
    uv_loop_t loop;
    uint16_t port;
    struct maker maker;
    unsigned goal, started, ready;
    unsigned at_once;
    unsigned pause_ms;             /* between sessions that follow each other */
    const struct dialler *dialler; /* NULL: straight */
    uint64_t asked;                /* when the latest session was asked for */
    void (*start)(void);           /* begin one more */
} run;

static void more(void)
{
    while (run.started < run.goal && run.started - run.ready < run.at_once) {
        run.started++;
        run.start();
    }
}

static void one_is_ready(void)
{
    run.ready++;
    more();
}

static void say(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    check(frame_name(type), hail_message(leg, type, fields, src));
}

/* A frame that nobody asked for; when it is a STATUS, what it says. */
static noreturn void die_of(const struct frame *frame)
{
    fl_Status status;

    if (frame->type == FRAME_STATUS && message_decode(fl_Status_fields, frame, &status) == 0)
        die(close_reason_text(status.code), 0);
    die(frame_name(frame->type), 0);
}

/* ---- registered endpoints ---- */

struct endpoint {
    struct identity *identity;
    struct leg *leg;
    void (*on_frame)(struct endpoint *endpoint, const struct frame *frame); /* once registered */
};

static void say_register(struct endpoint *endpoint, const struct frame *frame)
{
    const fl_Register empty = {0};
    const struct fl_id any = {0};
    char text[HAIL_TEXT_MAX] = "";
    struct fl_id proxy;

    check("HELLO_ACK", hail_check(endpoint->leg, endpoint->identity, frame, &any, &proxy, text));
    say(endpoint->leg, FRAME_REGISTER, fl_Register_fields, &empty);
}

static void on_control_frame(struct endpoint *endpoint, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO_ACK:
        say_register(endpoint, frame);
        break;
    case FRAME_REGISTERED:
        one_is_ready();
        break;
    case FRAME_PING:
        (void)leg_send(endpoint->leg, FRAME_PONG, 0, frame->body, frame->len);
        break;
    default:
        if (!endpoint->on_frame)
            die_of(frame);
        endpoint->on_frame(endpoint, frame);
    }
}

static void on_control(void *ctx, struct leg *leg, unsigned events)
{
    static uint8_t buf[LEG_BUFFER];
    struct endpoint *endpoint = ctx;
    struct frame frame;

    if (events & LEG_FAILED)
        die("control leg", leg_error(leg));
    if (events & LEG_OPENED) {
        check("HELLO", hail_hello(leg, endpoint->identity, true));
        leg_want(leg, LEG_READABLE);
    }
    while ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0)
        on_control_frame(endpoint, &frame);
}

static struct endpoint *start_endpoint(void)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));

    if (!endpoint)
        die("endpoint", -ENOMEM);
    endpoint->identity = make_agent(&run.maker);
    check("dial", leg_tcp_dial_by(run.dialler, &run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED,
                                  on_control, endpoint, &endpoint->leg));
    return endpoint;
}

static void start_registered(void)
{
    (void)start_endpoint();
}

/* ---- sessions ---- */

static struct endpoint *caller, *callee;

struct data_leg {
    struct endpoint *of;
    struct leg *leg;
    fl_Join join;
};

static void take_joined(struct data_leg *data, const struct frame *frame)
{
    fl_Joined joined;

    check("JOINED", message_decode(fl_Joined_fields, frame, &joined));
    if (!joined.raw)
        die("the session is not raw", 0);
    check("RAW", leg_send_raw(data->leg));
}

/* Both directions are raw now on this leg, as far as this end can know. */
static void take_raw(struct data_leg *data)
{
    static uint8_t bytes[FRAME_HEADER + FIRST];

    if (data->of == caller && leg_send_data(data->leg, bytes + FRAME_HEADER, FIRST) <= 0)
        die("first bytes", 0);
}

static void take_data(struct data_leg *data)
{
    if (data->of != callee)
        die("bytes at the caller", 0);
    leg_want(data->leg, 0);
    one_is_ready();
}

static void on_data_frame(struct data_leg *data, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO_ACK:
        say(data->leg, FRAME_JOIN, fl_Join_fields, &data->join);
        break;
    case FRAME_JOINED:
        take_joined(data, frame);
        break;
    case FRAME_RAW:
        take_raw(data);
        break;
    case FRAME_DATA:
        take_data(data);
        break;
    default:
        die_of(frame);
    }
}

static void on_data(void *ctx, struct leg *leg, unsigned events)
{
    static uint8_t buf[LEG_BUFFER];
    struct data_leg *data = ctx;
    struct frame frame;

    if (events & LEG_FAILED)
        die("data leg", leg_error(leg));
    if (events & LEG_OPENED) {
        check("HELLO", hail_hello(leg, data->of->identity, true));
        leg_want(leg, LEG_READABLE);
    }
    while ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0) {
        on_data_frame(data, &frame);
        if (frame.type == FRAME_DATA)
            break;
    }
}

static void open_data(struct endpoint *of, const uint8_t *session, const uint8_t *key)
{
    struct data_leg *data = calloc(1, sizeof(*data));

    if (!data)
        die("data leg", -ENOMEM);
    data->of = of;
    memcpy(data->join.session, session, sizeof(data->join.session));
    memcpy(data->join.key, key, sizeof(data->join.key));
    check("dial", leg_tcp_dial_by(run.dialler, &run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED,
                                  on_data, data, &data->leg));
}

static void on_session_frame(struct endpoint *endpoint, const struct frame *frame)
{
    fl_Offer offer;
    fl_Invite invite;

    switch (frame->type) {
    case FRAME_OFFER:
        check("OFFER", message_decode(fl_Offer_fields, frame, &offer));
        open_data(endpoint, offer.session, offer.key);
        break;
    case FRAME_INVITE:
        check("INVITE", message_decode(fl_Invite_fields, frame, &invite));
        open_data(endpoint, invite.session, invite.key);
        break;
    default:
        die_of(frame);
    }
}

static void start_session(void)
{
    fl_Connect connect = {.request = run.started, .has_peer = true};

    run.asked = clock_now();
    party_to_wire(identity_party(callee->identity), &connect.peer);
    say(caller->leg, FRAME_CONNECT, fl_Connect_fields, &connect);
}

static void register_two(void)
{
    run.goal = 2;
    run.start = start_registered;
    caller = start_endpoint();
    callee = start_endpoint();
    caller->on_frame = callee->on_frame = on_session_frame;
    run.started = 2;
    while (run.ready < 2)
        (void)uv_run(&run.loop, UV_RUN_ONCE);
    run.started = run.ready = 0;
    run.start = start_session;
}

static void run_until(unsigned ready)
{
    uint64_t start = clock_now();

    while (run.ready < ready) {
        (void)uv_run(&run.loop, UV_RUN_ONCE);
        if (clock_now() - start > DEADLINE)
            die("deadline", -FL_ETIMEOUT);
    }
}

static void print_joins(unsigned count)
{
    for (unsigned i = 1; i <= count; i++) {
        run.goal = i;
        more();
        run_until(i);
        printf("%.6f\n", (double)(clock_now() - run.asked) / 1e6);
        (void)fflush(stdout);
        (void)usleep(run.pause_ms * 1000);
    }
}

/* ---- devices at a Syncthing relay ---- */

static gnutls_session_t dial_device(void)
{
    const gnutls_datum_t alpn = {(unsigned char *)(uintptr_t) "bep-relay", 9};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(run.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_free_ char *key = NULL, *cert = NULL;
    gnutls_certificate_credentials_t cred;
    gnutls_session_t tls;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    make_pair(&run.maker, &key, &cert);
    gnutls_datum_t key_text = {(unsigned char *)key, (unsigned)strlen(key)};
    gnutls_datum_t cert_text = {(unsigned char *)cert, (unsigned)strlen(cert)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        die("connect", -errno);
    check("credentials", gnutls_certificate_allocate_credentials(&cred));
    check("certificate",
          gnutls_certificate_set_x509_key_mem(cred, &cert_text, &key_text, GNUTLS_X509_FMT_PEM));
    check("TLS", gnutls_init(&tls, GNUTLS_CLIENT));
    check("TLS", gnutls_set_default_priority(tls));
    check("TLS", gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, cred));
    check("TLS", gnutls_alpn_set_protocols(tls, &alpn, 1, 0));
    gnutls_transport_set_int(tls, fd);
    if (gnutls_handshake(tls) < 0)
        die("handshake with the relay", -FL_ETLS);
    return tls;
}

/* JoinRelayRequest without a token, and Response 0. */
static void start_device(void)
{
    static const uint8_t join[12] = {0x9e, 0x79, 0xbc, 0x40, 0, 0, 0, 2};
    uint8_t answer[64];
    gnutls_session_t tls = dial_device();

    if (gnutls_record_send(tls, join, sizeof(join)) != sizeof(join))
        die("join", -FL_ETLS);
    ssize_t n = gnutls_record_recv(tls, answer, 12);
    if (n != 12 || answer[7] != 4)
        die("answer", -FL_EMESSAGE);
    n = gnutls_record_recv(tls, answer, sizeof(answer));
    if (n < 4 || answer[3] != 0)
        die("the relay refuses", -FL_EMESSAGE);
    run.ready++;
}

/* ---- the program ---- */

static void on_input(uv_poll_t *poll, int status, int events)
{
    exit(0);
}

static void stay(void)
{
    uv_poll_t input;

    puts("ready");
    (void)fflush(stdout);
    check("input", uv_poll_init(&run.loop, &input, STDIN_FILENO));
    (void)uv_poll_start(&input, UV_READABLE, on_input);
    (void)uv_run(&run.loop, UV_RUN_DEFAULT);
}

static void act(const char *what, unsigned count)
{
    run.at_once = AT_ONCE;
    if (strcmp(what, "devices") == 0) {
        while (run.ready < count)
            start_device();
        stay();
        return;
    }
    if (strcmp(what, "registered") == 0) {
        run.start = start_registered;
    } else {
        register_two();
    }
    if (strcmp(what, "joins") == 0) {
        print_joins(count);
        return;
    }
    run.goal = count;
    more();
    run_until(count);
    stay();
}

int main(int argc, char **argv)
{
    struct rlimit files;

    if (argc == 4 && strcmp(argv[1], "setup") == 0) {
        set_up(argv[2], argv[3]);
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "joins") == 0) {
        run.pause_ms = (unsigned)atoi(argv[5]);
        run.dialler = source_dialler(1, 1);
    } else if (argc != 5) {
        fprintf(stderr, "endpoints: setup DIR PORT, or registered, sessions, joins or devices DIR "
                        "PORT N expected\n");
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    check("loop", uv_loop_init(&run.loop));
    maker_init(&run.maker, argv[2]);
    run.port = (uint16_t)atoi(argv[3]);
    act(argv[1], (unsigned)atoi(argv[4]));
    return 0;
}
