#include "proxy/schedule.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/rate.h"
#include "proxy/settings.h"

#define TEXT_MAX 256
#define KIB      1024
#define DAYS     7
#define ALL_DAYS 0x7f
#define SHAPE                                                                                      \
    "expected DAYS HH:MM-HH:MM rate_proxy=KIBS …, as in \"mon-fri 08:00-18:00 rate_proxy=10240\""

static const char *const day_names[DAYS] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
static const char *const rate_names[3] = {"rate_session", "rate_agent", "rate_proxy"};

/* Where to say what is wrong, and with which text. */
struct complaint {
    const char *text;
    char *message;
    size_t cap;
};

static int complain(const struct complaint *to, const char *what, const char *word)
{
    char text[TEXT_MAX], part[64];
    (void)log_escape(text, sizeof(text), to->text, strlen(to->text));
    (void)log_escape(part, sizeof(part), word, strlen(word));
    (void)snprintf(to->message, to->cap, "%s, got \"%s\"%s%s%s", what, text, *part ? " (\"" : "",
                   part, *part ? "\")" : "");
    return -FL_ECONFIG;
}

static int day_of(const char *word, size_t len)
{
    for (int i = 0; i < DAYS; i++) {
        if (strlen(day_names[i]) == len && !strncmp(day_names[i], word, len))
            return i;
    }
    return -1;
}

/* "mon" or "fri-mon", which goes over Sunday. Returns its bits, 0 when wrong. */
static unsigned days_of_part(const char *part)
{
    const char *dash = strchr(part, '-');
    int first = day_of(part, dash ? (size_t)(dash - part) : strlen(part));
    int last = dash ? day_of(dash + 1, strlen(dash + 1)) : first;
    unsigned bits = 0;

    if (first < 0 || last < 0)
        return 0;
    for (int day = first; day != last; day = (day + 1) % DAYS)
        bits |= 1u << day;
    return bits | 1u << last;
}

static int parse_days(char *word, struct schedule_entry *entry, const struct complaint *to)
{
    char *rest = NULL;
    if (!strcmp(word, "daily")) {
        entry->days = ALL_DAYS;
        return 0;
    }
    for (char *part = strtok_r(word, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        unsigned bits = days_of_part(part);
        if (!bits)
            return complain(to, "expected mon, tue, wed, thu, fri, sat, sun, a range or daily",
                            part);
        entry->days |= (uint8_t)bits;
    }
    return entry->days ? 0 : complain(to, SHAPE, "");
}

/* Exactly "HH:MM". Returns the minute of the day, or -1. */
static int minute_of(const char *text, size_t len)
{
    static const char digits[] = "0123456789";
    if (len != 5 || text[2] != ':')
        return -1;
    for (int i = 0; i < 5; i++) {
        if (i != 2 && !memchr(digits, text[i], 10))
            return -1;
    }
    int hour = (text[0] - '0') * 10 + text[1] - '0', minute = (text[3] - '0') * 10 + text[4] - '0';
    if (minute > 59 || hour > 24 || (hour == 24 && minute > 0))
        return -1;
    return hour * 60 + minute;
}

static int parse_span(const char *word, struct schedule_entry *entry, const struct complaint *to)
{
    const char *dash = strchr(word, '-');
    int from = dash ? minute_of(word, (size_t)(dash - word)) : -1;
    int until = dash ? minute_of(dash + 1, strlen(dash + 1)) : -1;

    if (from < 0 || until < 0 || from == SCHEDULE_DAY || from == until)
        return complain(to, "expected HH:MM-HH:MM, two different times", word);
    entry->from = (uint16_t)from;
    entry->to = (uint16_t)until;
    return 0;
}

/* "rate_proxy=10240". */
static int parse_rate(const char *word, struct schedule_entry *entry, const struct complaint *to)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : 0;
    for (unsigned i = 0; i < ARRAY_SIZE(rate_names); i++) {
        char *end;
        if (!len || strlen(rate_names[i]) != len || strncmp(word, rate_names[i], len))
            continue;
        unsigned long long kib = strtoull(equals + 1, &end, 10);
        if (equals[1] < '0' || equals[1] > '9' || *end || kib > RATE_MOST / KIB)
            return complain(to, "expected a whole number of KiB/s up to 67108864", word);
        entry->rate[i] = kib * KIB;
        entry->named |= (uint8_t)(1u << i);
        return 0;
    }
    return complain(to, "expected rate_session=, rate_agent= or rate_proxy= and KiB/s", word);
}

static int parse(char *copy, struct schedule_entry *entry, const struct complaint *to)
{
    char *rest = NULL;
    char *days = strtok_r(copy, " ", &rest), *span = strtok_r(NULL, " ", &rest);
    int rc = days && span ? 0 : complain(to, SHAPE, "");
    if (rc == 0)
        rc = parse_days(days, entry, to);
    if (rc == 0)
        rc = parse_span(span, entry, to);
    for (char *word; rc == 0 && (word = strtok_r(NULL, " ", &rest));)
        rc = parse_rate(word, entry, to);
    return rc == 0 && !entry->named ? complain(to, SHAPE, "") : rc;
}

int schedule_add(struct schedule *schedule, const char *text, char *message, size_t cap)
{
    struct schedule_entry entry = {0};
    struct complaint to = {text, message, cap};
    char copy[TEXT_MAX];

    if (schedule->count >= SCHEDULE_MAX)
        return complain(&to, "expected 32 entries at most", "");
    if (strlen(text) >= sizeof(copy))
        return complain(&to, SHAPE, "");
    memcpy(copy, text, strlen(text) + 1);
    int rc = parse(copy, &entry, &to);
    if (rc == 0)
        schedule->entry[schedule->count++] = entry;
    return rc;
}

struct schedule_time schedule_time_of(int64_t wall)
{
    struct tm tm;
    time_t seconds = (time_t)wall;
    if (!localtime_r(&seconds, &tm))
        return (struct schedule_time){0, 0};
    return (struct schedule_time){(unsigned)(tm.tm_wday + 6) % DAYS,
                                  (unsigned)(tm.tm_hour * 60 + tm.tm_min)};
}

static bool on(const struct schedule_entry *entry, unsigned day)
{
    return entry->days >> day & 1;
}

static bool fits(const struct schedule_entry *entry, struct schedule_time time)
{
    unsigned yesterday = (time.day + DAYS - 1) % DAYS;
    if (entry->from < entry->to)
        return on(entry, time.day) && time.minute >= entry->from && time.minute < entry->to;
    return (on(entry, time.day) && time.minute >= entry->from) ||
           (on(entry, yesterday) && time.minute < entry->to);
}

void schedule_rates(const struct schedule *schedule, const struct proxy_rates *base,
                    struct schedule_time time, struct proxy_rates *ret_rates)
{
    uint64_t *rates[3] = {&ret_rates->session, &ret_rates->agent, &ret_rates->proxy};
    const struct schedule_entry *entry = schedule->entry;

    *ret_rates = *base;
    while (entry < schedule->entry + schedule->count && !fits(entry, time))
        entry++;
    if (entry == schedule->entry + schedule->count)
        return;
    for (unsigned i = 0; i < 3; i++)
        *rates[i] = entry->named >> i & 1 ? entry->rate[i] : *rates[i];
}
