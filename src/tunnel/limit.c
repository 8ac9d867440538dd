#include "tunnel/limit.h"

void limit_share_init(struct limit_share *share, struct limit *limit)
{
    *share = (struct limit_share){.limit = limit};
    for (unsigned i = 0; i < LIMIT_WAYS; i++)
        rate_share_init(&share->share[i], &limit->table[i], NULL, NULL, &limit->bucket[i]);
}

uint64_t limit_rate(const struct limit_share *share, enum limit_way way)
{
    return share->limit ? share->limit->table[way].line[RATE_WHOLE].rate : 0;
}

/* wait - until @due; the alarm is the first of all that wait. */
static void wait(struct limit_share *share, enum limit_way way, uint64_t due)
{
    struct limit *limit = share->limit;

    share->due[way] = due;
    if (limit->alarm && limit->alarm <= due)
        return;
    limit->alarm = due;
    if (limit->set_alarm)
        limit->set_alarm(limit->ctx, due);
}

size_t limit_ask(struct limit_share *share, enum limit_way way, uint64_t now)
{
    uint64_t due = 0;

    share->due[way] = 0;
    if (!limit_rate(share, way))
        return RATE_UNLIMITED;
    size_t bytes = rate_ask(&share->share[way], now, &due);
    if (bytes == 0)
        wait(share, way, due);
    return bytes;
}

void limit_spend(struct limit_share *share, enum limit_way way, size_t bytes)
{
    if (limit_rate(share, way))
        rate_spend(&share->share[way], bytes);
}

bool limit_due(struct limit_share *share, uint64_t now, uint64_t *ret_next)
{
    bool any = false;

    *ret_next = 0;
    for (unsigned i = 0; i < LIMIT_WAYS; i++) {
        if (!share->due[i])
            continue;
        if (share->due[i] <= now) {
            share->due[i] = 0;
            any = true;
        } else if (!*ret_next || share->due[i] < *ret_next) {
            *ret_next = share->due[i];
        }
    }
    return any;
}
