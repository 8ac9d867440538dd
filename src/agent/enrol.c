/* WAITING --time--> DIALLING --opened--> ASKING --ISSUED--> done
 *    ^                 |                    |
 *    '---- failed -----+-- PENDING, lost ---'   REFUSED, token expired: done with a message */
#include "agent/enrol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/console_way.h"
#include "agent/credentials.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "identity/token.h"
#include "tunnel/endpoint_uv.h"

#define TICK_MS     100
#define RETRY_MAX   (30 * CLOCK_SEC)
#define ANSWER_TIME (30 * CLOCK_SEC)
#define PENDING_MIN 1 /* seconds between two questions, whatever the console says */
#define PENDING_MAX 600

enum enrol_state { ENROL_WAITING, ENROL_DIALLING, ENROL_ASKING, ENROL_OVER };

static const struct state_def enrol_defs[] = {
    [ENROL_WAITING] = {"waiting",
                       STATE_BIT(ENROL_DIALLING) | STATE_BIT(ENROL_WAITING) | STATE_BIT(ENROL_OVER),
                       0},
    [ENROL_DIALLING] = {"dialling",
                        STATE_BIT(ENROL_WAITING) | STATE_BIT(ENROL_ASKING) | STATE_BIT(ENROL_OVER),
                        0},
    [ENROL_ASKING] = {"asking", STATE_BIT(ENROL_WAITING) | STATE_BIT(ENROL_OVER), 30000},
    [ENROL_OVER] = {"over", 0, 0},
};
static const struct state_table enrol_states = {
    .machine = "enrol", .defs = enrol_defs, .count = ARRAY_SIZE(enrol_defs)};

struct enrol {
    const struct agent_config *config; /* not owned */
    const struct state_dir *dir;       /* not owned */
    struct identity *token;            /* a reference */
    enrol_done *done;
    void *ctx;
    struct endpoint_uv *net; /* owned; with the token's identity */
    struct dial *dial;       /* while DIALLING */
    struct tunnel *tunnel;   /* while ASKING */
    uv_timer_t timer;
    unsigned state; /* enum enrol_state */
    unsigned attempt;
    uint64_t next_try; /* while WAITING */
    uint64_t deadline; /* while ASKING */
    bool pending;      /* the console has said so: said once in the log */
};

/* ---- the token ---- */

static int token_failed(int error, char *message, size_t cap)
{
    const char *why = "bootstrap_token: it is damaged: copy it again, or make a new one with "
                      "`fairlead agent config`";

    if (error == -FL_ECA)
        why = "cert_authority_fingerprint: bootstrap_token is from another authority than this "
              "fingerprint names";
    else if (error == -FL_EROLE)
        why = "bootstrap_token: this is not a token for enrolling an agent";
    (void)snprintf(message, cap, "%s", why);
    return -FL_ECONFIG;
}

static int token_time(const struct identity *token, int64_t now, char *message, size_t cap)
{
    char start[CREDENTIALS_DATE], end[CREDENTIALS_DATE], here[CREDENTIALS_DATE];

    credentials_date(identity_starts(token), start);
    credentials_date(identity_expires(token), end);
    credentials_date(now, here);
    if (now < identity_starts(token))
        (void)snprintf(message, cap,
                       "bootstrap_token is valid from %s, but this machine's clock says %s: set "
                       "this clock, or the console's",
                       start, here);
    else if (now > identity_expires(token))
        (void)snprintf(message, cap,
                       "bootstrap_token expired on %s and this machine's clock says %s: make a new "
                       "one with `fairlead agent config`, or set the clock right",
                       end, here);
    else
        return 0;
    return -FL_EEXPIRED;
}

int enrol_token(const struct agent_config *config, int64_t now, struct identity **ret_token,
                char *message, size_t cap)
{
    struct identity *token;
    int error;

    if (!config->token) {
        (void)snprintf(message, cap,
                       "this agent is not enrolled yet and management_server has no "
                       "bootstrap_token: make one with `fairlead agent config`");
        return -FL_ECONFIG;
    }
    error = token_open(config->token, config->fingerprint, &token);
    if (error)
        return token_failed(error, message, cap);
    error = token_time(token, now, message, cap);
    if (error)
        identity_unref(token);
    else
        *ret_token = token;
    return error;
}

/* ---- ends ---- */

static void timer_closed(uv_handle_t *handle)
{
    struct enrol *enrol = handle->data;

    identity_unref(enrol->token);
    free(enrol);
}

static void stop(struct enrol *enrol)
{
    state_move(&enrol_states, &enrol->state, ENROL_OVER);
    if (enrol->dial)
        dial_cancel(take_ptr(enrol->dial));
    if (enrol->tunnel)
        tunnel_close(take_ptr(enrol->tunnel), TUNNEL_CLOSE_DONE, NULL);
    endpoint_uv_close(enrol->net);
    uv_close((uv_handle_t *)&enrol->timer, timer_closed);
}

void enrol_cancel(struct enrol *enrol)
{
    if (enrol)
        stop(enrol);
}

static void finish(struct enrol *enrol, struct identity *identity, const char *message)
{
    enrol_done *done = enrol->done;
    void *ctx = enrol->ctx;

    stop(enrol);
    done(ctx, identity, message);
}

static void wait_for(struct enrol *enrol, uint64_t delay)
{
    enrol->next_try = clock_now() + delay;
    state_move(&enrol_states, &enrol->state, ENROL_WAITING);
}

/* ---- asking ---- */

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct enrol *enrol = ctx;
    _cleanup_free_ char *key = NULL;
    fl_EnrolRequest request = fl_EnrolRequest_init_zero;
    size_t len = 0;
    char line[280];
    int error = credentials_key(enrol->dir, &key);

    enrol->dial = NULL;
    enrol->tunnel = tunnel;
    enrol->deadline = clock_now() + ANSWER_TIME;
    state_move(&enrol_states, &enrol->state, ENROL_ASKING);
    if (!error)
        error = identity_request(key, request.csr.bytes, sizeof(request.csr.bytes), &len);
    request.csr.size = (pb_size_t)len;
    (void)snprintf(request.device_name, sizeof(request.device_name), "%s",
                   enrol->config->device_name);
    (void)snprintf(request.software, sizeof(request.software), "fairlead-agent %s",
                   FAIRLEAD_VERSION);
    for (size_t i = 0; i < enrol->config->tags.count; i++)
        (void)snprintf(request.tags[request.tags_count++], sizeof(request.tags[0]), "%s",
                       enrol->config->tags.item[i]);
    if (!error)
        error = tunnel_send_message(tunnel, FRAME_ENROL_REQUEST, fl_EnrolRequest_fields, &request);
    if (!error)
        return;
    (void)snprintf(line, sizeof(line), "%s: no request for a certificate can be made: %s",
                   enrol->dir->path, error_text(error));
    finish(enrol, NULL, line);
}

static int issued(struct enrol *enrol, const fl_EnrolReply *reply)
{
    struct identity *identity;
    /* The authority is the token's, which the fingerprint pins; what the reply says of it does not
     * count. */
    int error = credentials_check(enrol->dir, trust_ca(identity_trust(enrol->token)),
                                  reply->certificate.bytes, reply->certificate.size, &identity);

    if (error) {
        log_error("enrolment: the certificate is not usable", LF_ERR(error));
        return error;
    }
    error = credentials_store(enrol->dir, identity);
    if (error) {
        char line[160];

        (void)snprintf(line, sizeof(line), "%s: the certificate cannot be stored: %s",
                       enrol->dir->path, error_text(error));
        identity_unref(identity);
        finish(enrol, NULL, line);
        return 0;
    }
    log_info("enrolled", LF_ID("agent", &identity_party(identity)->id),
             LF_STR("path", tunnel_via(enrol->tunnel)));
    finish(enrol, identity, NULL);
    return 0;
}

static int pending(struct enrol *enrol, const fl_EnrolReply *reply)
{
    uint64_t retry = reply->retry < PENDING_MIN   ? PENDING_MIN
                     : reply->retry > PENDING_MAX ? PENDING_MAX
                                                  : reply->retry;

    if (!enrol->pending)
        log_info("enrolment: an administrator has to approve this agent",
                 LF_STR("device_name", enrol->config->device_name), LF_STR("text", reply->text),
                 LF_U64("retry_seconds", retry));
    enrol->pending = true;
    tunnel_close(take_ptr(enrol->tunnel), TUNNEL_CLOSE_DONE, NULL);
    wait_for(enrol, retry * CLOCK_SEC);
    return 0;
}

static int refused(struct enrol *enrol, const fl_EnrolReply *reply)
{
    char shown[200], line[280];

    (void)snprintf(line, sizeof(line), "the console refused to enrol this agent: %s",
                   log_escape(shown, sizeof(shown), reply->text, strlen(reply->text)));
    finish(enrol, NULL, line);
    return 0;
}

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    struct enrol *enrol = ctx;
    fl_EnrolReply reply;
    int error;

    (void)tunnel;
    if (frame->type != FRAME_ENROL_REPLY)
        return 0;
    error = message_decode(fl_EnrolReply_fields, frame, &reply);
    if (error)
        return error;
    if (reply.status == fl_EnrolStatus_ENROL_ISSUED)
        return issued(enrol, &reply);
    if (reply.status == fl_EnrolStatus_ENROL_PENDING)
        return pending(enrol, &reply);
    return reply.status == fl_EnrolStatus_ENROL_REFUSED ? refused(enrol, &reply) : -FL_EMESSAGE;
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
    (void)ctx, (void)tunnel;
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct enrol *enrol = ctx;

    (void)tunnel;
    enrol->dial = NULL;
    enrol->tunnel = NULL;
    if (why == TUNNEL_CLOSE_DENIED) {
        finish(enrol, NULL,
               "bootstrap_token is revoked: make a new one with `fairlead agent config`");
        return;
    }
    log_warn("enrolment: no way to the console, trying again",
             LF_STR("reason", tunnel_close_text(why)), LF_STR("text", text),
             LF_U64("attempt", enrol->attempt + 1));
    wait_for(enrol, clock_backoff(enrol->attempt++, RETRY_MAX));
}

static const struct tunnel_ops tunnel_ops = {on_opened, on_message, on_writable, on_closed};

static void dial(struct enrol *enrol)
{
    int error;

    state_move(&enrol_states, &enrol->state, ENROL_DIALLING);
    error =
        console_way_dial(endpoint_uv_core(enrol->net), enrol->config, identity_trust(enrol->token),
                         fl_Purpose_PURPOSE_ENROL, NULL, &tunnel_ops, enrol, &enrol->dial);
    if (!error)
        return;
    enrol->dial = NULL;
    log_error("enrolment: cannot dial", LF_ERR(error));
    wait_for(enrol, clock_backoff(enrol->attempt++, RETRY_MAX));
}

static void on_tick(uv_timer_t *timer)
{
    struct enrol *enrol = timer->data;
    uint64_t now = clock_now();
    char line[280];

    if (enrol->state == ENROL_ASKING && now >= enrol->deadline) {
        tunnel_close(take_ptr(enrol->tunnel), TUNNEL_CLOSE_TIMEOUT, NULL);
        log_warn("enrolment: the console did not answer, trying again");
        wait_for(enrol, clock_backoff(enrol->attempt++, RETRY_MAX));
    }
    if (enrol->state != ENROL_WAITING || now < enrol->next_try)
        return;
    if (token_time(enrol->token, clock_wall(), line, sizeof(line)))
        finish(enrol, NULL, line);
    else
        dial(enrol);
}

/* ---- the network of the token's identity ---- */

static enum tunnel_close on_incoming(void *ctx, struct endpoint_incoming *in)
{
    (void)ctx, (void)in;
    return TUNNEL_CLOSE_UNKNOWN_FLOW;
}

static void on_proxy(void *ctx, const struct endpoint_proxy_info *info)
{
    struct enrol *enrol = ctx;

    console_way_log_proxy(info);
    if (info->state == PROXY_REGISTERED && enrol->state == ENROL_WAITING && !enrol->pending)
        enrol->next_try = 0;
}

static const struct endpoint_ops endpoint_ops = {on_incoming, on_proxy, NULL};

int enrol_new(uv_loop_t *loop, const struct agent_config *config, const struct state_dir *dir,
              struct identity *token, enrol_done *done, void *ctx, struct enrol **ret_enrol)
{
    struct enrol *enrol = calloc(1, sizeof(*enrol));
    int error;

    if (!enrol)
        return -ENOMEM;
    enrol->config = config;
    enrol->dir = dir;
    enrol->done = done;
    enrol->ctx = ctx;
    error = endpoint_uv_new(loop, token, &endpoint_ops, enrol, &enrol->net);
    if (error) {
        free(enrol);
        return error;
    }
    console_way_set_net(enrol->net, config);
    enrol->token = identity_ref(token);
    (void)uv_timer_init(loop, &enrol->timer);
    enrol->timer.data = enrol;
    (void)uv_timer_start(&enrol->timer, on_tick, 0, TICK_MS);
    error = console_way_set_proxies(endpoint_uv_core(enrol->net), config, NULL, &config->prefer);
    if (error)
        log_error("enrolment: the proxies cannot be used", LF_ERR(error));
    /* A proxy that is there makes the first dial at once; without any there is nothing to wait for.
     */
    enrol->next_try =
        config->proxies.count && !config->host && !config->mc_address ? clock_now() + CLOCK_SEC : 0;
    *ret_enrol = enrol;
    return 0;
}
