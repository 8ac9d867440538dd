#include "proxy/reload.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

#define DATE_MAX 32

static const char *date(int64_t at, char buf[static DATE_MAX])
{
    time_t seconds = (time_t)at;
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(buf, DATE_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
        buf[0] = '\0';
    return buf;
}

static void log_reloaded(const struct identity *identity, const struct web *web)
{
    char own[DATE_MAX], shown[DATE_MAX];
    int64_t now = clock_wall();

    log_info("certificates reloaded",
             LF_STR("identity_expires", date(identity_expires(identity), own)),
             LF_STR("tls_expires", date(web_expires(web), shown)));
    if (identity_expires(identity) < now || web_expires(web) < now)
        log_warn("a reloaded certificate has expired already");
}

static int renew(struct reload *reload, struct identity *identity)
{
    const char *pem = loader_text(&reload->loader, LOADER_TLS);
    struct web *web;
    int rc = web_new(pem, strlen(pem), &web);

    if (rc)
        return rc;
    rc = credentials_renew(&reload->proxy->credentials, identity, web);
    if (rc == 0)
        log_reloaded(identity, web);
    web_unref(web);
    return rc;
}

static int apply(struct reload *reload)
{
    const char *own = loader_text(&reload->loader, LOADER_IDENTITY);
    const char *ca = loader_text(&reload->loader, LOADER_CA);
    struct identity *identity;
    int rc = identity_new(own, own, strlen(own), ca, strlen(ca), &identity);

    if (rc)
        return rc;
    rc = renew(reload, identity);
    identity_unref(identity);
    return rc;
}

static void take_answer(struct reload *reload)
{
    const struct loader *loader = &reload->loader;
    int rc;

    if (!loader->head.ok) {
        log_error("not reloaded, nothing has changed",
                  LF_STR("why", loader_text(loader, LOADER_MESSAGE)));
        return;
    }
    rc = apply(reload);
    if (rc)
        log_error("not reloaded, nothing has changed", LF_ERR(rc));
}

static void ask(struct reload *reload)
{
    int rc = loader_ask(&reload->loader);

    reload->busy = rc == 0;
    if (rc)
        log_error("cannot reload: the loader has ended; a restart helps");
}

static void on_hup(uv_signal_t *handle, int number)
{
    struct reload *reload = handle->data;

    if (reload->busy)
        reload->again = true;
    else
        ask(reload);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct reload *reload = handle->data;
    int rc = status < 0 ? status : loader_receive(&reload->loader);

    if (rc == -EAGAIN)
        return;
    reload->busy = false;
    if (rc) {
        log_error("the loader has ended; certificates are not reloaded until a restart",
                  LF_ERR(rc));
        (void)uv_poll_stop(handle);
        return;
    }
    take_answer(reload);
    loader_forget(&reload->loader);
    if (reload->again)
        ask(reload);
    reload->again = false;
}

int reload_start(struct reload *reload, struct proxy *proxy, const char *config, bool unsafe)
{
    *reload = (struct reload){.proxy = proxy};
    return loader_start(&reload->loader, config, unsafe);
}

int reload_watch(struct reload *reload, uv_loop_t *loop)
{
    int rc = uv_poll_init(loop, &reload->readable, reload->loader.fd);

    if (rc)
        return rc;
    (void)uv_signal_init(loop, &reload->hup);
    reload->readable.data = reload->hup.data = reload;
    rc = uv_poll_start(&reload->readable, UV_READABLE, on_readable);
    return rc ? rc : uv_signal_start(&reload->hup, on_hup, SIGHUP);
}

void reload_stop(struct reload *reload)
{
    if (reload->loader.pid == 0) /* never started */
        return;
    loader_stop(&reload->loader);
}
