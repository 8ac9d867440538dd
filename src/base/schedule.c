#include "base/schedule.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rate.h"

#define TEXT_MAX 256
#define KIB      1024
#define DAYS     7
#define ALL_DAYS 0x7f
#define SHAPE    "expected DAYS HH:MM-HH:MM RATE=KIBS …, as in \"mon-fri 08:00-18:00 %s=10240\""

static const char *const day_names[DAYS] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* Where to say what is wrong, and with which text. */
struct complaint {
    const char *const *names; /* of rates */
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

static int complain_of_shape(const struct complaint *to)
{
    char what[160];
    (void)snprintf(what, sizeof(what), SHAPE, to->names[0]);
    return complain(to, what, "");
}

static int complain_of_name(const struct complaint *to, const char *word)
{
    char what[160] = "expected";
    for (const char *const *name = to->names; *name; name++)
        (void)snprintf(what + strlen(what), sizeof(what) - strlen(what), "%s %s=",
                       name == to->names ? ""
                       : name[1]         ? ","
                                         : " or",
                       *name);
    (void)snprintf(what + strlen(what), sizeof(what) - strlen(what), " and KiB/s");
    return complain(to, what, word);
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
    return entry->days ? 0 : complain_of_shape(to);
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
    for (unsigned i = 0; to->names[i]; i++) {
        char *end;
        if (!len || strlen(to->names[i]) != len || strncmp(word, to->names[i], len))
            continue;
        unsigned long long kib = strtoull(equals + 1, &end, 10);
        if (equals[1] < '0' || equals[1] > '9' || *end || kib > RATE_MOST / KIB)
            return complain(to, "expected a whole number of KiB/s up to 67108864", word);
        entry->rate[i] = kib * KIB;
        entry->named |= (uint8_t)(1u << i);
        return 0;
    }
    return complain_of_name(to, word);
}

static int parse(char *copy, struct schedule_entry *entry, const struct complaint *to)
{
    char *rest = NULL;
    char *days = strtok_r(copy, " ", &rest), *span = strtok_r(NULL, " ", &rest);
    int rc = days && span ? 0 : complain_of_shape(to);
    if (rc == 0)
        rc = parse_days(days, entry, to);
    if (rc == 0)
        rc = parse_span(span, entry, to);
    for (char *word; rc == 0 && (word = strtok_r(NULL, " ", &rest));)
        rc = parse_rate(word, entry, to);
    return rc == 0 && !entry->named ? complain_of_shape(to) : rc;
}

int schedule_add(struct schedule *schedule, const char *const *names, const char *text,
                 char *message, size_t cap)
{
    struct schedule_entry entry = {0};
    struct complaint to = {names, text, message, cap};
    char copy[TEXT_MAX];

    if (schedule->count >= SCHEDULE_MAX)
        return complain(&to, "expected 32 entries at most", "");
    if (strlen(text) >= sizeof(copy))
        return complain_of_shape(&to);
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

void schedule_rates(const struct schedule *schedule, struct schedule_time time, uint64_t *rates)
{
    const struct schedule_entry *entry = schedule->entry;

    while (entry < schedule->entry + schedule->count && !fits(entry, time))
        entry++;
    if (entry == schedule->entry + schedule->count)
        return;
    for (unsigned i = 0; i < SCHEDULE_RATES; i++) {
        if (entry->named >> i & 1)
            rates[i] = entry->rate[i];
    }
}
