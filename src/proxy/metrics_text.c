#include "proxy/metrics_text.h"

#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "proxy/worker.h"

#define PREFIX "fairlead_proxy_"

/* Every value without labels. */
static const struct {
    const char *name;
    const char *type;
    const char *help;
    size_t at; /* into struct metrics_view: a uint64_t */
} singles[] = {
#define VIEW(field) offsetof(struct metrics_view, field)
#define COUNTED(id) offsetof(struct metrics_view, counters.value[COUNTER_##id])
#define GAUGED(id)  offsetof(struct metrics_view, metrics.gauge[GAUGE_##id])
    {"endpoints", "gauge", "registered control legs", VIEW(endpoints)},
    {"sessions", "gauge", "sessions whose two sides are joined", VIEW(sessions)},
    {"strangers", "gauge", "connections that have proved nothing", VIEW(strangers)},
    {"agents", "gauge", "agents with legs or sessions, Syncthing devices with sessions",
     VIEW(agents)},
    {"bytes_per_second", "gauge", "session bytes forwarded a second, over the last 5 s",
     VIEW(rate)},
    {"connections_total", "counter", "connections taken from a listener", COUNTED(ACCEPTED)},
    {"expected_total", "counter", "of them taken for a data leg that was due, which goes first",
     COUNTED(EXPECTED)},
    {"proofs_total", "counter", "identity proofs accepted", COUNTED(AUTHENTICATED)},
    {"registrations_total", "counter", "control legs registered", COUNTED(REGISTERED)},
    {"connects_total", "counter", "CONNECT frames", COUNTED(CONNECTS)},
    {"sessions_total", "counter", "sessions whose two sides joined", COUNTED(SESSIONS)},
    {"meetings_asked_total", "counter", "of the CONNECT frames, those for a meeting",
     COUNTED(MEETINGS_ASKED)},
    {"meetings_total", "counter", "meetings at which both agents were told where the other is",
     COUNTED(MEETINGS)},
    {"legs_moved_total", "counter", "legs moved to the worker of their partner", COUNTED(MOVED)},
    {"bytes_total", "counter", "session bytes forwarded, both ways", COUNTED(BYTES)},
    {"spliced_bytes_total", "counter", "of them within the kernel", COUNTED(SPLICED)},
    {"raw_copied_bytes_total", "counter",
     "of them raw and yet copied: small pieces, or no pipe was to be had", COUNTED(RAW_COPIED)},
    {"refused_total", "counter", "peers and requests turned away", VIEW(refused)},
    {"pipes_used", "gauge", "pipes that hold bytes of a session", GAUGED(PIPES_USED)},
    {"pipes_kept", "gauge", "empty pipes kept for the next burst", GAUGED(PIPES_KEPT)},
    {"pipes_failed_total", "counter", "times that no pipe could be had", GAUGED(PIPES_FAILED)},
    {"buffers_used", "gauge", "frame buffers that hold bytes of a session", GAUGED(BUFFERS_USED)},
    {"quic_connections", "gauge", "QUIC connections, each with the legs of one endpoint",
     GAUGED(QUIC_CONNECTIONS)},
    {"quic_handshakes", "gauge", "of them, not finished", GAUGED(QUIC_HANDSHAKES)},
    {"quic_refused_total", "counter", "QUIC handshakes that failed or were one too many",
     GAUGED(QUIC_REFUSED)},
    {"quic_crowded_total", "counter",
     "QUIC newcomers whose address or network had too many unfinished handshakes",
     GAUGED(QUIC_CROWDED)},
    {"quic_retries_total", "counter", "newcomers asked to show where they are, under load",
     GAUGED(QUIC_RETRIES)},
    {"quic_resets_total", "counter", "stateless resets sent", GAUGED(QUIC_RESETS)},
    {"quic_dropped_total", "counter", "datagrams that led to nothing", GAUGED(QUIC_DROPPED)},
    {"quic_guarded_total", "counter", "connections ended for a flood of control frames",
     GAUGED(QUIC_GUARDED)},
    {"udp_receive_buffer_bytes", "gauge", "granted to the UDP sockets, the least of all",
     GAUGED(UDP_BUFFER)},
    {"memory_bytes", "gauge", "resident memory", VIEW(memory)},
    {"descriptors", "gauge", "open descriptors", VIEW(descriptors)},
    {"descriptors_limit", "gauge", "descriptors that may be open", VIEW(descriptors_most)},
    {"sandbox_refused_total", "counter", "unlisted system calls that were refused",
     VIEW(sandbox_denied)},
    {"settings_version", "gauge", "version of the console's settings in effect, 0: the file's",
     VIEW(settings)},
    {"draining", "gauge", "1 while the proxy takes no new work", VIEW(draining)},
    {"uptime_seconds", "gauge", "since the start", VIEW(uptime)},
    {"identity_expires_seconds", "gauge", "end of the own certificate, since 1970",
     VIEW(identity_expires)},
    {"tls_expires_seconds", "gauge", "end of the certificate that the port shows, since 1970",
     VIEW(tls_expires)},
};

static const struct {
    const char *name;
    const char *help;
    double unit; /* what a value is divided by */
} histograms[HISTOGRAM_COUNT] = {
    [HISTOGRAM_HANDSHAKE] = {"handshake_seconds", "accept to encrypted", 1e6},
    [HISTOGRAM_LOOP_LAG] = {"loop_lag_seconds", "how late a worker was", 1e6},
    [HISTOGRAM_SESSION_TIME] = {"session_seconds", "length of ended sessions", 1e6},
    [HISTOGRAM_SESSION_BYTES] = {"session_bytes", "bytes of ended sessions, both ways", 1},
    [HISTOGRAM_BUFFER_SEND] = {"send_buffer_bytes", "socket buffer granted, at a session's end", 1},
    [HISTOGRAM_BUFFER_RECEIVE] = {"receive_buffer_bytes",
                                  "socket buffer granted, at a session's end", 1},
};

static uint64_t single(const struct metrics_view *view, size_t i)
{
    uint64_t value;

    memcpy(&value, (const char *)view + singles[i].at, sizeof(value));
    return value;
}

static void write_head(FILE *to, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void write_singles(FILE *to, const struct metrics_view *view)
{
    for (size_t i = 0; i < ARRAY_SIZE(singles); i++) {
        write_head(to, singles[i].name, singles[i].type, singles[i].help);
        fprintf(to, PREFIX "%s %" PRIu64 "\n", singles[i].name, single(view, i));
    }
}

static void write_reasons(FILE *to, const char *name, const char *help, const uint64_t *counts)
{
    write_head(to, name, "counter", help);
    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++)
        fprintf(to, PREFIX "%s{reason=\"%s\"} %" PRIu64 "\n", name, close_reason_name(i),
                counts[i]);
}

/* @label: empty, or one label with a comma after it. */
static void write_buckets(FILE *to, unsigned which, const char *label, const uint64_t *bucket,
                          uint64_t sum)
{
    const uint64_t *bound = metrics_bounds(which);
    const char *name = histograms[which].name;
    int bare = (int)strcspn(label, ",");
    uint64_t below = 0;
    unsigned i = 0;

    for (; bound[i]; i++) {
        below += bucket[i];
        fprintf(to, PREFIX "%s_bucket{%sle=\"%.10g\"} %" PRIu64 "\n", name, label,
                (double)bound[i] / histograms[which].unit, below);
    }
    below += bucket[i];
    fprintf(to, PREFIX "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, below);
    fprintf(to, PREFIX "%s_sum%s%.*s%s %.10g\n", name, bare ? "{" : "", bare, label,
            bare ? "}" : "", (double)sum / histograms[which].unit);
    fprintf(to, PREFIX "%s_count%s%.*s%s %" PRIu64 "\n", name, bare ? "{" : "", bare, label,
            bare ? "}" : "", below);
}

/* By worker: one that is late is late alone. */
static void write_lags(FILE *to, const struct proxy *proxy)
{
    for (unsigned i = 0; i < proxy->count; i++) {
        struct metrics_total one = {0};
        char label[32];
        metrics_add(&proxy->workers[i]->metrics, &one);
        (void)snprintf(label, sizeof(label), "worker=\"%u\",", i);
        write_buckets(to, HISTOGRAM_LOOP_LAG, label, one.bucket[HISTOGRAM_LOOP_LAG],
                      one.sum[HISTOGRAM_LOOP_LAG]);
    }
}

static void write_histograms(FILE *to, const struct metrics_view *view)
{
    for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
        write_head(to, histograms[i].name, "histogram", histograms[i].help);
        if (i == HISTOGRAM_LOOP_LAG && view->proxy)
            write_lags(to, view->proxy);
        else
            write_buckets(to, i, "", view->metrics.bucket[i], view->metrics.sum[i]);
    }
}

char *metrics_text(const struct metrics_view *view, size_t *ret_len)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, ret_len);

    if (!to)
        return NULL;
    write_head(to, "build_info", "gauge", "versions, as labels");
    fprintf(to, PREFIX "build_info{version=\"%s\",gnutls=\"%s\"} 1\n", FAIRLEAD_VERSION,
            gnutls_check_version(NULL));
    write_singles(to, view);
    write_reasons(to, "legs_ended_total", "ends of legs by reason", view->counters.ends);
    write_reasons(to, "connects_rejected_total", "CONNECT frames rejected, by reason",
                  view->counters.rejects);
    write_histograms(to, view);
    bool bad = ferror(to) != 0;
    if (fclose(to) || bad) {
        free(text);
        return NULL;
    }
    return text;
}

static json_t *json_reasons(const uint64_t *counts)
{
    json_t *object = json_object();

    for (uint32_t i = 0; i < CLOSE_REASON_COUNT; i++) {
        if (counts[i])
            (void)json_object_set_new(object, close_reason_name(i),
                                      json_integer((json_int_t)counts[i]));
    }
    return object;
}

char *metrics_json(const struct metrics_view *view, size_t *ret_len)
{
    json_t *object = json_object();

    (void)json_object_set_new(object, "version", json_string(FAIRLEAD_VERSION));
    for (size_t i = 0; i < ARRAY_SIZE(singles); i++)
        (void)json_object_set_new(object, singles[i].name,
                                  json_integer((json_int_t)single(view, i)));
    (void)json_object_set_new(object, "legs_ended", json_reasons(view->counters.ends));
    (void)json_object_set_new(object, "connects_rejected", json_reasons(view->counters.rejects));
    char *text = json_dumps(object, JSON_INDENT(2));
    json_decref(object);
    *ret_len = text ? strlen(text) : 0;
    return text;
}
