#include "proxy/syncthing/st_status.h"

#include <jansson.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "proxy/syncthing/st_conn.h"

#define PING_SECONDS    ST_PING_SECONDS
#define TIMEOUT_SECONDS ST_SILENT_SECONDS
#define MESSAGE_SECONDS 20 /* for a first message; ST_ASK of st_conn.c */

void st_rates_sample(struct st_rates *rates, uint64_t bytes, uint64_t now)
{
    if (now < rates->next)
        return;
    rates->next = now + ST_STATUS_STEP * CLOCK_SEC;
    rates->newest = (rates->newest + 1) % ST_STATUS_SAMPLES;
    rates->bytes[rates->newest] = bytes;
}

uint64_t st_rates_kbps(const struct st_rates *rates, unsigned seconds)
{
    unsigned steps = seconds / ST_STATUS_STEP;
    unsigned oldest = (rates->newest + ST_STATUS_SAMPLES - steps) % ST_STATUS_SAMPLES;
    uint64_t bytes = rates->bytes[rates->newest] - rates->bytes[oldest];
    return bytes * 8 / 1000 / (steps * ST_STATUS_STEP);
}

static json_t *kbps(const struct st_rates *rates)
{
    static const unsigned windows[] = {10, 60, 300, 900, 1800, 3600};
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(windows); i++)
        (void)json_array_append_new(list,
                                    json_integer((json_int_t)st_rates_kbps(rates, windows[i])));
    return list;
}

static json_t *options(const struct st_numbers *numbers)
{
    return json_pack("{s:i, s:i, s:i, s:I, s:I, s:[], s:s}", "network-timeout", TIMEOUT_SECONDS,
                     "ping-interval", PING_SECONDS, "message-timeout", MESSAGE_SECONDS,
                     "per-session-rate", (json_int_t)numbers->session_rate, "global-rate",
                     (json_int_t)numbers->proxy_rate, "pools", "provided-by", "");
}

/* What begins with "go" and "build" is about another program; readers want it to be there. */
static json_t *document(const struct st_numbers *numbers, const struct st_rates *rates)
{
    char started[32] = "";
    time_t when = (time_t)numbers->started;
    struct tm tm;

    if (gmtime_r(&when, &tm))
        (void)strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:i, s:i, s:o, "
        "s:o}",
        "version", "fairlead " FAIRLEAD_VERSION, "buildHost", "", "buildUser", "", "buildDate", "",
        "startTime", started, "uptimeSeconds", (json_int_t)numbers->uptime, "numPendingSessionKeys",
        (json_int_t)numbers->pending * 2, "numActiveSessions", (json_int_t)numbers->sessions,
        "numConnections", (json_int_t)numbers->connections, "numProxies",
        (json_int_t)numbers->sessions * 2, "bytesProxied", (json_int_t)numbers->bytes, "goVersion",
        "none", "goOS", "linux", "goArch", "none", "goMaxProcs", (int)numbers->workers,
        "goNumRoutine", (int)numbers->workers, "kbps10s1m5m15m30m60m", kbps(rates), "options",
        options(numbers));
}

char *st_status_json(const struct st_numbers *numbers, const struct st_rates *rates)
{
    json_t *made = document(numbers, rates);
    char *text = made ? json_dumps(made, JSON_INDENT(4) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(made);
    return text;
}
