/* schedule.h - other rates at certain times of the week. Pure, but for the local time zone. Which
 * rates there are, its user says; a proxy's and an agent's are not the same.
 *
 *   "mon-fri 08:00-18:00 rate_proxy=10240"    days, from, to, and the rates of that time in KiB/s
 *   "sat,sun 22:00-06:00 rate_agent=0"        over midnight: it belongs to the day it begins on
 *   "daily 00:00-24:00 rate_session=512 rate_proxy=0"
 *
 * The first entry that fits the moment wins; a rate that it does not name, and every rate when none
 * fits, is the one of the settings. Times are those of the machine's own clock and time zone.
 */
#ifndef FL_BASE_SCHEDULE_H
#define FL_BASE_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#define SCHEDULE_MAX   32 /* entries */
#define SCHEDULE_DAY   1440
#define SCHEDULE_RATES 3 /* at most */

struct schedule_entry {
    uint16_t from, to; /* minutes of the day, @to up to SCHEDULE_DAY; @to <= @from: of the next */
    uint8_t days;      /* bits, Monday is bit 0 */
    uint8_t named;     /* bits of the rates below */
    uint64_t rate[SCHEDULE_RATES]; /* bytes a second, 0: no limit; in the order of the names */
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

/* schedule_add - parse @text, which may come from a peer, and append it. @names: of the rates, NULL
 * after the last, SCHEDULE_RATES at most. Returns 0, or -FL_ECONFIG with what is wrong in @message.
 */
int schedule_add(struct schedule *schedule, const char *const *names, const char *text,
                 char *message, size_t cap);

/* schedule_time_of - @wall (seconds since 1970) in the local time zone, which must have been read
 * before (tzset()): nothing is opened. */
struct schedule_time schedule_time_of(int64_t wall);

/* schedule_rates - what holds at @time, given that @rates hold otherwise: those that an entry names
 * are replaced. In the order of the names, which were the same for every entry. */
void schedule_rates(const struct schedule *schedule, struct schedule_time time, uint64_t *rates);

#endif
