#include "proxy/worker.h"

#include <gnutls/crypto.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "proxy/conn.h"
#include "proxy/handing.h"
#include "proxy/reconfig.h"

#define SWEEP_SECONDS 1
#define CROWD         512             /* strangers; their TLS sessions take some 10 MB */
#define LINGER_MOST   256             /* orderly ends of strangers in a burst */
#define LINGER_EACH   (20 * CLOCK_MS) /* and 50 a second after it */

enum letter_kind {
    LETTER_FRAME,
    LETTER_CLOSE,
    LETTER_PAIRED,
    LETTER_MOVE,
    LETTER_RECHECK,
    LETTER_CALL,
};

struct letter {
    struct letter *prev, *next;
    enum letter_kind kind;
    struct conn_ref *ref;     /* FRAME, CLOSE, PAIRED: owned */
    struct conn *conn;        /* MOVE */
    worker_call *call;        /* CALL */
    void *arg;                /* for @call */
    enum close_reason reason; /* CLOSE */
    uint8_t type;             /* FRAME */
    uint16_t len;             /* FRAME: of @body */
    uint8_t body[];
};

/* When to wake up for the sessions that are held back. */
static void arm(struct worker *worker, uint64_t due)
{
    if (due == worker->due)
        return;
    worker->due = due;
    if (worker->env.wake_at)
        worker->env.wake_at(worker->env.ctx, due);
}

void worker_hold(struct worker *worker, struct wheel_entry *entry, uint64_t due)
{
    wheel_put(&worker->held, entry, worker_now(worker), due);
    if (due < worker->due)
        arm(worker, due);
}

void worker_resume(struct worker *worker)
{
    struct wheel_entry *entry;
    uint64_t now = worker_now(worker);

    while ((entry = wheel_take(&worker->held, now)))
        entry->wake(entry);
    arm(worker, wheel_next(&worker->held));
}

/* With other rates other times are due: ask all who wait. */
static void resume_all(struct worker *worker)
{
    struct wheel_entry *all = NULL, *entry, *next;

    while ((entry = wheel_any(&worker->held))) {
        wheel_remove(&worker->held, entry);
        DL_APPEND(all, entry);
    }
    DL_FOREACH_SAFE (all, entry, next) {
        entry->prev = entry->next = NULL;
        entry->wake(entry);
    }
    arm(worker, wheel_next(&worker->held));
}

static void copy_settings(struct worker *worker)
{
    /* The number before the copy: one that is newer is taken again, and none is missed. */
    worker->settings_epoch = atomic_load(&worker->proxy->settings_epoch);
    proxy_settings_get(worker->proxy, &worker->settings);
    proxy_rates_get(worker->proxy, &worker->rates);
}

static void take_settings(struct worker *worker)
{
    if (atomic_load(&worker->proxy->settings_epoch) == worker->settings_epoch)
        return;
    copy_settings(worker);
    resume_all(worker);
}

void worker_init(struct worker *worker, struct proxy *proxy, const struct worker_env *env,
                 uint64_t seed)
{
    memset(worker, 0, sizeof(*worker));
    worker->proxy = proxy;
    worker->env = *env;
    worker->random = seed;
    if (seed == 0)
        (void)gnutls_rnd(GNUTLS_RND_NONCE, &worker->random, sizeof(worker->random));
    worker->random |= 1; /* xorshift never leaves 0 */
    pool_init(&worker->pool);
    pipes_init(&worker->pipes);
    worker->pipes.fd_max = (int)proxy_descriptors_open(proxy);
    pthread_mutex_init(&worker->lock, NULL);
    if (proxy->count == 0)
        proxy->started = worker_now(worker);
    worker->due = WHEEL_NEVER;
    proxy_add_worker(proxy, worker);
    if (worker == proxy->workers[0])
        proxy_follow_time(proxy, worker_now(worker), env->wall(env->ctx));
    copy_settings(worker);
}

static void letter_free(struct letter *letter)
{
    conn_ref_unref(letter->ref);
    free(letter);
}

static struct letter *take_mail(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    struct letter *mail = worker->mail;
    worker->mail = NULL;
    pthread_mutex_unlock(&worker->lock);
    return mail;
}

void worker_done(struct worker *worker)
{
    struct letter *letter, *next;
    struct letter *mail = take_mail(worker);
    DL_FOREACH_SAFE (mail, letter, next) {
        if (letter->call)
            letter->call(NULL, letter->arg);
        letter_free(letter);
    }
    pool_done(&worker->pool);
    pipes_done(&worker->pipes);
    pthread_mutex_destroy(&worker->lock);
}

uint64_t worker_now(const struct worker *worker)
{
    return worker->env.now(worker->env.ctx);
}

uint64_t worker_random(struct worker *worker)
{
    uint64_t x = worker->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    worker->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

static struct letter *letter_new(enum letter_kind kind, struct conn_ref *ref, size_t len)
{
    struct letter *letter = calloc(1, sizeof(*letter) + len);
    if (!letter)
        return NULL;
    letter->kind = kind;
    letter->ref = ref ? conn_ref_ref(ref) : NULL;
    letter->len = (uint16_t)len;
    return letter;
}

/* Takes @letter, also on failure. A stopping worker delivers nothing more. */
static int post(struct worker *worker, struct letter *letter)
{
    pthread_mutex_lock(&worker->lock);
    bool stopping = worker->stopping;
    if (!stopping) {
        DL_APPEND(worker->mail, letter);
        worker->env.wake(worker->env.ctx); /* under the lock: a stopped worker is not woken */
    }
    pthread_mutex_unlock(&worker->lock);
    if (!stopping)
        return 0;
    letter_free(letter);
    return -FL_ECLOSED;
}

int worker_post_frame(struct conn_ref *ref, uint8_t type, const pb_msgdesc_t *fields,
                      const void *message)
{
    uint8_t frame[512];
    int size = message_encode(type, fields, message, frame, sizeof(frame));
    if (size < 0)
        return size;
    struct letter *letter = letter_new(LETTER_FRAME, ref, (size_t)size - FRAME_HEADER);
    if (!letter)
        return -ENOMEM;
    letter->type = type;
    memcpy(letter->body, frame + FRAME_HEADER, letter->len);
    return post(conn_ref_worker(ref), letter);
}

int worker_post_close(struct conn_ref *ref, enum close_reason reason)
{
    struct letter *letter = letter_new(LETTER_CLOSE, ref, 0);
    if (!letter)
        return -ENOMEM;
    letter->reason = reason;
    return post(conn_ref_worker(ref), letter);
}

int worker_post_move(struct worker *worker, struct conn *conn)
{
    struct letter *letter = letter_new(LETTER_MOVE, NULL, 0);
    if (!letter)
        return -ENOMEM;
    letter->conn = conn;
    return post(worker, letter);
}

int worker_post_paired(struct conn_ref *ref)
{
    struct letter *letter = letter_new(LETTER_PAIRED, ref, 0);
    return letter ? post(conn_ref_worker(ref), letter) : -ENOMEM;
}

int worker_post_recheck(struct worker *worker)
{
    struct letter *letter = letter_new(LETTER_RECHECK, NULL, 0);
    return letter ? post(worker, letter) : -ENOMEM;
}

void worker_wake(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    if (!worker->stopping)
        worker->env.wake(worker->env.ctx);
    pthread_mutex_unlock(&worker->lock);
}

int worker_post_call(struct worker *worker, worker_call *call, void *arg)
{
    struct letter *letter = letter_new(LETTER_CALL, NULL, 0);
    if (!letter)
        return -ENOMEM;
    letter->call = call;
    letter->arg = arg;
    return post(worker, letter);
}

void worker_add_guest(struct worker *worker, struct worker_guest *guest)
{
    guest->next = worker->guests;
    worker->guests = guest;
}

static void recheck(struct worker *worker)
{
    struct conn *conn;
    DL_FOREACH (worker->known, conn) {
        enum close_reason reason = proxy_refuses(worker->proxy, &conn->party);
        if (reason != CLOSE_DONE)
            conn_close(conn, reason);
    }
}

static void deliver(struct worker *worker, const struct letter *letter)
{
    struct conn *conn = letter->ref ? conn_ref_conn(letter->ref) : letter->conn;
    switch (letter->kind) {
    case LETTER_FRAME:
        if (conn && letter->type == FRAME_INVITE)
            door_expect(worker->proxy->door, &conn->place.from);
        if (conn)
            conn_send(conn, letter->type, letter->body, letter->len);
        break;
    case LETTER_CLOSE:
        if (conn)
            conn_close(conn, letter->reason);
        break;
    case LETTER_PAIRED:
        if (conn)
            conn_paired(conn);
        break;
    case LETTER_MOVE:
        conn_arrive(conn, worker);
        break;
    case LETTER_RECHECK:
        recheck(worker);
        break;
    case LETTER_CALL:
        letter->call(worker, letter->arg);
        break;
    }
}

void worker_drain(struct worker *worker)
{
    struct letter *letter, *next;
    struct letter *mail = take_mail(worker);
    take_settings(worker);
    handing_settle(worker);
    DL_FOREACH_SAFE (mail, letter, next) {
        deliver(worker, letter);
        letter_free(letter);
    }
}

struct worker *worker_lightest(struct worker *worker)
{
    const struct proxy *proxy = worker->proxy;
    struct worker *best = worker;
    unsigned least = atomic_load_explicit(&worker->load, memory_order_relaxed);

    for (unsigned i = 0; i < proxy->count; i++) {
        unsigned load = atomic_load_explicit(&proxy->workers[i]->load, memory_order_relaxed);
        if (load >= least)
            continue;
        best = proxy->workers[i];
        least = load;
    }
    return best;
}

static void reap(struct worker *worker)
{
    while (worker->closed) {
        struct conn *conn = worker->closed;
        worker->closed = conn_free(conn);
    }
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next)
        guest->reap(guest);
}

static void tick_list(struct conn *list, uint64_t now)
{
    struct conn *conn;
    DL_FOREACH (list, conn)
        conn_tick(conn, now);
}

/* The first one, which goes to the end. */
static struct conn *take_turn(struct conn **list)
{
    struct conn *first = *list, *next = first->next;
    if (next) {
        first->prev->next = first; /* utlist: the first one's prev is the last */
        first->next = NULL;
        next->prev = first;
        *list = next;
    }
    return first;
}

/* Of those who are known a part each time: with thousands that rest, touching all of them is what
 * an idle proxy does, and their deadlines are in seconds. While they are to leave, all. */
static void tick_known(struct worker *worker, uint64_t now)
{
    const struct proxy *proxy = worker->proxy;
    bool all = atomic_load(&proxy->moved) || drain_on(&proxy->drain);
    size_t due = (worker->known_count + WORKER_TURNS - 1) / WORKER_TURNS;

    /* It grows at once, but does not shrink within a round, in which some may end. */
    if (worker->round == 0 || due > worker->stride)
        worker->stride = due;
    worker->round = (worker->round + 1) % WORKER_TURNS;
    size_t most = all ? SIZE_MAX : worker->stride;
    size_t count = most < worker->known_count ? most : worker->known_count;

    while (count-- > 0)
        conn_tick(take_turn(&worker->known), now);
}

static void measure(struct worker *worker, uint64_t now)
{
    struct metrics *metrics = &worker->metrics;

    if (worker->tick_due)
        metrics_observe(metrics, HISTOGRAM_LOOP_LAG, clock_since(now, worker->tick_due));
    worker->tick_due = now + WORKER_TICK_MS * CLOCK_MS;
    metrics_set(metrics, GAUGE_PIPES_USED, worker->pipes.out);
    metrics_set(metrics, GAUGE_PIPES_KEPT, worker->pipes.kept);
    metrics_set(metrics, GAUGE_PIPES_FAILED, worker->pipes.failed);
    metrics_set(metrics, GAUGE_BUFFERS_USED, worker->pool.out);
}

/* What a crowd of strangers has used is given back when most of them have gone: malloc would keep
 * it for good. It takes a millisecond or so for 10 MB. */
static void give_back(struct worker *worker)
{
    uint32_t count = door_count(worker->proxy->door);
    uint32_t peak = door_peak(worker->proxy->door);
    if (peak > worker->crowd)
        worker->crowd = peak;
    if (worker->crowd < CROWD || count > worker->crowd / 4)
        return;
    worker->crowd = count;
    (void)malloc_trim(0);
}

void worker_tick(struct worker *worker)
{
    uint64_t now = worker_now(worker);
    struct proxy *proxy = worker->proxy;

    measure(worker, now);

    if (worker == proxy->workers[0])
        proxy_follow_time(proxy, now, worker->env.wall(worker->env.ctx));
    worker_resume(worker);
    for (unsigned i = 0; i < LIST_STRANGERS; i++)
        tick_list(worker->strangers[i], now);
    tick_known(worker, now);
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next)
        guest->tick(guest, now);
    reap(worker);
    if (worker == proxy->workers[0] && proxy->reconfig)
        reconfig_tick(proxy->reconfig, now);
    if (worker == proxy->workers[0] && now >= worker->next_age) {
        worker->next_age = now + PAIR_KEY_SECONDS * CLOCK_SEC;
        door_age(proxy->door);
    }
    if (worker == proxy->workers[0] && now >= worker->next_sweep) {
        worker->next_sweep = now + SWEEP_SECONDS * CLOCK_SEC;
        registry_sweep(proxy->registry, now);
        pair_sweep(proxy->pair, now);
        give_back(worker);
    }
}

/* The next stranger to be served; what has been closed while it waited is not. */
static struct conn *next_in_line(struct worker *worker)
{
    struct conn *conn;
    for (unsigned i = LIST_CONSOLE; i <= LIST_FRESH; i++) {
        DL_FOREACH (worker->strangers[i], conn) {
            if (!conn_is_closed(conn))
                return conn;
        }
    }
    return NULL;
}

/* How many strangers may be served now. While sessions move bytes in each turn they have their rest
 * from the last one; if they did since then but not now, they may just wait for their peers, and
 * shall not wait long for us. */
static unsigned served_now(const struct worker *worker, uint64_t bytes)
{
    if (bytes == worker->served_bytes)
        return WORKER_SERVED;
    if (bytes == worker->turn_bytes)
        return 1;
    return worker_now(worker) >= worker->rest_until;
}

static uint64_t moved_bytes(const struct worker *worker)
{
    return atomic_load_explicit(&worker->counters.value[COUNTER_BYTES], memory_order_relaxed);
}

/* Strangers have been served since @start. */
static void rest(struct worker *worker, uint64_t start)
{
    uint64_t end = worker_now(worker);
    worker->served_bytes = moved_bytes(worker);
    worker->rest_until = end + WORKER_REST * clock_since(end, start);
}

static void serve(struct worker *worker)
{
    uint64_t bytes = moved_bytes(worker);
    unsigned most = served_now(worker, bytes);
    struct conn *conn;

    worker->turn_bytes = bytes;
    if (most == 0 || !next_in_line(worker))
        return;
    uint64_t start = worker_now(worker);
    for (unsigned i = 0; i < most && (conn = next_in_line(worker)); i++)
        conn_serve(conn, worker_now(worker));
    rest(worker, start);
}

bool worker_serves(const struct worker *worker)
{
    return worker->guests_served < served_now(worker, moved_bytes(worker));
}

void worker_has_served(struct worker *worker, uint64_t start)
{
    worker->guests_served++;
    rest(worker, start);
}

void worker_turn(struct worker *worker)
{
    reap(worker);
    worker->guests_served = 0;
    serve(worker);
    if (next_in_line(worker))
        worker_wake(worker);
    reap(worker);
}

static void stop_list(struct conn *list)
{
    struct conn *conn;
    DL_FOREACH (list, conn)
        conn_close(conn, CLOSE_SHUTDOWN);
}

/* What comes by mail afterwards is refused under the lock, so no conn is lost between two workers.
 */
void worker_stop(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    pthread_mutex_unlock(&worker->lock);
    worker_drain(worker);
    for (unsigned i = 0; i < LIST_STRANGERS; i++)
        stop_list(worker->strangers[i]);
    stop_list(worker->known);
    stop_list(worker->away);
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next)
        guest->stop(guest);
    reap(worker);
}

bool worker_idle(const struct worker *worker)
{
    for (unsigned i = 0; i < LIST_STRANGERS; i++) {
        if (worker->strangers[i])
            return false;
    }
    return !worker->known && !worker->away;
}

/* The console's own places are for it to fill. */
static struct conn *first_of(struct conn *list)
{
    struct conn *conn;
    DL_FOREACH (list, conn) {
        if (!conn_is_closed(conn) && !conn->place.kept)
            return conn;
    }
    return NULL;
}

static struct conn *worst_stranger(const struct worker *worker)
{
    struct conn *conn = first_of(worker->strangers[LIST_SILENT]);
    if (conn)
        return conn;
    conn = first_of(worker->strangers[LIST_ANSWERED]);
    bool late =
        conn && clock_since(worker_now(worker), conn->served) >= WORKER_ANSWER_MS * CLOCK_MS;
    return late ? conn : NULL;
}

bool worker_may_linger(struct worker *worker)
{
    uint64_t now = worker_now(worker), full = LINGER_MOST * LINGER_EACH;

    if (worker->linger_until < now)
        worker->linger_until = now;
    if (worker->linger_until - now + LINGER_EACH > full)
        return false;
    worker->linger_until += LINGER_EACH;
    return true;
}

bool worker_evict_stranger(struct worker *worker)
{
    struct conn *conn = worst_stranger(worker);
    if (conn) {
        conn_close(conn, CLOSE_FULL);
        return true;
    }
    for (struct worker_guest *guest = worker->guests; guest; guest = guest->next) {
        if (guest->evict(guest))
            return true;
    }
    return false;
}

bool worker_is_late(const struct worker *worker)
{
    const struct conn *conn = worker->strangers[LIST_FRESH];
    return conn && clock_since(worker_now(worker), conn->since) >= WORKER_LATE_MS * CLOCK_MS;
}
