#include "proxy/watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "proxy/metrics_text.h"
#include "proxy/report.h"
#include "proxy/sandbox.h"
#include "proxy/worker.h"

#define RATE_MS 5000

/* Entries of /proc/self/fd, which was opened at start: getdents64(2), since readdir(3) would open.
 * "." and ".." are two of them. */
static uint64_t count_descriptors(int fd)
{
    static _Alignas(8) char buf[32768];
    uint64_t count = 0;
    long n;

    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return 0;
    while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n; count++) {
            unsigned short size; /* d_reclen follows two 64-bit fields */
            memcpy(&size, buf + at + 16, sizeof(size));
            at += size;
        }
    }
    return count > 2 ? count - 2 : 0;
}

static void view_credentials(struct proxy *proxy, struct metrics_view *view)
{
    struct identity *identity = credentials_identity(&proxy->credentials);
    struct web *web = credentials_web(&proxy->credentials);

    view->identity_expires = (uint64_t)identity_expires(identity);
    view->tls_expires = web ? (uint64_t)web_expires(web) : 0;
    identity_unref(identity);
    web_unref(web);
}

static void take_view(const struct watch *watch, struct metrics_view *view)
{
    struct proxy *proxy = watch->proxy;
    struct proxy_settings settings;
    int call;

    *view = (struct metrics_view){.proxy = proxy, .rate = watch->rate};
    proxy_total(proxy, &view->counters);
    for (unsigned i = 0; i < proxy->count; i++)
        metrics_add(&proxy->workers[i]->metrics, &view->metrics);
    view->endpoints = registry_count(proxy->registry);
    view->sessions = pair_live(proxy->pair);
    view->strangers = door_count(proxy->door);
    view->agents = accounts_count(proxy->accounts);
    view->memory = report_memory(proxy);
    view->descriptors = count_descriptors(watch->descriptors);
    view->descriptors_most = watch->descriptors_most;
    view->uptime = clock_since(clock_now(), proxy->started) / CLOCK_SEC;
    view->sandbox_denied = sandbox_denied(&call);
    proxy_settings_get(proxy, &settings);
    view->settings = settings.version;
    view->draining = drain_on(&proxy->drain);
    view->refused = counters_refused(&view->counters);
    view_credentials(proxy, view);
}

static char *give(char *text, size_t len, const char *type, struct http_answer *answer)
{
    answer->status = text ? 200 : 503;
    answer->type = text ? type : "text/plain; charset=utf-8";
    answer->body = text ? text : "";
    answer->len = text ? len : 0;
    return text;
}

static char *get_metrics(const struct watch *watch, struct http_answer *answer)
{
    struct metrics_view view;
    size_t len = 0;

    take_view(watch, &view);
    char *text = metrics_text(&view, &len);
    return give(text, len, "text/plain; version=0.0.4; charset=utf-8", answer);
}

static char *get_status(const struct watch *watch, struct http_answer *answer)
{
    struct metrics_view view;
    size_t len = 0;

    take_view(watch, &view);
    char *text = metrics_json(&view, &len);
    return give(text, len, "application/json", answer);
}

/* A proxy that drains is well, but nothing new should be sent there. */
static char *get_health(const struct watch *watch, struct http_answer *answer)
{
    bool draining = drain_on(&watch->proxy->drain);

    answer->status = draining ? 503 : 200;
    answer->body = draining ? "draining\n" : "ok\n";
    answer->len = strlen(answer->body);
    return NULL;
}

static char *on_get(void *ctx, const struct http_head *head, struct http_answer *answer)
{
    static const struct {
        const char *path;
        char *(*get)(const struct watch *watch, struct http_answer *answer);
    } paths[] = {{"/metrics", get_metrics}, {"/status", get_status}, {"/healthz", get_health}};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (http_head_is(head, paths[i].path))
            return paths[i].get(ctx, answer);
    }
    return NULL;
}

static void on_rate(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    struct counters_total total;
    uint64_t now = clock_now(), past = clock_since(now, watch->at);

    proxy_total(watch->proxy, &total);
    if (past > 0)
        watch->rate = (total.value[COUNTER_BYTES] - watch->bytes) * CLOCK_SEC / past;
    watch->bytes = total.value[COUNTER_BYTES];
    watch->at = now;
}

int watch_open(struct watch *watch, struct proxy *proxy, uv_loop_t *loop, const char *address,
               int fd)
{
    struct rlimit files = {0};
    int rc;

    *watch = (struct watch){.proxy = proxy, .at = clock_now(), .descriptors = -1};
    /* nobody is let in from elsewhere by leaving out a word */
    rc = http_plain_open(loop, &(struct http_plain_place){address, "127.0.0.1", fd}, on_get, watch,
                         &watch->plain);
    if (rc)
        return rc;
    watch->descriptors = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    watch->descriptors_most = files.rlim_cur;
    (void)uv_timer_init(loop, &watch->timer);
    watch->timer.data = watch;
    return uv_timer_start(&watch->timer, on_rate, RATE_MS, RATE_MS);
}

const char *watch_address(const struct watch *watch)
{
    return http_plain_address(watch->plain);
}

int watch_fd(const struct watch *watch)
{
    return http_plain_fd(watch->plain);
}

void watch_close(struct watch *watch)
{
    if (!watch->plain)
        return;
    http_plain_close(watch->plain);
    uv_close((uv_handle_t *)&watch->timer, NULL);
    if (watch->descriptors >= 0)
        (void)close(watch->descriptors);
    watch->plain = NULL;
}
