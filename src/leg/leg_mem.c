/* leg_mem.c - a leg within one process, under a virtual clock.
 *
 * Receive half:   CONNECTING -> OPEN [-> RAW] --EOF--> EOF      closed by its owner: CLOSED
 * Transmit half:  CONNECTING -> OPEN [-> RAW] --EOF--> SHUT     closed by its owner: CLOSED
 * FAILED can follow every state of both halves but CLOSED, and holds both at once.
 *
 * What one end sends waits in the other end's queue until it is due and read; it takes up room
 * there all that time, so that a receiver who reads nothing stops the sender. A pair is freed at
 * the end of the turn in which its second end was closed. As with TCP, a closed end that is not
 * answered within 5 s resets.
 */
#include "leg/leg_mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/state.h"

#define LINGER (5 * CLOCK_SEC)
#define NEVER  UINT64_MAX

enum half {
    HALF_CONNECTING,
    HALF_OPEN,
    HALF_RAW,
    HALF_ENDED,
    HALF_FAILED,
    HALF_CLOSED,
    HALF_COUNT
};

#define AFTER_ALL (STATE_BIT(HALF_FAILED) | STATE_BIT(HALF_CLOSED))

static const struct state_def rx_defs[] = {
    [HALF_CONNECTING] = {"connecting", STATE_BIT(HALF_OPEN) | AFTER_ALL, 0},
    [HALF_OPEN] = {"open", STATE_BIT(HALF_RAW) | STATE_BIT(HALF_ENDED) | AFTER_ALL, 0},
    [HALF_RAW] = {"raw", STATE_BIT(HALF_ENDED) | AFTER_ALL, 0},
    [HALF_ENDED] = {"eof", AFTER_ALL, 0},
    [HALF_FAILED] = {"failed", STATE_BIT(HALF_CLOSED), 0},
    [HALF_CLOSED] = {"closed", 0, 0},
};
static const struct state_table rx_table = {"mem.rx", rx_defs, HALF_COUNT};

static const struct state_def tx_defs[] = {
    [HALF_CONNECTING] = {"connecting", STATE_BIT(HALF_OPEN) | AFTER_ALL, 0},
    [HALF_OPEN] = {"open", STATE_BIT(HALF_RAW) | STATE_BIT(HALF_ENDED) | AFTER_ALL, 0},
    [HALF_RAW] = {"raw", STATE_BIT(HALF_ENDED) | AFTER_ALL, 0},
    [HALF_ENDED] = {"shut", AFTER_ALL, 0},
    [HALF_FAILED] = {"failed", STATE_BIT(HALF_CLOSED), 0},
    [HALF_CLOSED] = {"closed", 0, 0},
};
static const struct state_table tx_table = {"mem.tx", tx_defs, HALF_COUNT};

/* One frame on its way, or the end of the stream. */
struct parcel {
    struct parcel *next;
    uint64_t due; /* when it arrives */
    size_t size;  /* of room it takes */
    bool fin;     /* no frame: the sender has closed */
    bool text;    /* no frame: bytes of leg_send_text() */
    uint8_t type, flags;
    uint16_t len;
    uint8_t body[];
};

struct leg_mem {
    struct leg base;
    struct mem_pair *pair;
    unsigned rx, tx; /* enum half */
    unsigned wants;
    unsigned due; /* LEG_FAILED, still to be told */
    bool detached;
    struct parcel *head, *tail; /* what comes in, in order */
    size_t used;                /* room that it takes */
    uint64_t last_due;          /* of the tail: nothing overtakes */
    uint64_t stalled_until;     /* nothing comes in before */
    uint64_t reset_at;          /* when the other end's reset arrives */
    bool lingers;               /* closed in good order; the other end is still to follow */
    uint64_t linger_until;      /* set once it has taken everything */
};

struct mem_pair {
    struct mem_pair *next;
    struct leg_mem_net *net;
    struct leg_mem end[2];
    struct leg_mem_options options;
    uint64_t open_at;
    uint8_t secret[2][32]; /* exporter of each end */
};

struct leg_mem_net {
    struct mem_pair *pairs; /* oldest first, so that a run is the same each time */
    struct mem_pair **last; /* where the next one goes */
    uint64_t now;
};

static struct leg_mem *mem(struct leg *leg)
{
    return (struct leg_mem *)leg;
}

static struct leg_mem *other(const struct leg_mem *leg)
{
    return &leg->pair->end[leg == &leg->pair->end[0]];
}

static bool flows(unsigned half)
{
    return half == HALF_OPEN || half == HALF_RAW;
}

/* Does @half carry a stream of bare bytes? */
static bool bare(const struct leg_mem *leg, unsigned half)
{
    return leg->pair->options.plain || half == HALF_RAW;
}

/* ---- what is on the way ---- */

static uint64_t arrival(const struct leg_mem *leg, const struct parcel *parcel)
{
    return parcel->due > leg->stalled_until ? parcel->due : leg->stalled_until;
}

/* The next parcel, if it is there by now. */
static struct parcel *arrived(const struct leg_mem *leg)
{
    return leg->head && arrival(leg, leg->head) <= leg->pair->net->now ? leg->head : NULL;
}

static void drop_head(struct leg_mem *leg)
{
    struct parcel *parcel = leg->head;

    leg->head = parcel->next;
    if (!leg->head)
        leg->tail = NULL;
    leg->used -= parcel->size;
    free(parcel);
}

static void drop_all(struct leg_mem *leg)
{
    while (leg->head)
        drop_head(leg);
}

/* Put one parcel on the way to @to. */
static int dispatch(struct leg_mem *to, bool fin, uint8_t type, uint8_t flags, const void *body,
                    size_t len)
{
    uint64_t due = to->pair->net->now + to->pair->options.delay;
    struct parcel *parcel = malloc(sizeof(*parcel) + len);

    if (!parcel)
        return -ENOMEM;
    *parcel = (struct parcel){.fin = fin,
                              .type = type,
                              .flags = flags,
                              .len = (uint16_t)len,
                              .size = FRAME_HEADER + len,
                              .due = due > to->last_due ? due : to->last_due};
    if (len)
        memcpy(parcel->body, body, len);
    to->last_due = parcel->due;
    to->used += parcel->size;
    if (to->tail)
        to->tail->next = parcel;
    else
        to->head = parcel;
    to->tail = parcel;
    return 0;
}

/* ---- ends ---- */

static int fail(struct leg_mem *leg, int error)
{
    if (leg->rx == HALF_CLOSED)
        return error;
    if (leg->rx == HALF_FAILED)
        return leg->base.error;
    leg->base.error = error;
    leg->due |= LEG_FAILED;
    leg->reset_at = NEVER;
    state_move(&rx_table, &leg->rx, HALF_FAILED);
    state_move(&tx_table, &leg->tx, HALF_FAILED);
    drop_all(leg);
    return error;
}

/* A reset takes the way of the data: it arrives when a frame would, and eats what it overtakes. */
static void reset_other(struct leg_mem *leg)
{
    struct leg_mem *to = other(leg);
    uint64_t at = leg->pair->net->now + leg->pair->options.delay;

    drop_all(to);
    to->reset_at = at > to->stalled_until ? at : to->stalled_until;
}

static void mem_close(struct leg *base, enum leg_close how)
{
    struct leg_mem *leg = mem(base);
    bool broken = leg->rx == HALF_FAILED || leg->rx == HALF_CONNECTING;

    state_move(&rx_table, &leg->rx, HALF_CLOSED);
    state_move(&tx_table, &leg->tx, HALF_CLOSED);
    leg->base.handler = NULL;
    leg->due = 0;
    drop_all(leg);
    if (broken && other(leg)->rx == HALF_FAILED)
        return;
    if (how == LEG_RESET || broken || dispatch(other(leg), true, 0, 0, NULL, 0) < 0)
        reset_other(leg);
    else
        leg->lingers = true;
}

/* ---- the interface ---- */

/* Text stays text: the next leg_recv() says so again. */
static int recv_text_parcel(struct leg_mem *leg, const struct parcel *parcel, uint8_t *buf)
{
    int len = parcel->len;

    memcpy(buf, parcel->body, parcel->len);
    leg->base.rx_bytes += parcel->size;
    drop_head(leg);
    return len;
}

static int recv_parcel(struct leg_mem *leg, const struct parcel *parcel, uint8_t *buf,
                       struct frame *ret_frame)
{
    if (parcel->text) {
        int len = recv_text_parcel(leg, parcel, buf);
        *ret_frame = (struct frame){.len = (uint16_t)len, .body = buf};
        return -FL_ETEXT;
    }
    if (parcel->fin && !bare(leg, leg->rx))
        return fail(leg, -FL_ETRUNCATED);
    *ret_frame = (struct frame){.type = parcel->fin ? FRAME_EOF : parcel->type,
                                .flags = parcel->flags,
                                .len = parcel->len,
                                .body = buf + FRAME_HEADER};
    frame_put(buf, ret_frame->type, ret_frame->flags, ret_frame->len);
    memcpy(buf + FRAME_HEADER, parcel->body, parcel->len);
    leg->base.rx_bytes += parcel->size;
    if (ret_frame->type == FRAME_EOF)
        state_move(&rx_table, &leg->rx, HALF_ENDED);
    else if (ret_frame->type == FRAME_RAW)
        state_move(&rx_table, &leg->rx, HALF_RAW);
    drop_head(leg);
    return 0;
}

static int mem_recv(struct leg *base, uint8_t *buf, struct frame *ret_frame)
{
    struct leg_mem *leg = mem(base);
    const struct parcel *parcel;

    switch (leg->rx) {
    case HALF_OPEN:
    case HALF_RAW:
        parcel = arrived(leg);
        return parcel ? recv_parcel(leg, parcel, buf, ret_frame) : -EAGAIN;
    case HALF_ENDED:
        return -FL_EEOF;
    case HALF_FAILED:
        return base->error;
    default:
        return -EAGAIN;
    }
}

static ssize_t mem_recv_text(struct leg *base, uint8_t *buf)
{
    struct leg_mem *leg = mem(base);
    const struct parcel *parcel;

    if (leg->rx != HALF_OPEN)
        return leg->rx == HALF_FAILED ? base->error : -EAGAIN;
    parcel = arrived(leg);
    if (!parcel)
        return -EAGAIN;
    if (parcel->fin)
        return 0;
    return parcel->text ? recv_text_parcel(leg, parcel, buf) : fail(leg, -FL_EFRAME);
}

static size_t room(const struct leg_mem *leg)
{
    const struct leg_mem *to = other(leg);

    return to->used < leg->pair->options.room ? leg->pair->options.room - to->used : 0;
}

static int may_send(const struct leg_mem *leg)
{
    switch (leg->tx) {
    case HALF_OPEN:
    case HALF_RAW:
        return 0;
    case HALF_ENDED:
        return -FL_ECLOSED;
    case HALF_FAILED:
        return leg->base.error;
    default:
        return -EAGAIN;
    }
}

/* One whole frame or nothing. */
static int send_frame(struct leg_mem *leg, uint8_t type, uint8_t flags, const void *body,
                      size_t len)
{
    int rc = may_send(leg);

    if (rc)
        return rc;
    if (len > FRAME_BODY_MAX)
        return -FL_EBUG;
    if (room(leg) < FRAME_HEADER + len)
        return -EAGAIN;
    rc = dispatch(other(leg), false, type, flags, body, len);
    if (rc)
        return fail(leg, rc);
    leg->base.tx_bytes += FRAME_HEADER + len;
    return 0;
}

static int mem_send(struct leg *base, uint8_t type, uint8_t flags, const void *body, size_t len)
{
    if (bare(mem(base), mem(base)->tx) || type == FRAME_DATA || type == FRAME_EOF)
        return -FL_EBUG;
    return send_frame(mem(base), type, flags, body, len);
}

static int mem_send_text(struct leg *base, const void *text, size_t len)
{
    struct leg_mem *leg = mem(base);
    int rc = may_send(leg);

    if (rc)
        return rc;
    if (len == 0 || len > FRAME_MAX || bare(leg, leg->tx))
        return -FL_EBUG;
    if (room(leg) < FRAME_HEADER + len)
        return -EAGAIN;
    rc = dispatch(other(leg), false, 0, 0, text, len);
    if (rc)
        return fail(leg, rc);
    other(leg)->tail->text = true;
    leg->base.tx_bytes += len;
    return 0;
}

static size_t mem_data_max(struct leg *base)
{
    return bare(mem(base), mem(base)->tx) ? LEG_DATA_MAX : FRAME_BODY_MAX;
}

static int mem_send_data(struct leg *base, uint8_t *data, size_t len)
{
    struct leg_mem *leg = mem(base);
    size_t most = room(leg);
    int rc;

    if (len == 0 || len > mem_data_max(base))
        return -FL_EBUG;
    if (len > FRAME_BODY_MAX)
        len = FRAME_BODY_MAX; /* in parts, as the kernel may do it */
    if (bare(leg, leg->tx) && most > FRAME_HEADER && most - FRAME_HEADER < len)
        len = most - FRAME_HEADER;
    memset(data - FRAME_HEADER, 0, FRAME_HEADER); /* must be writable: sanitizers tell when not */
    rc = send_frame(leg, FRAME_DATA, 0, data, len);
    return rc < 0 ? rc : (int)len;
}

static int mem_send_eof(struct leg *base)
{
    struct leg_mem *leg = mem(base);
    int rc = send_frame(leg, FRAME_EOF, 0, NULL, 0);

    if (rc == 0)
        state_move(&tx_table, &leg->tx, HALF_ENDED);
    return rc;
}

static int mem_send_raw(struct leg *base)
{
    struct leg_mem *leg = mem(base);
    int rc = bare(leg, leg->tx) ? -FL_EBUG : send_frame(leg, FRAME_RAW, 0, NULL, 0);

    if (rc == 0)
        state_move(&tx_table, &leg->tx, HALF_RAW);
    return rc;
}

static void mem_want(struct leg *base, unsigned events)
{
    mem(base)->wants = events & (LEG_READABLE | LEG_WRITABLE);
}

static int mem_exporter(struct leg *base, uint8_t context, uint8_t *ret_out)
{
    struct leg_mem *leg = mem(base);
    const struct mem_pair *pair = leg->pair;

    if (pair->options.plain || leg->rx == HALF_CONNECTING)
        return -FL_ETLS;
    for (size_t i = 0; i < 32; i++)
        ret_out[i] = pair->secret[leg == &pair->end[1]][i] ^ context;
    return 0;
}

static int mem_detach(struct leg *base)
{
    struct leg_mem *leg = mem(base);

    if (!flows(leg->rx) && leg->rx != HALF_ENDED)
        return -ENOTSUP;
    leg->detached = true;
    leg->wants = 0;
    leg_set_handler(base, NULL, NULL);
    return 0;
}

static int mem_attach(struct leg *base, void *loop)
{
    (void)loop;
    if (!mem(base)->detached)
        return -FL_EBUG;
    mem(base)->detached = false;
    return 0;
}

static const struct leg_ops mem_ops = {
    .kind = "mem",
    .recv = mem_recv,
    .send = mem_send,
    .send_data = mem_send_data,
    .data_max = mem_data_max,
    .send_eof = mem_send_eof,
    .want = mem_want,
    .close = mem_close,
    .exporter = mem_exporter,
    .detach = mem_detach,
    .attach = mem_attach,
    .send_raw = mem_send_raw,
    .recv_text = mem_recv_text,
    .send_text = mem_send_text,
};

/* ---- the net ---- */

int leg_mem_net_new(struct leg_mem_net **ret_net)
{
    struct leg_mem_net *net = calloc(1, sizeof(*net));

    if (!net)
        return -ENOMEM;
    net->last = &net->pairs;
    *ret_net = net;
    return 0;
}

static void free_pair(struct mem_pair *pair)
{
    drop_all(&pair->end[0]);
    drop_all(&pair->end[1]);
    free(pair);
}

void leg_mem_net_free(struct leg_mem_net *net)
{
    struct mem_pair *pair, *next;

    for (pair = net ? net->pairs : NULL; pair; pair = next) {
        next = pair->next;
        free_pair(pair);
    }
    free(net);
}

static void random32(uint8_t dst[static 32])
{
    struct fl_id half[2];

    id_random(&half[0]);
    id_random(&half[1]);
    memcpy(dst, half, 32);
}

static void end_init(struct mem_pair *pair, struct leg_mem *leg, const char *name)
{
    leg->base.ops = &mem_ops;
    leg->pair = pair;
    leg->reset_at = leg->linger_until = NEVER;
    strcpy(leg->base.peer, name);
}

int leg_mem_pair(struct leg_mem_net *net, const struct leg_mem_options *options, struct leg **ret_a,
                 struct leg **ret_b)
{
    struct mem_pair *pair = calloc(1, sizeof(*pair));

    if (!pair)
        return -ENOMEM;
    pair->net = net;
    pair->options = *options;
    if (pair->options.room < FRAME_MAX)
        pair->options.room = FRAME_MAX;
    pair->open_at = net->now + options->delay;
    random32(pair->secret[0]);
    memcpy(pair->secret[1], pair->secret[0], 32);
    if (options->wrong_exporter)
        random32(pair->secret[1]);
    end_init(pair, &pair->end[0], "mem:b");
    end_init(pair, &pair->end[1], "mem:a");
    *net->last = pair;
    net->last = &pair->next;
    *ret_a = &pair->end[0].base;
    *ret_b = &pair->end[1].base;
    return 0;
}

void leg_mem_kill(struct leg *base, int error)
{
    struct leg_mem *leg = mem(base);

    (void)fail(other(leg), error);
    (void)fail(leg, error);
}

void leg_mem_stall(struct leg *base, uint64_t until)
{
    struct leg_mem *to = other(mem(base));

    if (to->stalled_until < until)
        to->stalled_until = until;
}

void leg_mem_kill_group(struct leg_mem_net *net, unsigned group, int error)
{
    for (struct mem_pair *pair = net->pairs; pair; pair = pair->next) {
        if (pair->options.group == group)
            leg_mem_kill(&pair->end[0].base, error);
    }
}

void leg_mem_stall_group(struct leg_mem_net *net, unsigned group, uint64_t until)
{
    for (struct mem_pair *pair = net->pairs; pair; pair = pair->next) {
        if (pair->options.group != group)
            continue;
        leg_mem_stall(&pair->end[0].base, until);
        leg_mem_stall(&pair->end[1].base, until);
    }
}

bool leg_mem_kill_some(struct leg_mem_net *net, uint64_t which, int error)
{
    struct mem_pair *pair;
    uint64_t count = 0;

    for (pair = net->pairs; pair; pair = pair->next)
        count++;
    if (count == 0)
        return false;
    for (pair = net->pairs, which %= count; which > 0; which--)
        pair = pair->next;
    leg_mem_kill(&pair->end[0].base, error);
    return true;
}

struct leg *leg_mem_other(struct leg *leg)
{
    return &other(mem(leg))->base;
}

size_t leg_mem_open(const struct leg_mem_net *net)
{
    size_t n = 0;

    for (const struct mem_pair *pair = net->pairs; pair; pair = pair->next)
        n += (pair->end[0].rx != HALF_CLOSED) + (pair->end[1].rx != HALF_CLOSED);
    return n;
}

size_t leg_mem_pending(const struct leg *base)
{
    return ((const struct leg_mem *)(const void *)base)->used;
}

/* ---- time ---- */

/* Events that are wanted and true now. */
static unsigned events_of(const struct leg_mem *leg)
{
    unsigned events = leg->due;

    if ((leg->wants & LEG_READABLE) && flows(leg->rx) && arrived(leg))
        events |= LEG_READABLE;
    if ((leg->wants & LEG_WRITABLE) && flows(leg->tx) && room(leg) >= FRAME_MAX)
        events |= LEG_WRITABLE;
    return events;
}

/* A handshake is held up by a stall of either direction. */
static uint64_t opens_at(const struct leg_mem *leg)
{
    uint64_t stalled = other(leg)->stalled_until > leg->stalled_until ? other(leg)->stalled_until
                                                                      : leg->stalled_until;
    return stalled > leg->pair->open_at ? stalled : leg->pair->open_at;
}

/* When this end needs a turn next. */
static uint64_t next_of(const struct leg_mem *leg)
{
    uint64_t at = leg->reset_at < leg->linger_until ? leg->reset_at : leg->linger_until;
    uint64_t fin =
        leg->lingers && (!other(leg)->head || other(leg)->head->fin) ? other(leg)->last_due : NEVER;
    bool reads = leg->rx == HALF_CLOSED || (flows(leg->rx) && (leg->wants & LEG_READABLE));

    at = fin < at ? fin : at;
    if (leg->rx == HALF_CONNECTING && opens_at(leg) < at)
        at = opens_at(leg);
    if (reads && leg->head && arrival(leg, leg->head) < at)
        at = arrival(leg, leg->head);
    if (!leg->detached && leg->base.handler && events_of(leg) && leg->pair->net->now < at)
        at = leg->pair->net->now;
    return at;
}

uint64_t leg_mem_next(const struct leg_mem_net *net)
{
    uint64_t at = NEVER;

    for (const struct mem_pair *pair = net->pairs; pair; pair = pair->next)
        for (int i = 0; i < 2; i++) {
            uint64_t t = next_of(&pair->end[i]);

            at = t < at ? t : at;
        }
    return at;
}

static void open_end(struct leg_mem *leg)
{
    state_move(&rx_table, &leg->rx, HALF_OPEN);
    state_move(&tx_table, &leg->tx, HALF_OPEN);
    leg->due |= LEG_OPENED;
}

/* Has the other end taken all but the FIN? Then its time runs. */
static void linger(struct leg_mem *leg, uint64_t now)
{
    struct leg_mem *to = other(leg);

    if (leg->lingers && (!to->head || to->head->fin) && to->last_due <= now) {
        leg->lingers = false;
        leg->linger_until = now + LINGER;
    }
    if (leg->linger_until <= now) {
        leg->linger_until = NEVER;
        if (to->rx != HALF_CLOSED)
            reset_other(leg);
    }
}

/* What time alone does to one end. */
static void advance(struct leg_mem *leg)
{
    uint64_t now = leg->pair->net->now;

    if (leg->rx == HALF_CONNECTING && opens_at(leg) <= now)
        open_end(leg);
    if (leg->reset_at <= now) {
        leg->reset_at = NEVER;
        (void)fail(leg, -FL_EPEER);
    }
    linger(leg, now);
    while (leg->rx == HALF_CLOSED && arrived(leg)) /* thrown away, as a closed socket does */
        drop_head(leg);
}

static unsigned tell(struct leg_mem *leg)
{
    unsigned events;

    if (leg->detached || !leg->base.handler)
        return 0;
    events = events_of(leg);
    if (!events)
        return 0;
    if (leg->rx == HALF_FAILED)
        events = LEG_FAILED; /* nothing else counts any more */
    leg->due = 0;
    leg->base.handler(leg->base.ctx, &leg->base, events);
    return 1;
}

/* Free the pairs that nobody has any more. */
static void sweep(struct leg_mem_net *net)
{
    struct mem_pair **at = &net->pairs, *pair;

    while ((pair = *at)) {
        if (pair->end[0].rx == HALF_CLOSED && pair->end[1].rx == HALF_CLOSED) {
            *at = pair->next;
            free_pair(pair);
        } else {
            at = &pair->next;
        }
    }
    net->last = at;
}

unsigned leg_mem_run(struct leg_mem_net *net, uint64_t now)
{
    unsigned told = 0;

    if (now > net->now)
        net->now = now;
    for (struct mem_pair *pair = net->pairs; pair; pair = pair->next)
        for (int i = 0; i < 2; i++) {
            advance(&pair->end[i]);
            told += tell(&pair->end[i]);
        }
    sweep(net);
    return told;
}
