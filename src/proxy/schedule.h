/* schedule.h - other rates at certain times of the week. Pure, but for the local time zone.
 *
 *   "mon-fri 08:00-18:00 rate_proxy=10240"    days, from, to, and the rates of that time in KiB/s
 *   "sat,sun 22:00-06:00 rate_agent=0"        over midnight: it belongs to the day it begins on
 *   "daily 00:00-24:00 rate_session=512 rate_proxy=0"
 *
 * The first entry that fits the moment wins; a rate that it does not name, and every rate when none
 * fits, is the one of the settings. Times are those of the proxy's own clock and time zone.
 */
#ifndef FL_PROXY_SCHEDULE_H
#define FL_PROXY_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_MAX 32 /* entries */
#define SCHEDULE_DAY 1440

struct proxy_rates;

struct schedule_entry {
    uint16_t from, to; /* minutes of the day, @to up to SCHEDULE_DAY; @to <= @from: of the next */
    uint8_t days;      /* bits, Monday is bit 0 */
    uint8_t named;     /* bits of the rates below */
    uint64_t rate[3];  /* bytes a second, 0: no limit; session, agent, proxy */
};

struct schedule {
    struct schedule_entry entry[SCHEDULE_MAX];
    unsigned count;
};

/* A moment of the week. */
struct schedule_time {
    unsigned day;    /* 0: Monday */
    unsigned minute; /* of the day */
};

/* schedule_add - parse @text, which may come from a peer, and append it. Returns 0, or -FL_ECONFIG
 * with what is wrong in @message. */
int schedule_add(struct schedule *schedule, const char *text, char *message, size_t cap);

/* schedule_time_of - @wall (seconds since 1970) in the local time zone, which must have been read
 * before (tzset()): nothing is opened. */
struct schedule_time schedule_time_of(int64_t wall);

/* schedule_rates - what holds at @time, given that @base holds otherwise. */
void schedule_rates(const struct schedule *schedule, const struct proxy_rates *base,
                    struct schedule_time time, struct proxy_rates *ret_rates);

#endif
