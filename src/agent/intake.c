/* intake.c
 *
 * An entry of the list (enum entry_state):
 *
 *   LISTED --compare--> IN_PLACE (files the same, folders, links)
 *      |          \---> FAILED
 *      |--> NEW  --cursor--> ACTIVE (a struct incoming) --commit--> IN_PLACE
 *      \--> ASK  --cursor--> ACTIVE: hashes asked, compared, rest wanted     \--> FAILED
 *
 * Blocks come over several tunnels (ways). Each has a window of what it was asked for; whichever
 * has room asks for what is next. A block is wanted from one way at a time: when nothing is left to
 * ask for, a fast way takes over the last blocks of a slow one, and what a way owes that has fallen
 * silent is asked for elsewhere. What then still comes from the former is dropped. The list comes
 * over one way; to the others the source is told by FILES what an index means.
 *
 * Work in the thread pool: one compare job (list against folder), one check job (hashes of what
 * came), one lane job (writing it), one commit job (sync and rename) at a time.
 *
 * Here are its life, its ways and its end; one file is in intake_file.c, what is asked for in
 * intake_ask.c, what comes in intake_take.c, disk work in intake_disk.c.
 */
#include <stdlib.h>

#include "agent/intake_core.h"
#include "base/error.h"

#define ASLEEP (300 * CLOCK_MS) /* between two ticks: we were, not the others */

int intake_new(uv_loop_t *loop, struct disk *disk, struct index *index, const struct fl_id *flow,
               const struct intake_ops *ops, void *ctx, struct intake **ret_intake)
{
    struct intake *in = calloc(1, sizeof(*in));
    int rc = -ENOMEM;

    if (!in)
        return -ENOMEM;
    in->loop = loop;
    in->ops = ops;
    in->ctx = ctx;
    in->flow = *flow;
    in->check_station.tail = &in->check_station.head;
    in->lane_station.tail = &in->lane_station.head;
    in->entries = entries_new();
    in->compare = calloc(1, sizeof(*in->compare));
    if (!in->entries || !in->compare)
        goto fail;
    rc = parts_lane_init(&in->lane, disk, index, flow);
    if (rc < 0)
        goto fail;
    rc = parts_check_init(&in->check);
    if (rc < 0)
        goto fail_lane;
    in->compare->disk = disk;
    in->compare->flow = *flow;
    in->compare->entries = in->entries;
    *ret_intake = in;
    return 0;

fail_lane:
    parts_lane_done(&in->lane);
fail:
    free(in->compare);
    entries_free(in->entries);
    free(in);
    return rc;
}

void intake_free(struct intake *in)
{
    struct incoming *incoming, *next;

    if (!in)
        return;
    DL_FOREACH_SAFE (in->live, incoming, next) {
        /* Cut off before they were complete; their files are closed. */
        DL_DELETE(in->live, incoming);
        free(incoming->gap);
        free(incoming);
    }
    parts_check_done(&in->check);
    parts_lane_done(&in->lane);
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        want_done(&in->way[i].want);
        free(in->way[i].asked.item);
    }
    free(in->wanting.item);
    free(in->to_ask.item);
    free(in->ready.item);
    free(in->compare);
    entries_free(in->entries);
    free(in);
}

const struct intake_count *intake_count(const struct intake *in)
{
    return &in->count;
}

const struct entries *intake_entries(const struct intake *in)
{
    return in->entries;
}

bool intake_folder_wanted(const struct entry *entry)
{
    return entry->state == ENTRY_IN_PLACE;
}

void intake_local_failure(struct intake *in)
{
    in->failed_local = true;
}

static bool station_empty(const struct station *station)
{
    return !station->running && !station->head;
}

bool intake_is_drained(const struct intake *in)
{
    return !in->comparing && station_empty(&in->check_station) &&
           station_empty(&in->lane_station) && !in->committing && in->ready.count == 0;
}

static bool all_settled(const struct intake *in)
{
    return in->count.list_complete && in->compared == in->entries->count &&
           in->new_cursor == in->compared && in->ask_cursor == in->compared &&
           in->live_count == 0 && intake_is_drained(in);
}

static void back_pressure(struct intake *in)
{
    bool pause = in->paused ? in->backlog > BACKLOG_GO : in->backlog > BACKLOG_STOP;

    if (pause == in->paused)
        return;
    in->paused = pause;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel)
            tunnel_pause(in->way[i].tunnel, pause);
    }
}

void intake_pump(struct intake *in)
{
    if (!in->detached) {
        intake_compare_more(in);
        intake_ask_more(in);
        intake_want_all(in);
        back_pressure(in);
    }
    intake_lane_more(in);
    intake_commit_more(in);
    if (in->detached) {
        if (intake_is_drained(in))
            in->ops->drained(in->ctx);
        return;
    }
    if (in->ended_told || (!all_settled(in) && !in->failed_local))
        return;
    in->ended_told = true;
    if (in->failed_local)
        in->ops->broken(in->ctx);
    else
        in->ops->complete(in->ctx, in->failure[0] ? in->failure : NULL);
}

struct way *intake_find_way(struct intake *in, const struct tunnel *tunnel)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel == tunnel)
            return &in->way[i];
    }
    return NULL;
}

static unsigned count_ways(const struct intake *in)
{
    unsigned count = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++)
        count += in->way[i].tunnel != NULL;
    return count;
}

/* What is left of @window beside what retired ways still bring: they may go over the same proxy,
 * and all that is lost with it is to be asked for again. */
static uint64_t beside_retired(const struct intake *in, uint64_t window)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        const struct way *way = &in->way[i];
        uint64_t owed = way->tunnel && way->retired ? way->want.bytes : 0;

        window = owed < window ? window - owed : 0;
    }
    return window;
}

void intake_set_windows(struct intake *in)
{
    uint64_t alone = in->backlog < WANT_BYTES ? WANT_BYTES - in->backlog : 0;
    uint64_t most = beside_retired(in, WANT_BYTES);
    unsigned count = count_ways(in);

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        uint64_t window = pace_window(&in->way[i].pace);

        in->way[i].want.window = count == 1 ? alone : window < most ? window : most;
    }
}

static struct way *way_open(struct intake *in, struct tunnel *tunnel)
{
    struct way *way = intake_find_way(in, NULL);
    struct incoming *incoming;

    if (!way || want_init(&way->want) < 0)
        return NULL;
    way->tunnel = tunnel;
    way->lists = way->retired = false;
    way->pace = (struct pace){.since = in->now};
    way->since = clock_wall();
    DL_FOREACH (in->live, incoming)
        incoming->told &= (uint8_t) ~(1u << (way - in->way));
    tunnel_pause(tunnel, in->paused);
    intake_set_windows(in);
    tunnel_probe(tunnel); /* how far is it, while nothing is queued on it */
    return way;
}

static const fl_Start start = {.version = 1};
const struct tunnel_first intake_first = {FRAME_START, fl_Start_fields, &start};

int intake_start(struct intake *in, struct tunnel *tunnel)
{
    struct way *way = way_open(in, tunnel);
    struct tunnel_info info;

    if (!way)
        return -ENOMEM;
    way->lists = true;
    tunnel_info(tunnel, &info);
    if (!info.first_said)
        (void)tunnel_send_message(tunnel, FRAME_START, fl_Start_fields, &start);
    return 0;
}

int intake_add(struct intake *in, struct tunnel *tunnel)
{
    if (!way_open(in, tunnel))
        return -FL_EFULL;
    intake_rescue(in);
    intake_pump(in);
    return 0;
}

static void way_close(struct intake *in, struct way *way)
{
    way->tunnel = NULL;
    intake_arriving_drop(in, way);
    while (way->want.count > 0) {
        struct incoming *incoming = want_front(&way->want)->owner;

        want_pop(&way->want);
        intake_incoming_unref(in, incoming);
    }
    while (way->asked.count > 0)
        intake_asked_pop(in, way);
    want_done(&way->want);
}

bool intake_lost(struct intake *in, const struct tunnel *tunnel)
{
    struct way *way = in->detached ? NULL : intake_find_way(in, tunnel);

    if (!way)
        return false;
    if (count_ways(in) == 1 || (way->lists && !in->count.list_complete))
        return false;
    intake_disown_blocks(in, way);
    intake_disown_hashes(in, way);
    way_close(in, way);
    intake_set_windows(in);
    intake_pump(in);
    return true;
}

size_t intake_ways(const struct intake *in, struct intake_way *ret, size_t max)
{
    size_t count = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX && count < max; i++) {
        const struct way *way = &in->way[i];

        if (!way->tunnel)
            continue;
        ret[count++] = (struct intake_way){
            .tunnel = way->tunnel,
            .suspect = way->pace.suspect,
            .retired = way->retired,
            .tired = way->pace.tired && !way->retired,
            .since = way->since,
            .rate = way->pace.rate,
            .bytes = way->pace.bytes,
        };
    }
    return count;
}

#define FILE_SAMPLE (500 * CLOCK_MS) /* least time between two looks at a file's rate */

/* arrived - bytes of @incoming in blocks that come in now. */
static uint64_t arrived(const struct intake *in, const struct incoming *incoming)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++)
        if (in->way[i].tunnel && in->way[i].arriving.incoming == incoming)
            bytes += in->way[i].arriving.got;
    return bytes;
}

static void sample(struct incoming *incoming, uint64_t done, uint64_t now)
{
    uint64_t spent = now - incoming->sampled;

    if (incoming->sampled && spent < FILE_SAMPLE)
        return;
    if (incoming->sampled) {
        uint64_t fresh = done > incoming->sample_done ? done - incoming->sample_done : 0;
        uint64_t rate = (uint64_t)((double)fresh * (double)CLOCK_SEC / (double)spent);

        incoming->rate = incoming->rate ? (incoming->rate + rate) / 2 : rate;
    }
    incoming->sampled = now;
    incoming->sample_done = done;
}

/* is_busier - the faster one, of equal ones the one of which more is here. */
static bool is_busier(const struct intake_file *a, const struct intake_file *b)
{
    return a->rate != b->rate ? a->rate > b->rate : a->done > b->done;
}

/* insert_file - into @list, the busiest first; the last one falls out when it is full. */
static void insert_file(struct intake_file *list, size_t *count, size_t max,
                        const struct intake_file *file)
{
    size_t at = *count;

    while (at > 0 && is_busier(file, &list[at - 1]))
        at--;
    if (at == max)
        return;
    *count += *count < max;
    memmove(&list[at + 1], &list[at], (*count - at - 1) * sizeof(*list));
    list[at] = *file;
}

size_t intake_files(struct intake *in, uint64_t now, struct intake_file *ret, size_t max,
                    size_t *ret_all)
{
    struct incoming *incoming;
    size_t count = 0, all = 0;

    DL_FOREACH (in->live, incoming) {
        const struct part *part = &incoming->part;
        struct intake_file file = {
            .name = part->path, .name_len = part->path_len, .size = part->size};

        if (!incoming->current || incoming->done >= part->size)
            continue;
        file.done = incoming->done + arrived(in, incoming);
        sample(incoming, file.done, now);
        file.rate = incoming->rate;
        all++;
        if (file.done > 0)
            insert_file(ret, &count, max, &file);
    }
    *ret_all = all;
    return count;
}

void intake_writable(struct intake *in)
{
    intake_pump(in);
}

void intake_retire(struct intake *in, const struct tunnel *tunnel)
{
    struct way *way = in->detached ? NULL : intake_find_way(in, tunnel);

    if (way)
        way->retired = true;
}

static bool owes(const struct intake *in, const struct way *way)
{
    return way->want.count > 0 || way->asked.count > 0 || (way->lists && !in->count.list_complete);
}

/* One that is retired and owes nothing, or NULL. */
static struct way *find_spare(struct intake *in)
{
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];

        if (way->tunnel && way->retired && !owes(in, way))
            return way;
    }
    return NULL;
}

/* What is retired goes when it is done, or comes back when it is all that is left. */
static void settle_retired(struct intake *in)
{
    struct way *spare;

    if (!intake_has_good_way(in)) {
        for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++)
            in->way[i].retired = false;
        return;
    }
    spare = find_spare(in);
    if (spare)
        in->ops->spare(in->ctx, spare->tunnel);
}

/* watch - which ways owe something and are silent? */
static void watch(struct intake *in)
{
    struct tunnel *dead = NULL;
    bool doubt = false;

    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        struct way *way = &in->way[i];
        struct tunnel_info info;
        bool before = way->pace.suspect;
        enum pace_verdict verdict;

        if (!way->tunnel)
            continue;
        tunnel_info(way->tunnel, &info);
        if (info.last_rx < in->awake)
            info.last_rx = in->awake;
        verdict =
            pace_tick(&way->pace, in->now, info.last_rx, info.rtt, owes(in, way) && !in->paused);
        if (verdict != PACE_GOOD)
            tunnel_probe(way->tunnel);
        if (verdict == PACE_DEAD)
            dead = way->tunnel;
        doubt |= way->pace.suspect;
        if (before != way->pace.suspect) {
            way->since = clock_wall();
            in->ops->changed(in->ctx);
        }
    }
    intake_set_windows(in);
    if (!doubt)
        return;
    intake_rescue(in);
    intake_pump(in);
    if (dead && intake_has_good_way(in) && !in->ended_told)
        in->ops->silent(in->ctx, dead);
}

void intake_tick(struct intake *in, uint64_t now)
{
    if (in->now && now - in->now > ASLEEP)
        in->awake = now;
    in->now = now;
    if (!in->detached)
        watch(in);
    if (in->ready.count > 0 && !in->committing)
        intake_pump(in);
    if (!in->detached && !in->ended_told)
        settle_retired(in);
}

void intake_detach(struct intake *in, bool remove)
{
    struct incoming *incoming, *next;

    in->remove |= remove;
    if (in->detached)
        return;
    in->detached = true;
    for (unsigned i = 0; i < INTAKE_WAYS_MAX; i++) {
        if (in->way[i].tunnel)
            way_close(in, &in->way[i]);
    }
    intake_queue_clear(in, &in->wanting);
    intake_queue_clear(in, &in->to_ask);
    DL_FOREACH_SAFE (in->live, incoming, next) {
        /* Those that are complete wait for the commit or are in it; of the others the lane closes
         * the file, after all blocks that are here are in it. Its own reference keeps each until
         * then. */
        if (incoming->current)
            intake_op_drop(in, incoming, in->remove);
    }
    intake_lane_more(in);
    intake_commit_more(in);
}
