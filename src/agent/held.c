#include "agent/held.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FIRST   (2 * CLOCK_SEC) /* and twice as long each time, */
#define DOUBLED 5               /* so often */

static const struct fl_id direct;

struct held_way *held_find(struct held *held, const struct fl_id *proxy, bool punched)
{
    for (size_t i = 0; i < ARRAY_SIZE(held->way); i++) {
        struct held_way *way = &held->way[i];

        if (way->used && way->punched == punched && id_equal(&way->proxy, proxy))
            return way;
    }
    return NULL;
}

/* A free one, or the last. */
static struct held_way *take_place(struct held *held)
{
    size_t at = 0;

    while (at + 1 < ARRAY_SIZE(held->way) && held->way[at].used)
        at++;
    return &held->way[at];
}

void held_note(struct held *held, const struct fl_id *proxy, bool punched, const char *label,
               const char *text, uint64_t now)
{
    struct held_way *way = held_find(held, proxy, punched);

    if (!way) {
        way = take_place(held);
        *way = (struct held_way){.used = true, .proxy = *proxy, .punched = punched};
    }
    way->until = now + clock_jitter(FIRST << way->failures);
    way->failures += way->failures < DOUBLED;
    way->since = clock_wall();
    way->open = false;
    (void)snprintf(way->label, sizeof(way->label), "%s", label);
    (void)snprintf(way->text, sizeof(way->text), "%s", text ? text : "");
}

void held_opened(struct held *held, const struct fl_id *proxy)
{
    struct held_way *way = held_find(held, proxy, false);

    if (way)
        way->open = true;
}

bool held_punch(struct held *held, struct peer_ways *ways, const struct tunnel *carries,
                uint64_t now, struct dial_request *request)
{
    const struct punch *vain = peer_ways_in_vain(ways, &request->peer.id);

    if (peer_ways_punch(ways, carries, now, request))
        return true;
    if (vain && !held_find(held, &direct, true))
        held_note(held, &direct, true, vain->label, vain->text, now);
    return false;
}

void held_punched(struct held *held, const char *label, const char *text, uint64_t now)
{
    struct held_way *way = held_find(held, &direct, true);

    if (text)
        held_note(held, &direct, true, label, text, now);
    else if (way)
        way->open = true;
}

void held_tell(const struct held *held, fl_FlowReport *report)
{
    for (size_t i = 0; i < ARRAY_SIZE(held->way); i++) {
        const struct held_way *way = &held->way[i];

        if (!way->used || way->open || report->ways_count == ARRAY_SIZE(report->ways))
            continue;
        fl_FlowWay *told = &report->ways[report->ways_count++];
        *told = (fl_FlowWay){.state = fl_WayState_WAY_FAILED,
                             .relayed = !id_is_zero(&way->proxy),
                             .since = way->since};
        (void)snprintf(told->via, sizeof(told->via), "%s", way->label);
        (void)snprintf(told->text, sizeof(told->text), "%s", way->text);
    }
}
