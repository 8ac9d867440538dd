/* transfer_rig.h - source and target of a flow in one process: a tunnel in memory that stands for
 * the real one (it has the same functions, so the real one is not linked), and files to move. */
#ifndef FL_TESTS_TRANSFER_RIG_H
#define FL_TESTS_TRANSFER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "agent/receive.h"
#include "agent/send.h"
#include "base/clock.h"
#include "base/error.h"
#include "wire/frame.h"

/* ---- the tunnel ---- */

struct tunnel {
    struct pair *pair;
    struct tunnel *peer;
    enum frame_phase phase;       /* of what this end receives */
    const struct tunnel_ops *ops; /* NULL: its owner has closed it */
    void *ctx;
    uint8_t out[TUNNEL_TX_ROOM];
    size_t len;
    bool paused, want_room, opened, ended, first_said;
    uint64_t sent; /* bytes that the other end got */
    uint64_t data; /* bytes of BLOCK and BLOCK_DATA frames among them */
    enum tunnel_close why;
    uint64_t last_rx;
};

struct pair {
    uv_idle_t idle;  /* active while there is something to pass on */
    uv_timer_t rest; /* active while only the rate is in the way */
    struct tunnel source, target;
    uint64_t cut_after; /* bytes to the target; 0: never */
    bool cut;
    bool frozen;     /* nothing passes any more, and nobody is told */
    uint64_t freeze; /* freeze after so many bytes to the target; 0: never */
    uint64_t rate;   /* bytes a second to the target; 0: no limit */
    uint64_t begun;
    struct fl_id proxy;
    bool alone; /* the source takes one tunnel only */
    bool closing;
};

static unsigned rig_pairs; /* alive */

static inline void pair_gone(uv_handle_t *handle)
{
    free(handle->data);
    rig_pairs--;
}

static inline void pair_idle_gone(uv_handle_t *handle)
{
    struct pair *pair = handle->data;

    uv_close((uv_handle_t *)&pair->rest, pair_gone);
}

static inline void rig_wake(struct tunnel *t);

int tunnel_send(struct tunnel *t, const uint8_t *frame, size_t len)
{
    if (t->ended || !t->ops)
        return -FL_ECLOSED;
    if (sizeof(t->out) - t->len < len) {
        t->want_room = true;
        return -EAGAIN;
    }
    memcpy(t->out + t->len, frame, len);
    t->len += len;
    rig_wake(t);
    return 0;
}

int tunnel_send_message(struct tunnel *t, uint8_t type, const pb_msgdesc_t *fields, const void *src)
{
    uint8_t frame[FRAME_MAX];
    int n = message_encode(type, fields, src, frame, sizeof(frame));

    assert_true(n > 0);
    return tunnel_send(t, frame, (size_t)n);
}

size_t tunnel_room(const struct tunnel *t)
{
    return sizeof(t->out) - t->len;
}

uint8_t *tunnel_reserve(struct tunnel *t)
{
    if (tunnel_room(t) >= FRAME_MAX)
        return t->out + t->len;
    t->want_room = true;
    return NULL;
}

void tunnel_pause(struct tunnel *t, bool paused)
{
    t->paused = paused;
    rig_wake(t);
}

void tunnel_info(const struct tunnel *t, struct tunnel_info *ret_info)
{
    *ret_info = (struct tunnel_info){
        .proxy = t->pair->proxy,
        .last_rx = t->last_rx,
        .rtt = 1000,
        .several = !t->pair->alone,
        .first_said = t->first_said,
    };
}

void tunnel_probe(struct tunnel *t)
{
    if (!t->pair->frozen)
        t->last_rx = clock_now();
}

void tunnel_want_room(struct tunnel *t)
{
    t->want_room = true;
    rig_wake(t);
}

void tunnel_close(struct tunnel *t, enum tunnel_close why, const char *text)
{
    t->ops = NULL;
    t->why = why;
    rig_wake(t);
}

static inline void rig_end(struct tunnel *t, enum tunnel_close why)
{
    const struct tunnel_ops *ops = t->ops;

    if (t->ended)
        return;
    t->ended = true;
    t->ops = NULL;
    if (ops)
        ops->closed(t->ctx, t, why, "test");
}

/* rig_deliver - up to 64 KiB of what @from has sent. */
static inline void rig_deliver(struct tunnel *from)
{
    struct tunnel *to = from->peer;
    size_t at = 0;

    while (at < from->len && at < 65536 && to->ops && !to->paused && !to->ended) {
        struct frame frame;
        int n = frame_parse(from->out + at, from->len - at, &frame), rc;

        assert_true(n > 0);
        at += (size_t)n;
        from->sent += (size_t)n;
        to->last_rx = clock_now();
        if (frame.type == FRAME_BLOCK || frame.type == FRAME_BLOCK_DATA)
            from->data += frame.len;
        rc = frame_check(&frame, to->phase);
        if (rc == 0)
            rc = to->ops->message(to->ctx, to, &frame);
        if (rc < 0) {
            if (getenv("RIG_LOG"))
                print_message("%s refused by %s: %s\n", frame_name(frame.type),
                              to->phase == PHASE_SOURCE ? "source" : "target", error_text(rc));
            rig_end(to, TUNNEL_CLOSE_PROTOCOL);
            to->why = TUNNEL_CLOSE_PROTOCOL;
        }
    }
    if (!to->ops)
        at = from->len; /* nobody listens */
    memmove(from->out, from->out + at, from->len - at);
    from->len -= at;
    if (from->want_room && from->ops && !from->ended && tunnel_room(from) >= TUNNEL_TX_ROOM / 2) {
        from->want_room = false;
        from->ops->writable(from->ctx, from);
    }
    if (!from->ops && from->len == 0)
        rig_end(to, from->why);
}

/* rig_held - has the source sent as much as its rate allows so far? */
static inline bool rig_held(const struct pair *pair)
{
    return pair->rate && pair->target.ops &&
           pair->source.sent > (clock_now() - pair->begun) * pair->rate / CLOCK_SEC;
}

/* rig_busy - would another rig_deliver() of @from do anything, without anybody having done
 * something in between? Whoever does wakes the pair. */
static inline bool rig_busy(const struct tunnel *from)
{
    const struct tunnel *to = from->peer;

    if (from->len > 0)
        return !to->paused || !to->ops ||
               (from->want_room && from->ops && tunnel_room(from) >= TUNNEL_TX_ROOM / 2);
    return (from->want_room && from->ops) || (!from->ops && !to->ended);
}

static inline void rig_rested(uv_timer_t *timer)
{
    struct pair *pair = timer->data;

    rig_wake(&pair->source);
}

/* rig_turn - pass on what can be; and turn again only if there is more, so that who waits for the
 * disk, for a rate or for a silent peer leaves the processor to others. */
static inline void rig_turn(uv_idle_t *idle)
{
    struct pair *pair = idle->data;
    struct tunnel *s = &pair->source, *t = &pair->target;
    bool held;

    if (!s->opened) {
        s->opened = t->opened = true;
        s->ops->opened(s->ctx, s);
        if (t->ops)
            t->ops->opened(t->ctx, t);
    }
    if (pair->freeze && s->sent >= pair->freeze)
        pair->frozen = true;
    if (pair->frozen && s->ops && t->ops) {
        (void)uv_idle_stop(idle);
        return;
    }
    if (!pair->begun)
        pair->begun = clock_now();
    held = rig_held(pair);
    if (!held)
        rig_deliver(s);
    rig_deliver(t);
    if (pair->cut || (pair->cut_after && s->sent >= pair->cut_after)) {
        rig_end(t, TUNNEL_CLOSE_LEG);
        rig_end(s, TUNNEL_CLOSE_LEG);
    }
    if (!s->ops && !t->ops && !pair->closing) {
        pair->closing = true;
        uv_close((uv_handle_t *)&pair->idle, pair_idle_gone);
    } else if (!pair->closing && !rig_busy(t) && (held || !rig_busy(s))) {
        (void)uv_idle_stop(idle);
        if (held)
            (void)uv_timer_start(&pair->rest, rig_rested, 1, 0);
    }
}

static inline void rig_wake(struct tunnel *t)
{
    if (!t->pair->closing)
        (void)uv_idle_start(&t->pair->idle, rig_turn);
}

static inline struct pair *rig_pair(uv_loop_t *loop, const struct tunnel_ops *source,
                                    void *source_ctx, const struct tunnel_ops *target,
                                    void *target_ctx)
{
    struct pair *pair = calloc(1, sizeof(*pair));

    assert_non_null(pair);
    (void)uv_idle_init(loop, &pair->idle);
    (void)uv_timer_init(loop, &pair->rest);
    pair->idle.data = pair->rest.data = pair;
    pair->source = (struct tunnel){.pair = pair,
                                   .peer = &pair->target,
                                   .phase = PHASE_SOURCE,
                                   .ops = source,
                                   .ctx = source_ctx};
    pair->target = (struct tunnel){.pair = pair,
                                   .peer = &pair->source,
                                   .phase = PHASE_TARGET,
                                   .ops = target,
                                   .ctx = target_ctx};
    rig_pairs++;
    (void)uv_idle_start(&pair->idle, rig_turn);
    return pair;
}

/* ---- a flow ---- */

#define RIG_ERRORS 64

struct rig {
    uv_loop_t loop;
    char base[256]; /* a folder of its own */
    char from[300], to[300];
    struct fl_id flow;
    struct index *source_index, *index;
    struct receive *receive;
    struct pair *pair; /* the last one made */
    bool finished;
    enum receive_end end;
    char text[256];
    struct receive_progress progress;
    unsigned lost;
    unsigned tunnels;
    unsigned errors;
    struct {
        char name[300], code[32];
        bool source;
    } error[RIG_ERRORS];
    uint64_t data;                          /* of ended tunnels, from source to target */
    uint64_t (*cut_after)(struct rig *rig); /* for the next tunnel; NULL: none is cut */
    void (*on_progress)(struct rig *rig);
    bool no_redial;
};

static inline void rig_sent(void *ctx, struct send *send, const struct send_stats *stats)
{
    struct rig *rig = ctx;

    rig->data += stats->bytes_sent;
}

static const struct send_ops rig_send_ops = {.closed = rig_sent};

/* rig_say_first - as a dial does that has something to say with its greeting. */
static inline void rig_say_first(struct tunnel *t, const struct tunnel_first *first)
{
    t->first_said = true;
    assert_int_equal(tunnel_send_message(t, first->type, first->fields, first->message), 0);
}

static inline void rig_dial(struct rig *rig)
{
    struct send *send;

    assert_int_equal(send_new(&rig->loop, rig->from, rig->source_index, &rig_send_ops, rig, &send),
                     0);
    rig->pair = rig_pair(&rig->loop, &send_tunnel_ops, send, &receive_tunnel_ops, rig->receive);
    rig->tunnels++;
    if (rig->cut_after)
        rig->pair->cut_after = rig->cut_after(rig);
}

/* rig_dial_alone - while there is no other tunnel: every second one asks for the list at once. */
static inline void rig_dial_alone(struct rig *rig)
{
    rig_dial(rig);
    if (rig->tunnels % 2 == 1)
        rig_say_first(&rig->pair->target, receive_first());
}

static inline void rig_progress(void *ctx)
{
    struct rig *rig = ctx;

    if (rig->on_progress)
        rig->on_progress(rig);
}

static inline void rig_file_error(void *ctx, const void *name, size_t len, const char *code,
                                  const char *text, bool source)
{
    struct rig *rig = ctx;

    if (rig->errors < RIG_ERRORS) {
        (void)snprintf(rig->error[rig->errors].name, sizeof(rig->error[0].name), "%.*s", (int)len,
                       (const char *)name);
        (void)snprintf(rig->error[rig->errors].code, sizeof(rig->error[0].code), "%s", code);
        rig->error[rig->errors].source = source;
    }
    rig->errors++;
}

static inline void rig_finished(void *ctx, enum receive_end end, const char *text)
{
    struct rig *rig = ctx;

    rig->finished = true;
    rig->end = end;
    (void)snprintf(rig->text, sizeof(rig->text), "%s", text);
}

static inline void rig_lost(void *ctx, enum tunnel_close why, const char *text)
{
    struct rig *rig = ctx;

    rig->lost++;
    if (!rig->no_redial)
        rig_dial_alone(rig);
}

static const struct receive_ops rig_receive_ops = {
    .progress = rig_progress,
    .file_error = rig_file_error,
    .finished = rig_finished,
    .lost = rig_lost,
};

static inline void rig_remove(const char *path)
{
    char command[700];

    (void)snprintf(command, sizeof(command), "chmod -R u+rwx '%s' 2>/dev/null; rm -rf '%s'", path,
                   path);
    if (system(command) != 0)
        fail_msg("cannot remove %s", path);
}

static inline void rig_begin(struct rig *rig)
{
    const char *tmp = getenv("TMPDIR");

    memset(rig, 0, sizeof(*rig));
    (void)uv_loop_init(&rig->loop);
    (void)snprintf(rig->base, sizeof(rig->base), "%s/fl-transfer-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(rig->base));
    (void)snprintf(rig->from, sizeof(rig->from), "%s/from", rig->base);
    (void)snprintf(rig->to, sizeof(rig->to), "%s/to", rig->base);
    assert_int_equal(mkdir(rig->from, 0755), 0);
    id_random(&rig->flow);
    assert_int_equal(index_open(rig->base, &rig->index), 0);
}

static inline void rig_receive(struct rig *rig)
{
    assert_int_equal(receive_new(&rig->loop, &rig->flow, rig->to, strlen(rig->to), NULL, 0,
                                 rig->index, &rig_receive_ops, rig, &rig->receive),
                     0);
}

/* rig_drain - let everything that was freed go. */
static inline void rig_drain(struct rig *rig)
{
    receive_free(rig->receive);
    rig->receive = NULL;
    while (uv_run(&rig->loop, UV_RUN_NOWAIT) != 0 || rig_pairs > 0) {
        (void)uv_run(&rig->loop, UV_RUN_ONCE);
    }
}

/* rig_run - a turn of the loop, at the end of which the next one has something to do, or ten
 * milliseconds have passed. */
static inline void rig_run(struct rig *rig)
{
    struct pollfd loop = {.fd = uv_backend_fd(&rig->loop), .events = POLLIN};
    int wait;

    (void)uv_run(&rig->loop, UV_RUN_NOWAIT);
    wait = uv_backend_timeout(&rig->loop); /* -1: until something comes */
    (void)poll(&loop, 1, wait < 0 || wait > 10 ? 10 : wait);
}

static inline void rig_wait(struct rig *rig)
{
    uint64_t end = clock_now() + 50 * CLOCK_SEC;

    while (!rig->finished && clock_now() < end)
        rig_run(rig);
    assert_true(rig->finished);
    rig->progress = *receive_progress(rig->receive);
}

/* rig_move - the whole flow, to its end. */
static inline void rig_move(struct rig *rig)
{
    rig->finished = false;
    rig->errors = 0;
    rig->data = 0;
    rig_receive(rig);
    rig_dial_alone(rig);
    rig_wait(rig);
    rig_drain(rig);
}

static inline void rig_done(struct rig *rig)
{
    if (rig->receive)
        rig_drain(rig);
    index_close(rig->index);
    index_close(rig->source_index);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    rig_remove(rig->base);
}

/* ---- files ---- */

static inline char *rig_path(const char *folder, const char *name)
{
    static char path[4][8192];
    static unsigned next;
    char *at = path[next++ % 4];

    (void)snprintf(at, sizeof(path[0]), "%s/%s", folder, name);
    return at;
}

static inline void rig_bytes(uint8_t *data, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = (uint8_t)(x >> 32);
    }
}

static inline void rig_file(const char *folder, const char *name, size_t len, uint64_t seed)
{
    uint8_t *data = malloc(len + 1);
    int fd = open(rig_path(folder, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    rig_bytes(data, len, seed);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    (void)close(fd);
    free(data);
}

static inline void rig_mtime(const char *folder, const char *name, int64_t sec, long ns)
{
    struct timespec times[2] = {{.tv_sec = sec}, {.tv_sec = sec, .tv_nsec = ns}};

    assert_int_equal(utimensat(AT_FDCWD, rig_path(folder, name), times, AT_SYMLINK_NOFOLLOW), 0);
}

static inline bool rig_same_content(int a, int b)
{
    static uint8_t x[1 << 16], y[1 << 16];
    ssize_t n;

    do {
        n = read(a, x, sizeof(x));
        if (read(b, y, sizeof(y)) != n || (n > 0 && memcmp(x, y, (size_t)n) != 0))
            return false;
    } while (n > 0);
    return n == 0;
}

/* rig_equal - are the two folders the same in names, kinds, modes, mtimes and content? Says what is
 * not. */
static inline bool rig_equal_at(int a, int b, const char *what, bool both_ways)
{
    DIR *dir = fdopendir(dup(a));
    struct dirent *found;
    bool equal = true;

    rewinddir(dir);
    while (equal && (found = readdir(dir))) {
        const char *name = found->d_name;
        struct stat s, t;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(a, name, &s, AT_SYMLINK_NOFOLLOW) < 0 ||
            fstatat(b, name, &t, AT_SYMLINK_NOFOLLOW) < 0) {
            print_message("%s/%s: only on one side\n", what, name);
            equal = false;
        } else if (s.st_mode != t.st_mode || s.st_mtim.tv_sec != t.st_mtim.tv_sec ||
                   s.st_mtim.tv_nsec != t.st_mtim.tv_nsec ||
                   (!S_ISDIR(s.st_mode) && s.st_size != t.st_size)) {
            print_message("%s/%s: mode %o %o, size %lld %lld, mtime %lld.%ld %lld.%ld\n", what,
                          name, s.st_mode, t.st_mode, (long long)s.st_size, (long long)t.st_size,
                          (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                          (long long)t.st_mtim.tv_sec, t.st_mtim.tv_nsec);
            equal = false;
        } else if (S_ISLNK(s.st_mode)) {
            char x[4096], y[4096];
            ssize_t n = readlinkat(a, name, x, sizeof(x));

            equal = n > 0 && readlinkat(b, name, y, sizeof(y)) == n && memcmp(x, y, (size_t)n) == 0;
        } else if (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode)) {
            int x = openat(a, name, O_RDONLY), y = openat(b, name, O_RDONLY);

            if (S_ISDIR(s.st_mode))
                equal = rig_equal_at(x, y, name, both_ways);
            else if (!(equal = rig_same_content(x, y)))
                print_message("%s/%s: content differs\n", what, name);
            (void)close(x);
            (void)close(y);
        }
    }
    (void)closedir(dir);
    return equal && (!both_ways || rig_equal_at(b, a, what, false));
}

static inline bool rig_equal(const char *from, const char *to)
{
    int a = open(from, O_RDONLY | O_DIRECTORY), b = open(to, O_RDONLY | O_DIRECTORY);
    bool equal = a >= 0 && b >= 0 && rig_equal_at(a, b, "", true);

    (void)close(a);
    (void)close(b);
    return equal;
}

/* rig_has_parts - is a temporary file anywhere below? */
static inline bool rig_has_parts(const char *folder)
{
    char command[400];

    (void)snprintf(command, sizeof(command),
                   "test -n \"$(find '%s' -name '.fairlead-*.part' | head -1)\"", folder);
    return system(command) == 0;
}

#endif
