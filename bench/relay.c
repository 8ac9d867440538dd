/* relay - both ends of a relayed stream in one process: pushes bytes in at one end, counts them at
 * the other.
 *
 *     relay setup DIR PORT             keys and a proxy.json that listens on 127.0.0.1:PORT
 *     relay fairlead DIR PORT BYTES    two agents and a session through the fairlead-proxy at PORT
 *     relay plain IN_PORT OUT_PORT BYTES   connects to IN_PORT, whose relay shall connect to
 * OUT_PORT
 *
 * Prints the seconds from the first byte in to the end of the stream out.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "identity/authority.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "leg/listener.h"
#include "tunnel/hail.h"

#define FRAMES_PER_TURN 16
#define DEADLINE        (60 * CLOCK_SEC)

static void die(const char *what, int code)
{
    fprintf(stderr, "relay: %s: %s\n", what, code ? error_text(code) : "unexpected");
    exit(1);
}

static void check(const char *what, int code)
{
    if (code < 0)
        die(what, code);
}

/* ---- keys and files ---- */

static void save(const char *dir, const char *name, const char *first, const char *second)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    if (!file || fprintf(file, "%s%s", first, second) < 0 || fclose(file) != 0)
        die(path, -errno);
}

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

static void issue(const struct authority *authority, const char *dir, const char *name,
                  enum party_role role)
{
    char *key, *cert;
    struct fl_id id;

    check("key", identity_make_key(&key));
    check("certificate", authority_issue_key(authority, key, role, 86400, &cert, &id));
    save(dir, name, key, cert);
    free(key);
    free(cert);
}

static void set_up(const char *dir, const char *port)
{
    const char *names[] = {"localhost"};
    struct authority *authority;
    char *key, *cert, *web, json[512];

    check("authority", authority_create(&key, &cert));
    check("authority", authority_load(key, cert, &authority));
    save(dir, "ca.pem", cert, "");
    issue(authority, dir, "proxy.pem", PARTY_PROXY);
    issue(authority, dir, "caller.pem", PARTY_AGENT);
    issue(authority, dir, "callee.pem", PARTY_AGENT);
    check("web", authority_issue_web(authority, names, 1, 1, &web));
    save(dir, "web.pem", web, "");
    (void)snprintf(
        json, sizeof(json),
        "{\"listen\": [\"127.0.0.1:%s\"], \"identity\": \"proxy.pem\", \"ca\": \"ca.pem\",\n"
        " \"tls_certificate\": \"web.pem\", \"log\": {\"level\": \"warn\"}}\n",
        port);
    save(dir, "proxy.json", json, "");
    authority_free(authority);
    free(key);
    free(cert);
    free(web);
}

/* ---- the stream ---- */

static struct {
    uv_loop_t loop;
    uint16_t port;  /* of the relay */
    uint64_t total; /* to be sent */
    uint64_t sent;
    uint64_t got;
    uint64_t start; /* first byte sent */
    bool over;
    int joined; /* ends whose stream is open */
    struct leg *in, *out;
} run;

static void feed(struct leg *leg)
{
    static uint8_t frame[FRAME_MAX];
    int rc = 0;

    if (run.start == 0)
        run.start = clock_now();
    for (unsigned i = 0; i < FRAMES_PER_TURN && run.sent < run.total && rc >= 0; i++) {
        uint64_t left = run.total - run.sent;

        rc = leg_send_data(leg, frame + FRAME_HEADER,
                           left < FRAME_BODY_MAX ? (size_t)left : FRAME_BODY_MAX);
        run.sent += rc > 0 ? (uint64_t)rc : 0;
    }
    if (rc >= 0 && run.sent == run.total)
        rc = leg_send_eof(leg);
    if (rc == 0)
        leg_want(leg, 0);
    else if (rc < 0 && rc != -EAGAIN)
        die("send", rc);
}

static void swallow(struct leg *leg)
{
    static uint8_t buf[LEG_BUFFER];
    struct frame frame;
    int rc;

    for (unsigned i = 0; i < FRAMES_PER_TURN; i++) {
        rc = leg_recv(leg, buf, &frame);
        if (rc == -EAGAIN)
            return;
        check("receive", rc);
        if (frame.type == FRAME_EOF) {
            run.over = true;
            return;
        }
        run.got += frame.len;
    }
}

static void on_in(void *ctx, struct leg *leg, unsigned events)
{
    if (events & LEG_FAILED)
        die("sending end", leg_error(leg));
    if (events & LEG_OPENED)
        leg_want(leg, LEG_WRITABLE);
    if (events & LEG_WRITABLE)
        feed(leg);
}

static void on_out(void *ctx, struct leg *leg, unsigned events)
{
    if (events & LEG_FAILED)
        die("receiving end", leg_error(leg));
    if (events & LEG_OPENED)
        leg_want(leg, LEG_READABLE);
    if (events & LEG_READABLE)
        swallow(leg);
}

/* ---- through fairlead-proxy ---- */

struct side {
    bool caller;
    struct identity *identity;
    struct leg *control;
    fl_Join join; /* what OFFER or INVITE said */
};
static struct side sides[2] = {{.caller = true}, {.caller = false}};
static int registered;

static void say(struct leg *leg, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    check(frame_name(type), hail_message(leg, type, fields, src));
}

static void check_ack(struct side *side, struct leg *leg, const struct frame *frame)
{
    const struct fl_id any = {0};
    char text[HAIL_TEXT_MAX] = "";
    struct fl_id proxy;

    check("HELLO_ACK", hail_check(leg, side->identity, frame, &any, &proxy, text));
}

static void on_data_frame(struct side *side, struct leg *leg, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_HELLO_ACK:
        check_ack(side, leg, frame);
        say(leg, FRAME_JOIN, fl_Join_fields, &side->join);
        break;
    case FRAME_JOINED:
        leg_set_handler(leg, side->caller ? on_in : on_out, NULL);
        leg_want(leg, side->caller ? 0 : LEG_READABLE);
        if (++run.joined == 2)
            leg_want(run.in, LEG_WRITABLE);
        break;
    default:
        die(frame_name(frame->type), 0);
    }
}

static void on_data(void *ctx, struct leg *leg, unsigned events)
{
    struct side *side = ctx;
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    if (events & LEG_FAILED)
        die("data leg", leg_error(leg));
    if (events & LEG_OPENED) {
        check("HELLO", hail_hello(leg, side->identity));
        leg_want(leg, LEG_READABLE);
    }
    if ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0)
        on_data_frame(side, leg, &frame);
}

static void open_data(struct side *side, const uint8_t *session, const uint8_t *key)
{
    struct leg **leg = side->caller ? &run.in : &run.out;

    memcpy(side->join.session, session, sizeof(side->join.session));
    memcpy(side->join.key, key, sizeof(side->join.key));
    check("dial",
          leg_tcp_dial(&run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED, on_data, side, leg));
}

static void connect_sides(void)
{
    fl_Connect connect = {.request = 1, .has_peer = true};

    party_to_wire(identity_party(sides[1].identity), &connect.peer);
    say(sides[0].control, FRAME_CONNECT, fl_Connect_fields, &connect);
}

static void on_control_frame(struct side *side, struct leg *leg, const struct frame *frame)
{
    const fl_Register empty = {0};
    fl_Offer offer;
    fl_Invite invite;

    switch (frame->type) {
    case FRAME_HELLO_ACK:
        check_ack(side, leg, frame);
        say(leg, FRAME_REGISTER, fl_Register_fields, &empty);
        break;
    case FRAME_REGISTERED:
        if (++registered == 2)
            connect_sides();
        break;
    case FRAME_PING:
        (void)leg_send(leg, FRAME_PONG, 0, frame->body, frame->len);
        break;
    case FRAME_OFFER:
        check("OFFER", message_decode(fl_Offer_fields, frame, &offer));
        open_data(side, offer.session, offer.key);
        break;
    case FRAME_INVITE:
        check("INVITE", message_decode(fl_Invite_fields, frame, &invite));
        open_data(side, invite.session, invite.key);
        break;
    default:
        die(frame_name(frame->type), 0);
    }
}

static void on_control(void *ctx, struct leg *leg, unsigned events)
{
    struct side *side = ctx;
    uint8_t buf[LEG_BUFFER];
    struct frame frame;

    if (events & LEG_FAILED)
        die("control leg", leg_error(leg));
    if (events & LEG_OPENED) {
        check("HELLO", hail_hello(leg, side->identity));
        leg_want(leg, LEG_READABLE);
    }
    while ((events & LEG_READABLE) && leg_recv(leg, buf, &frame) == 0)
        on_control_frame(side, leg, &frame);
}

static void open_side(struct side *side, const char *dir, const char *ca, const char *name)
{
    char *pem = load(dir, name);

    check(name, identity_new(pem, pem, strlen(pem), ca, strlen(ca), &side->identity));
    check("dial", leg_tcp_dial(&run.loop, "127.0.0.1", run.port, LEG_TCP_WRAPPED, on_control, side,
                               &side->control));
    free(pem);
}

static void start_fairlead(const char *dir)
{
    char *ca = load(dir, "ca.pem");

    open_side(&sides[0], dir, ca, "caller.pem");
    open_side(&sides[1], dir, ca, "callee.pem");
    free(ca);
}

/* ---- through any TCP relay ---- */

static void on_accept(void *ctx, int fd, const char *peer)
{
    if (run.out) /* a health check, not our stream */
        (void)close(fd);
    else
        check("accept", leg_tcp_accept(&run.loop, fd, LEG_TCP_PLAIN, NULL, on_out, NULL, &run.out));
}

static void start_plain(uint16_t out_port)
{
    struct listener *listener;

    check("listen",
          listener_new(&run.loop, "127.0.0.1", out_port, false, on_accept, NULL, &listener));
    check("dial",
          leg_tcp_dial(&run.loop, "127.0.0.1", run.port, LEG_TCP_PLAIN, on_in, NULL, &run.in));
}

static void on_deadline(uv_timer_t *timer)
{
    die("deadline", -FL_ETIMEOUT);
}

static void report(void)
{
    double seconds = (double)(clock_now() - run.start) / 1e6;

    if (run.got != run.total)
        die("bytes are missing", 0);
    printf("%.6f\n", seconds);
}

int main(int argc, char **argv)
{
    uv_timer_t timer;

    if (argc == 4 && strcmp(argv[1], "setup") == 0) {
        set_up(argv[2], argv[3]);
        return 0;
    }
    if (argc != 5) {
        fprintf(stderr, "relay: setup DIR PORT, fairlead DIR PORT BYTES, or plain IN_PORT OUT_PORT "
                        "BYTES expected\n");
        return 2;
    }
    check("loop", uv_loop_init(&run.loop));
    (void)uv_timer_init(&run.loop, &timer);
    (void)uv_timer_start(&timer, on_deadline, DEADLINE / CLOCK_MS, 0);
    run.total = strtoull(argv[4], NULL, 10);
    if (strcmp(argv[1], "fairlead") == 0) {
        run.port = (uint16_t)atoi(argv[3]);
        start_fairlead(argv[2]);
    } else {
        run.port = (uint16_t)atoi(argv[2]);
        start_plain((uint16_t)atoi(argv[3]));
    }
    while (!run.over)
        (void)uv_run(&run.loop, UV_RUN_ONCE);
    report();
    leg_close(run.in, LEG_GRACEFUL);
    leg_close(run.out, LEG_GRACEFUL);
    (void)uv_run(&run.loop, UV_RUN_NOWAIT);
    return 0;
}
