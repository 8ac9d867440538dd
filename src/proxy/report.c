#include "proxy/report.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "proxy/reconfig.h"
#include "proxy/statm.h"

#define FIELDS_MAX (COUNTER_COUNT + 2 * CLOSE_REASON_COUNT + 9)
#define FIELD_NAME 40

/* Of all threads, in user and kernel mode; getrusage(2). Nothing for one that is no process of its
 * own, as in the simulator, whose runs are all to be alike. */
static uint64_t processor_time(const struct proxy *proxy)
{
    struct rusage used;

    if (proxy->statm < 0 || getrusage(RUSAGE_SELF, &used))
        return 0;
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * CLOCK_SEC +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

uint64_t report_memory(const struct proxy *proxy)
{
    return statm_read(proxy->statm).resident;
}

static void fill_reasons(const struct counters_total *total, fl_Report *report)
{
    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        uint64_t count = total->ends[i] + total->rejects[i];
        if (count && report->reasons_count < ARRAY_SIZE(report->reasons))
            report->reasons[report->reasons_count++] = (fl_ReasonCount){.code = i, .count = count};
    }
}

static void fill_config(const struct proxy *proxy, fl_Report *report)
{
    fl_ConfigResult result;

    if (!proxy->reconfig)
        return;
    reconfig_result(proxy->reconfig, &result);
    report->config_version = result.version;
    report->config_state = result.state;
    (void)snprintf(report->config_error, sizeof(report->config_error), "%s", result.error);
}

void report_fill(const struct proxy *proxy, uint64_t now, fl_Report *ret_report)
{
    struct counters_total total;
    proxy_total(proxy, &total);
    *ret_report = (fl_Report){
        .endpoints = (uint32_t)registry_count(proxy->registry),
        .sessions = (uint32_t)pair_live(proxy->pair),
        .sessions_total = total.value[COUNTER_SESSIONS],
        .bytes = total.value[COUNTER_BYTES],
        .refused = counters_refused(&total),
        .uptime = clock_since(now, proxy->started) / CLOCK_SEC,
        .memory = report_memory(proxy),
        .accepted = total.value[COUNTER_ACCEPTED],
        .cpu = processor_time(proxy),
        .software = "fairlead " FAIRLEAD_VERSION,
    };
    fill_reasons(&total, ret_report);
    fill_config(proxy, ret_report);
}

/* A record under construction: the names of fields must live until it is written. */
struct record {
    struct log_field field[FIELDS_MAX];
    char name[FIELDS_MAX][FIELD_NAME];
    unsigned count;
};

static void record_add(struct record *record, const char *prefix, const char *name, uint64_t value)
{
    if (record->count + 1 >= FIELDS_MAX)
        return;
    char *key = record->name[record->count];
    (void)snprintf(key, FIELD_NAME, "%s%s", prefix, name);
    for (char *c = key; *c; c++)
        *c = *c == '-' ? '_' : *c;
    record->field[record->count++] = LF_U64(key, value);
}

static void record_reasons(struct record *record, const char *prefix, const uint64_t *counts)
{
    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        if (counts[i])
            record_add(record, prefix, close_reason_name(i), counts[i]);
    }
}

void report_log(const struct proxy *proxy, uint64_t now)
{
    struct record record = {.count = 0};
    struct counters_total total;

    proxy_total(proxy, &total);
    record_add(&record, "", "uptime", clock_since(now, proxy->started) / CLOCK_SEC);
    record_add(&record, "", "memory", report_memory(proxy));
    record_add(&record, "", "cpu_micros", processor_time(proxy));
    record_add(&record, "", "strangers", door_count(proxy->door));
    record_add(&record, "", "endpoints", registry_count(proxy->registry));
    record_add(&record, "", "sessions", pair_live(proxy->pair));
    record_add(&record, "", "refused", counters_refused(&total));
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        record_add(&record, "", counters_name(i), total.value[i]);
    record_reasons(&record, "end_", total.ends);
    record_reasons(&record, "reject_", total.rejects);
    record.field[record.count] = LF_END;
    log_emit(LOG_INFO, "counters", record.field);
}
