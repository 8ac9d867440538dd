/* fuzz_forward.c - frames of a hostile agent to either side of a forward, with real connections
 * under way. What it sends is well-formed, and nothing it does leaves more than the bounds allow.
 *
 * First byte: bit 0: we listen (else connect). Then frames; a byte of 0xff where one would begin is
 * a turn of the loop. */
#include "fuzz.h"

#include "../unit/forward_rig.h"

static uv_loop_t loop;
static int server = -1;
static uint16_t port;

static void on_lost(void *ctx, const struct tunnel *tunnel, bool newest, enum tunnel_close why,
                    const char *text)
{
}

static const struct forward_ops ops = {on_lost};

static void prepare(void)
{
    if (server >= 0)
        return;
    must(uv_loop_init(&loop) == 0);
    server = rig_listen();
    must(server >= 0);
}

/* What it has said can be read by the other side. */
static void check_said(struct tunnel *tunnel, enum frame_phase phase)
{
    uint8_t body[FRAME_MAX];
    struct frame frame;

    while (rig_frame(tunnel, body, &frame))
        must(frame_check(&frame, phase) == 0);
    must(tunnel->len == 0);
}

static void take_connections(void)
{
    struct pollfd one = {.fd = server, .events = POLLIN};
    while (poll(&one, 1, 0) > 0)
        (void)close(accept(server, NULL, NULL));
}

static void feed(struct forward *f, struct tunnel *tunnel, const uint8_t *data, size_t size,
                 enum frame_phase ours, enum frame_phase theirs)
{
    int rc = 0;

    for (size_t at = 0; at < size && rc == 0;) {
        struct frame frame;
        if (data[at] == 0xff) {
            at++;
            rig_loop(&loop);
            check_said(tunnel, theirs);
            rig_has_room(tunnel, f);
            continue;
        }
        int n = frame_parse(data + at, size - at, &frame);
        if (n <= 0)
            break;
        at += (size_t)n;
        rc = frame_check(&frame, ours);
        if (rc == 0)
            rc = forward_tunnel_ops.message(f, tunnel, &frame);
        else if (rc == 1)
            rc = 0;
        must(forward_counts(f)->open <= 2 * FORWARD_CONNS_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tunnel tunnel;
    struct forward *f;
    int clients[2] = {-1, -1};

    if (size == 0 || size > FRAME_MAX)
        return 0;
    prepare();
    tunnel = (struct tunnel){0};
    bool listens = data[0] & 1;
    if (listens)
        must((f = rig_listener(&loop, &ops, NULL, &port)) != NULL);
    else
        must(forward_new_connector(&loop, "127.0.0.1", rig_port_of(server), &ops, NULL, &f) == 0);
    forward_tunnel_ops.opened(f, &tunnel);
    for (unsigned i = 0; listens && i < 2; i++) {
        clients[i] = rig_dial(port);
        (void)!write(clients[i], "hello", 5);
    }
    rig_loop(&loop);
    feed(f, &tunnel, data + 1, size - 1, listens ? PHASE_LISTENER : PHASE_CONNECTOR,
         listens ? PHASE_CONNECTOR : PHASE_LISTENER);
    check_said(&tunnel, listens ? PHASE_CONNECTOR : PHASE_LISTENER);
    forward_free(f, TUNNEL_CLOSE_DONE);
    while (uv_run(&loop, UV_RUN_NOWAIT))
        ;
    take_connections();
    for (unsigned i = 0; i < 2; i++) {
        if (clients[i] >= 0)
            (void)close(clients[i]);
    }
    return 0;
}
