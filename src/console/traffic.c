#include "console/traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/clock.h"

#define STEP_US (TRAFFIC_STEP * CLOCK_SEC)

/* What one agent, or all, moved. Its samples stand where those of the whole ring do. */
struct line {
    struct fl_id id;
    uint64_t sent, received; /* bytes since the last sample */
    float sent_rate[TRAFFIC_SAMPLES], received_rate[TRAFFIC_SAMPLES]; /* bytes a second */
    size_t idle;                                                      /* samples without a byte */
    UT_hash_handle hh;                                                /* by id */
};

struct traffic {
    struct line whole;
    struct line *agents;
    int64_t time[TRAFFIC_SAMPLES];
    size_t first, count;
    uint64_t sampled; /* 0: not yet */
};

int traffic_new(struct traffic **ret_traffic)
{
    struct traffic *traffic = calloc(1, sizeof(*traffic));

    if (!traffic)
        return -ENOMEM;
    *ret_traffic = traffic;
    return 0;
}

static void drop(struct traffic *traffic, struct line *line)
{
    HASH_DEL(traffic->agents, line);
    free(line);
}

void traffic_free(struct traffic *traffic)
{
    struct line *line, *tmp;

    if (!traffic)
        return;
    HASH_ITER (hh, traffic->agents, line, tmp)
        drop(traffic, line);
    free(traffic);
}

static struct line *find(const struct traffic *traffic, const struct fl_id *id)
{
    struct line *line;

    HASH_FIND(hh, traffic->agents, id, sizeof(*id), line);
    return line;
}

/* line_of - made if need be; NULL: there are too many, or no memory. */
static struct line *line_of(struct traffic *traffic, const struct fl_id *id)
{
    struct line *line = find(traffic, id);

    if (line || HASH_COUNT(traffic->agents) >= TRAFFIC_AGENTS || !(line = calloc(1, sizeof(*line))))
        return line;
    line->id = *id;
    HASH_ADD(hh, traffic->agents, id, sizeof(line->id), line);
    return line;
}

void traffic_add(struct traffic *traffic, const struct fl_id *source, const struct fl_id *target,
                 uint64_t bytes)
{
    struct line *line;

    if (bytes == 0)
        return;
    traffic->whole.sent += bytes;
    traffic->whole.received += bytes;
    if ((line = line_of(traffic, source)))
        line->sent += bytes;
    if ((line = line_of(traffic, target)))
        line->received += bytes;
}

static void sample(struct line *line, size_t slot, double seconds)
{
    line->sent_rate[slot] = (float)((double)line->sent / seconds);
    line->received_rate[slot] = (float)((double)line->received / seconds);
    line->idle = line->sent || line->received ? 0 : line->idle + 1;
    line->sent = line->received = 0;
}

void traffic_tick(struct traffic *traffic, uint64_t now, int64_t wall)
{
    struct line *line, *tmp;
    uint64_t passed = clock_since(now, traffic->sampled);

    if (traffic->sampled && passed < STEP_US)
        return;
    double seconds = traffic->sampled ? (double)passed / (double)CLOCK_SEC : TRAFFIC_STEP;
    traffic->sampled = now;
    if (traffic->count == TRAFFIC_SAMPLES)
        traffic->first = (traffic->first + 1) % TRAFFIC_SAMPLES;
    else
        traffic->count++;
    size_t slot = (traffic->first + traffic->count - 1) % TRAFFIC_SAMPLES;
    traffic->time[slot] = wall;
    sample(&traffic->whole, slot, seconds);
    HASH_ITER (hh, traffic->agents, line, tmp) {
        sample(line, slot, seconds);
        if (line->idle >= TRAFFIC_SAMPLES)
            drop(traffic, line);
    }
}

size_t traffic_read(const struct traffic *traffic, const struct fl_id *agent,
                    struct traffic_sample *samples, size_t cap)
{
    const struct line *line = agent ? find(traffic, agent) : &traffic->whole;
    size_t count = traffic->count < cap ? traffic->count : cap;

    for (size_t i = 0; i < count; i++) {
        size_t slot = (traffic->first + traffic->count - count + i) % TRAFFIC_SAMPLES;

        samples[i] = (struct traffic_sample){.time = traffic->time[slot],
                                             .sent = line ? line->sent_rate[slot] : 0,
                                             .received = line ? line->received_rate[slot] : 0};
    }
    return count;
}
