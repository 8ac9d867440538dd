/* intake_ask.c - what is asked for, and of which way. */
#include <stdlib.h>
#include <string.h>

#include "agent/intake_core.h"

#define ASK_FILES  1024 /* hashes asked and not here: files, and blocks of them */
#define ASK_BLOCKS 8192
#define STEAL_GAIN (200 * CLOCK_MS) /* worth asking for a block twice */

/* room - for what a file is and for the question; if not, the tunnel tells when there is. */
static bool room(const struct way *way)
{
    if (tunnel_room(way->tunnel) >= 2 * FRAME_MAX)
        return true;
    tunnel_want_room(way->tunnel);
    return false;
}

/* FILES on its way. */
struct naming {
    uint8_t frame[FRAME_MAX];
    size_t len; /* of the body */
};

/* name_file - the source has to know on this way which file the index means. False: the frame is
 * full. */
static bool name_file(const struct intake *in, const struct way *way, struct incoming *incoming,
                      struct naming *naming)
{
    const struct entry *entry = entries_at(in->entries, incoming->index);
    uint8_t bit = (uint8_t)(1u << (way - in->way));
    fl_Entry wire = {
        .index = incoming->index,
        .type = fl_EntryType_ENTRY_FILE,
        .size = entry->size,
        .mtime = entry->mtime,
        .mtime_ns = entry->mtime_ns,
        .mode = entry->mode,
    };
    int n;

    if ((incoming->told & bit) || (way->lists && entry->changes == 0))
        return true;
    wire.path.size = entry->path_len;
    memcpy(wire.path.bytes, entry->path, entry->path_len);
    n = message_encode_delimited(fl_Entry_fields, &wire, naming->frame + FRAME_HEADER + naming->len,
                                 FRAME_BODY_MAX - naming->len);
    if (n <= 0)
        return false;
    naming->len += (size_t)n;
    incoming->told |= bit;
    return true;
}

static void send_names(const struct way *way, struct naming *naming)
{
    if (naming->len == 0)
        return;
    frame_put(naming->frame, FRAME_FILES, 0, naming->len);
    (void)tunnel_send(way->tunnel, naming->frame, FRAME_HEADER + naming->len);
    naming->len = 0;
}

/* next_to_ask - a changed file, or the next entry of which something is here already; NULL: none.
 */
static struct incoming *next_to_ask(struct intake *in)
{
    if (in->to_ask.count > 0)
        return intake_queue_shift(&in->to_ask);
    while (in->ask_cursor < in->compared &&
           entries_at(in->entries, in->ask_cursor)->state != ENTRY_ASK)
        in->ask_cursor++;
    if (in->ask_cursor == in->compared || in->live_count >= LIVE_MAX)
        return NULL;
    return intake_incoming_new(in, in->ask_cursor++);
}

/* control_way - over which hashes are asked for: the one that has the list, or else the nearest
 * that may be asked. */
static struct way *control_way(struct intake *in)
{
    struct way *best = NULL;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];

        if (!intake_may_ask(way))
            continue;
        if (way->lists)
            return way;
        if (!best || way->pace.rtt < best->pace.rtt)
            best = way;
    }
    return best;
}

void intake_ask_more(struct intake *in)
{
    struct way *way = control_way(in);
    struct naming naming = {.len = 0};
    fl_WantHashes ask;

    if (!way || !room(way))
        return;
    ask.index_count = 0;
    while (in->asked_files < ASK_FILES && in->asked_blocks < ASK_BLOCKS &&
           ask.index_count < ARRAY_SIZE(ask.index) && naming.len < FRAME_BODY_MAX / 2) {
        bool changed = in->to_ask.count > 0;
        struct incoming *incoming = next_to_ask(in);

        if (!incoming)
            break;
        if (incoming->current && name_file(in, way, incoming, &naming) &&
            intake_queue_push(&way->asked, incoming)) {
            ask.index[ask.index_count++] = incoming->index;
            in->asked_files++;
            in->asked_blocks += blocks_count(incoming->part.size);
        }
        if (changed)
            intake_incoming_unref(in, incoming); /* to_ask's */
    }
    send_names(way, &naming);
    if (ask.index_count > 0)
        (void)tunnel_send_message(way->tunnel, FRAME_WANT_HASHES, fl_WantHashes_fields, &ask);
}

static void next_new(struct intake *in)
{
    struct incoming *incoming;

    while (in->new_cursor < in->compared &&
           entries_at(in->entries, in->new_cursor)->state != ENTRY_NEW)
        in->new_cursor++;
    if (in->new_cursor == in->compared || in->live_count >= LIVE_MAX)
        return;
    incoming = intake_incoming_new(in, in->new_cursor++);
    if (incoming)
        (void)intake_add_gap(in, incoming, 0, incoming->part.left);
}

/* front_wanting - the first file of which something is to be asked for, or NULL. */
static struct incoming *front_wanting(struct intake *in)
{
    struct incoming *incoming;

    while ((incoming = intake_queue_front(&in->wanting)) && incoming->gap_count == 0) {
        incoming->queued = false;
        intake_queue_pop(in, &in->wanting);
    }
    if (incoming)
        return incoming;
    next_new(in);
    return intake_queue_front(&in->wanting);
}

static void gap_taken(struct incoming *incoming, uint32_t count)
{
    struct gap *gap = &incoming->gap[incoming->gap_first];

    gap->first += count;
    gap->count -= count;
    if (gap->count == 0 && --incoming->gap_count == 0)
        incoming->gap_first = 0;
    else if (gap->count == 0)
        incoming->gap_first++;
}

/* want_some - as much of the first gap as the window takes, into @range. False: nothing, or no
 * room. */
static bool want_some(struct intake *in, struct way *way, struct naming *naming,
                      fl_WantRange *range)
{
    struct incoming *incoming = front_wanting(in);
    struct gap *gap;
    uint32_t n;

    if (!incoming)
        return false;
    gap = &incoming->gap[incoming->gap_first];
    n = want_fit(&way->want, incoming->part.size, gap->first, gap->count);
    if (n == 0 || !name_file(in, way, incoming, naming))
        return false;
    *range = (fl_WantRange){.index = incoming->index, .first = gap->first, .count = n};
    want_push(&way->want, incoming, incoming->part.size, gap->first, n);
    incoming->refs++;
    gap_taken(incoming, n);
    return true;
}

static bool nothing_new(const struct intake *in)
{
    return in->count.list_complete && in->compared == in->entries->count &&
           in->new_cursor == in->compared && in->ask_cursor == in->compared &&
           in->to_ask.count == 0;
}

/* slowest - of the other ways the one that will have brought last what is wanted from it. */
static struct way *slowest(struct intake *in, const struct way *thief)
{
    struct way *worst = NULL;
    uint64_t worst_time = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];
        uint64_t time = way->tunnel ? pace_time(&way->pace, way->want.kept) : 0;

        if (way != thief && time > worst_time) {
            worst = way;
            worst_time = time;
        }
    }
    return worst;
}

static void drop_arriving(struct way *way)
{
    way->arriving.dropped = true;
    free(take_ptr(way->arriving.data));
}

/* steal_some - near the end: the last blocks that a slower way was asked for, if they come sooner
 * over this one. Thus a slow way never holds the end back. */
static bool steal_some(struct intake *in, struct way *way, struct naming *naming,
                       fl_WantRange *range)
{
    struct way *from = nothing_new(in) ? slowest(in, way) : NULL;
    struct want_range *last = from ? want_last(&from->want) : NULL;
    struct incoming *incoming = last ? last->owner : NULL;
    uint32_t n, first;
    uint64_t here;

    if (!incoming)
        return false;
    n = (last->keep + 1) / 2;
    n = want_fit(&way->want, last->size, last->first + last->keep - n, n);
    if (n == 0)
        return false;
    first = last->first + last->keep - n;
    here = pace_time(&way->pace, way->want.bytes + blocks_span(last->size, first, n));
    if (pace_time(&from->pace, from->want.kept) < 2 * here + STEAL_GAIN)
        return false;
    if (incoming->current && !name_file(in, way, incoming, naming))
        return false;
    want_give_up(&from->want, last, n);
    if (last->keep == 0 && last == want_front(&from->want))
        drop_arriving(from);
    if (!incoming->current)
        return steal_some(in, way, naming, range); /* nobody wants it: one less */
    *range = (fl_WantRange){.index = incoming->index, .first = first, .count = n};
    want_push(&way->want, incoming, last->size, first, n);
    incoming->refs++;
    return true;
}

static void want_more(struct intake *in, struct way *way)
{
    struct naming naming = {.len = 0};
    fl_Want want;

    while (room(way) && want_low(&way->want) && in->backlog < BACKLOG_GO) {
        want.ranges_count = 0;
        while (want.ranges_count < ARRAY_SIZE(want.ranges) &&
               (want_some(in, way, &naming, &want.ranges[want.ranges_count]) ||
                steal_some(in, way, &naming, &want.ranges[want.ranges_count])))
            want.ranges_count++;
        send_names(way, &naming);
        if (want.ranges_count == 0)
            return;
        (void)tunnel_send_message(way->tunnel, FRAME_WANT, fl_Want_fields, &want);
    }
}

void intake_want_all(struct intake *in)
{
    unsigned done = 0;

    intake_set_windows(in);
    for (;;) {
        struct way *next = NULL;

        for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
            struct way *way = &in->way[i];

            if (intake_may_ask(way) && !(done & (1u << i)) &&
                (!next || way->pace.rate > next->pace.rate))
                next = way;
        }
        if (!next)
            return;
        done |= 1u << (next - in->way);
        want_more(in, next);
    }
}

void intake_disown_blocks(struct intake *in, struct way *way)
{
    struct want_range *range;

    while ((range = want_last(&way->want))) {
        struct incoming *incoming = range->owner;

        if (incoming->current)
            (void)intake_add_gap(in, incoming, range->first, range->keep);
        want_give_up(&way->want, range, range->keep);
    }
    drop_arriving(way);
}

void intake_disown_hashes(struct intake *in, struct way *way)
{
    for (uint32_t i = 0; i < way->asked.count; i++) {
        struct incoming **place = &way->asked.item[(way->asked.first + i) % way->asked.cap];
        struct incoming *incoming = *place;
        struct incoming *stand_in = incoming->current ? calloc(1, sizeof(*stand_in)) : NULL;

        if (!incoming->current)
            continue;
        if (!stand_in || !intake_queue_push(&in->to_ask, incoming)) {
            free(stand_in);
            intake_local_failure(in);
            return;
        }
        stand_in->part.size = incoming->part.size;
        stand_in->index = incoming->index;
        stand_in->hashes_next = incoming->hashes_next;
        stand_in->refs = 1;
        DL_APPEND(in->live, stand_in);
        incoming->hashes_next = 0;
        *place = stand_in;
        intake_incoming_unref(in, incoming);
    }
}

bool intake_may_ask(const struct way *way)
{
    return way->tunnel && !way->pace.suspect && !way->retired;
}

bool intake_has_good_way(const struct intake *in)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (intake_may_ask(&in->way[i]))
            return true;
    }
    return false;
}

void intake_rescue(struct intake *in)
{
    if (!intake_has_good_way(in))
        return;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];

        if (!way->tunnel || !way->pace.suspect)
            continue;
        intake_disown_blocks(in, way);
        intake_disown_hashes(in, way);
    }
}

void intake_arriving_drop(struct intake *in, struct way *way)
{
    if (!way->arriving.incoming)
        return;
    free(way->arriving.data);
    intake_incoming_unref(in, way->arriving.incoming);
    memset(&way->arriving, 0, sizeof(way->arriving));
}

void intake_asked_pop(struct intake *in, struct way *way)
{
    in->asked_files--;
    in->asked_blocks -= blocks_count(intake_queue_front(&way->asked)->part.size);
    intake_queue_pop(in, &way->asked);
}
