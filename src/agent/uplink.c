/* WAITING --time, or a proxy came--> DIALLING --opened--> GREETING --all told--> OPEN
 *    ^                                  |                    |                    |
 *    '------------- failed -------------+------ lost --------+--------------------'
 *
 * A dead tunnel shows by silence. After 4 s without a byte the console is asked for one; when none
 * comes for 3 s more a second dial looks for another way, beside the first tunnel: whichever of the
 * two gives a sign of life first is the one.
 *
 * GREETING: AGENT_HELLO and the list of flows (FLOW_HAVE) go out; OPEN: errors and reports follow.
 */
#include "agent/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <utlist.h>

#include "agent/browse.h"
#include "agent/console_way.h"
#include "agent/credentials.h"
#include "agent/silence.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "tunnel/endpoint_uv.h"

#define RETRY_MAX    (30 * CLOCK_SEC)
#define RETRY_DENIED (60 * CLOCK_SEC)
#define STEADY       (10 * CLOCK_SEC)   /* a tunnel that held so long was good: waits start over */
#define SILENT       (3 * CLOCK_SEC)    /* after a byte was asked for: look for another way */
#define ASLEEP       CLOCK_SEC          /* between two ticks: the silence was ours */
#define RENEW_AGAIN  (3600 * CLOCK_SEC) /* after a refused or unanswered renewal */
#define COUNTS_APART CLOCK_SEC          /* between two AGENT_COUNTS */
#define LOST_LONG                                                                                  \
    (60 * CLOCK_SEC)      /* without the console: the proxies of agent.json count again            \
                           */
#define DENIED_MAX  65536 /* ids held */
#define CLOCK_WORRY 300   /* seconds between the clocks that are worth a warning */

#define SETTING_PROXIES "proxies"
#define SETTING_DENIED  "denied"

enum uplink_state { UPLINK_WAITING, UPLINK_DIALLING, UPLINK_GREETING, UPLINK_OPEN };

static const struct state_def uplink_defs[] = {
    [UPLINK_WAITING] = {"waiting", STATE_BIT(UPLINK_DIALLING), 0},
    [UPLINK_DIALLING] = {"dialling", STATE_BIT(UPLINK_WAITING) | STATE_BIT(UPLINK_GREETING), 0},
    [UPLINK_GREETING] = {"greeting", STATE_BIT(UPLINK_WAITING) | STATE_BIT(UPLINK_OPEN), 0},
    [UPLINK_OPEN] = {"open", STATE_BIT(UPLINK_WAITING) | STATE_BIT(UPLINK_GREETING), 0},
};
static const struct state_table uplink_states = {
    .machine = "uplink", .defs = uplink_defs, .count = ARRAY_SIZE(uplink_defs)};

#define LOOKS_MAX 4 /* into folders, at once */

struct uplink {
    struct uplink_options options;
    unsigned state;        /* enum uplink_state */
    struct dial *dial;     /* while DIALLING */
    struct tunnel *tunnel; /* while GREETING or OPEN */
    struct dial *rescue;   /* a second dial, while OPEN and silent */
    unsigned rescues;      /* that failed in a row */
    uint64_t next_rescue;  /* not before: not all agents at the same moment */
    uint64_t asked; /* when the silent console was asked for a sign of life; 0: it is not silent */
    uint64_t ticked;
    int64_t since;        /* wall clock: when counting began */
    unsigned attempt;     /* dials since the last good tunnel */
    uint64_t next_try;    /* while WAITING */
    uint64_t opened;      /* when the tunnel opened */
    uint64_t lost;        /* when it was lost; 0 while it is up, or once that was acted on */
    uint64_t renew_at;    /* not before, on the monotonic clock */
    bool denied;          /* console or proxies say that this agent is revoked */
    bool hello_told;      /* AGENT_HELLO is out */
    bool counts_told;     /* AGENT_COUNTS is, and had @counts */
    uint64_t next_counts; /* not before */
    struct punch_counts counts;
    bool result_due;       /* AGENT_CONFIG_RESULT is to be told */
    size_t have_at;        /* how many flows have been told */
    size_t have_count;     /* of @have */
    fl_FlowHave *have;     /* all flows when the tunnel opened; owned, while GREETING */
    fl_ProxyList *proxies; /* the console's list; owned, NULL: none ever came */
    bool proxies_fresh;    /* it came since the tunnel was lost for long */
    struct fl_id *ids;     /* DENIED_IDS being collected; owned */
    size_t id_count;
    uint32_t id_part;   /* the part awaited */
    struct look *looks; /* into folders, under way */
    unsigned look_count;
};

static bool is_up(const struct uplink *link)
{
    return link->state == UPLINK_GREETING || link->state == UPLINK_OPEN;
}

/* ---- proxies and denied ids: kept for the next start ---- */

static void use_proxies(struct uplink *link)
{
    /* mc_proxy counts until the console has said which proxies there are, and when it said that
     * there are none. */
    static const struct agent_config no_config;
    bool only_list = link->proxies && link->proxies->proxies_count && link->proxies_fresh;
    int error = console_way_set_proxies(
        link->options.endpoint, only_list ? &no_config : link->options.config, link->proxies,
        agent_settings_prefer(link->options.settings));

    if (error)
        log_error("proxies cannot be used", LF_ERR(error));
}

static int on_proxy_list(struct uplink *link, const struct frame *frame)
{
    _cleanup_free_ fl_ProxyList *list = malloc(sizeof(*list));
    uint8_t whole[FRAME_HEADER];
    _cleanup_free_ uint8_t *kept = malloc(FRAME_MAX);
    int error;

    if (!list || !kept)
        return -ENOMEM;
    error = message_decode(fl_ProxyList_fields, frame, list);
    if (error)
        return error;
    frame_put(whole, FRAME_PROXY_LIST, 0, frame->len);
    memcpy(kept, whole, FRAME_HEADER);
    memcpy(kept + FRAME_HEADER, frame->body, frame->len);
    error = journal_put(link->options.journal, SETTING_PROXIES, kept,
                        FRAME_HEADER + (size_t)frame->len);
    if (error)
        log_error("journal: proxies not kept", LF_ERR(error));
    log_info("proxies from the console", LF_U64("count", list->proxies_count),
             LF_U64("revision", list->revision));
    free(link->proxies);
    link->proxies = take_ptr(list);
    link->proxies_fresh = true;
    use_proxies(link);
    return 0;
}

static void load_proxies(struct uplink *link)
{
    _cleanup_free_ fl_ProxyList *list = malloc(sizeof(*list));
    _cleanup_free_ void *kept = NULL;
    struct frame frame;
    size_t len;

    if (!list || journal_get(link->options.journal, SETTING_PROXIES, &kept, &len))
        return;
    if (frame_parse(kept, len, &frame) > 0 && !message_decode(fl_ProxyList_fields, &frame, list))
        link->proxies = take_ptr(list);
}

static void deny(struct uplink *link, uint64_t revision, const struct fl_id *ids, size_t count)
{
    int error = endpoint_deny(link->options.endpoint, revision, ids, count);

    if (error)
        log_error("denied identities cannot be used", LF_ERR(error));
}

static void load_denied(struct uplink *link)
{
    _cleanup_free_ void *kept = NULL;
    size_t len;

    if (!journal_get(link->options.journal, SETTING_DENIED, &kept, &len) &&
        len % sizeof(struct fl_id) == 0)
        deny(link, 0, kept, len / sizeof(struct fl_id));
}

static int collect_ids(struct uplink *link, const fl_DeniedIds *part)
{
    struct fl_id *grown;

    if (part->part == 0)
        link->id_count = link->id_part = 0;
    if (part->part != link->id_part || link->id_count + part->ids_count > DENIED_MAX)
        return -FL_EMESSAGE;
    grown = reallocarray(link->ids, link->id_count + part->ids_count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    link->ids = grown;
    for (pb_size_t i = 0; i < part->ids_count; i++)
        memcpy(&link->ids[link->id_count++], part->ids[i], FL_ID_BYTES);
    link->id_part++;
    return 0;
}

static int on_denied_ids(struct uplink *link, const struct frame *frame)
{
    _cleanup_free_ fl_DeniedIds *part = malloc(sizeof(*part));
    int error = part ? message_decode(fl_DeniedIds_fields, frame, part) : -ENOMEM;

    if (!error)
        error = collect_ids(link, part);
    if (error || !part->last)
        return error;
    if (journal_put(link->options.journal, SETTING_DENIED, link->ids,
                    link->id_count * sizeof(*link->ids)))
        log_error("journal: denied identities not kept");
    deny(link, part->revision, link->ids, link->id_count);
    free(take_ptr(link->ids));
    link->id_count = link->id_part = 0;
    return 0;
}

/* ---- renewal ---- */

static bool renewal_due(const struct uplink *link, int64_t wall)
{
    int64_t starts = identity_starts(link->options.identity);
    int64_t expires = identity_expires(link->options.identity);

    return wall >= expires - (expires - starts) / 3;
}

static void renew(struct uplink *link, uint64_t now)
{
    _cleanup_free_ char *key = NULL;
    fl_RenewRequest request = fl_RenewRequest_init_zero;
    size_t len = 0;
    int error = credentials_key(link->options.dir, &key);

    link->renew_at = now + clock_jitter(RENEW_AGAIN);
    if (!error)
        error = identity_request(key, request.csr.bytes, sizeof(request.csr.bytes), &len);
    request.csr.size = (pb_size_t)len;
    if (!error)
        error = tunnel_send_message(link->tunnel, FRAME_RENEW_REQUEST, fl_RenewRequest_fields,
                                    &request);
    if (error)
        log_error("certificate cannot be renewed", LF_ERR(error));
}

static int on_renewed(struct uplink *link, const struct frame *frame)
{
    fl_RenewReply reply;
    struct identity *fresh;
    char date[CREDENTIALS_DATE];
    int error = message_decode(fl_RenewReply_fields, frame, &reply);

    if (error)
        return error;
    if (!reply.certificate.size) {
        log_error("the console does not renew the certificate", LF_STR("text", reply.text));
        return 0;
    }
    error = credentials_check(link->options.dir, trust_ca(identity_trust(link->options.identity)),
                              reply.certificate.bytes, reply.certificate.size, &fresh);
    if (!error && !party_equal(identity_party(fresh), identity_party(link->options.identity)))
        error = -FL_EIDENTITY;
    if (!error)
        error = credentials_store(link->options.dir, fresh);
    if (error) {
        log_error("the new certificate is not usable", LF_ERR(error));
        return 0;
    }
    log_info("certificate renewed",
             LF_STR("until", credentials_date(identity_expires(fresh), date)));
    endpoint_set_identity(link->options.endpoint, fresh);
    identity_unref(link->options.identity);
    link->options.identity = fresh;
    return 0;
}

/* ---- telling ---- */

/* PRETTY_NAME of os-release, the kernel and the machine. */
static void describe_system(char *dst, size_t cap)
{
    FILE *file = fopen("/etc/os-release", "re");
    char line[256], name[64] = "";
    struct utsname uts;

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "PRETTY_NAME=\"%63[^\"\n]", name) == 1 ||
            sscanf(line, "PRETTY_NAME=%63[^\"\n]", name) == 1)
            break;
    }
    if (file)
        (void)fclose(file);
    if (uname(&uts))
        (void)snprintf(dst, cap, "%.40s", name);
    else
        (void)snprintf(dst, cap, "%.34s%s%.16s %.10s", name[0] ? name : uts.sysname,
                       name[0] ? ", " : " ", uts.release, uts.machine);
}

static int tell_hello(struct uplink *link)
{
    const struct agent_config *config = link->options.config;
    fl_AgentHello hello = fl_AgentHello_init_zero;

    (void)snprintf(hello.device_name, sizeof(hello.device_name), "%s", config->device_name);
    (void)snprintf(hello.software, sizeof(hello.software), "fairlead-agent %s", FAIRLEAD_VERSION);
    describe_system(hello.system, sizeof(hello.system));
    for (size_t i = 0; i < config->tags.count && i < ARRAY_SIZE(hello.tags); i++)
        (void)snprintf(hello.tags[hello.tags_count++], sizeof(hello.tags[0]), "%s",
                       config->tags.item[i]);
    /* Asked for each time, since a machine that moves or boots gets them later. */
    if (link->options.direct_port)
        hello.addresses_count = (pb_size_t)endpoint_uv_addresses(
            link->options.direct_port, hello.addresses, ARRAY_SIZE(hello.addresses));
    hello.time = clock_wall();
    return tunnel_send_message(link->tunnel, FRAME_AGENT_HELLO, fl_AgentHello_fields, &hello);
}

/* tell_result - how the last order about settings went, if that is due. */
static int tell_result(struct uplink *link)
{
    fl_ConfigResult answer;
    int result = 0;

    if (link->result_due && agent_settings_result(link->options.settings, &answer))
        result = tunnel_send_message(link->tunnel, FRAME_AGENT_CONFIG_RESULT,
                                     fl_ConfigResult_fields, &answer);
    link->result_due = result != 0;
    return result;
}

static int tell_greeting(struct uplink *link)
{
    int result = link->hello_told ? 0 : tell_hello(link);

    if (result)
        return result;
    link->hello_told = true;
    result = tell_result(link);
    if (result)
        return result;
    while (link->have_at < link->have_count) {
        result = tunnel_send_message(link->tunnel, FRAME_FLOW_HAVE, fl_FlowHave_fields,
                                     &link->have[link->have_at]);
        if (result)
            return result;
        link->have_at++;
    }
    free(take_ptr(link->have));
    state_move(&uplink_states, &link->state, UPLINK_OPEN);
    return 0;
}

/* What is there now; flows that come or go while it is told are the console's own doing. Without
 * any, one of zeros is the last. */
static int list_flows(struct uplink *link)
{
    size_t files = 0, forwards = 0, count;
    fl_FlowHave one;

    while (jobs_have(link->options.jobs, files, &one))
        files++;
    while (forwards_have(link->options.forwards, forwards, &one))
        forwards++;
    count = files + forwards;
    free(link->have);
    link->have = calloc(count + 1, sizeof(*link->have));
    if (!link->have)
        return -ENOMEM;
    for (size_t i = 0; i < files; i++)
        (void)jobs_have(link->options.jobs, i, &link->have[i]);
    for (size_t i = 0; i < forwards; i++)
        (void)forwards_have(link->options.forwards, i, &link->have[files + i]);
    link->have_count = count ? count : 1;
    link->have_at = 0;
    link->have[link->have_count - 1].last = true;
    return 0;
}

/* tell_counts - what has been counted, when it is not what the console knows. */
static int tell_counts(struct uplink *link, uint64_t now)
{
    const struct punch_counts *counts = endpoint_punches(link->options.endpoint);
    fl_AgentCounts message = {.since = link->since, .punches = counts->tried};

    if (now < link->next_counts ||
        (link->counts_told && !memcmp(counts, &link->counts, sizeof(*counts))))
        return 0;
    for (unsigned i = 0; i < PUNCH_ENDS; i++) {
        if (counts->ended[i])
            message.punch_ends[message.punch_ends_count++] =
                (fl_ReasonCount){.code = i, .count = counts->ended[i]};
    }
    int result =
        tunnel_send_message(link->tunnel, FRAME_AGENT_COUNTS, fl_AgentCounts_fields, &message);
    if (result)
        return result;
    link->counts = *counts;
    link->counts_told = true;
    link->next_counts = now + COUNTS_APART;
    return 0;
}

static void tell(struct uplink *link, uint64_t now)
{
    int result = 0;

    if (link->state == UPLINK_GREETING)
        result = tell_greeting(link);
    if (!result && link->state == UPLINK_OPEN)
        result = tell_result(link);
    if (!result && link->state == UPLINK_OPEN)
        result = jobs_tell(link->options.jobs, link->tunnel, now);
    if (!result && link->state == UPLINK_OPEN)
        result = forwards_tell(link->options.forwards, link->tunnel, now);
    if (!result && link->state == UPLINK_OPEN)
        result = tell_counts(link, now);
    if (result && result != -EAGAIN)
        log_debug("control tunnel takes nothing", LF_ERR(result)); /* closed() follows */
}

void uplink_tell(struct uplink *link)
{
    if (link)
        tell(link, clock_now());
}

/* ---- orders ---- */

/* An order that could not be taken: told, so that the run does not wait for it. */
static int tell_not_taken(struct uplink *link, const fl_FlowAssign *assign, int error)
{
    fl_FlowReport report = fl_FlowReport_init_zero;

    memcpy(report.flow, assign->flow, FL_ID_BYTES);
    report.state = fl_FlowState_FLOW_FAILED;
    report.generation = assign->generation;
    report.seq = (uint64_t)clock_wall() << 12;
    (void)snprintf(report.text, sizeof(report.text), "the agent cannot take more work: %s",
                   error_text(error));
    log_error("order not taken", LF_STR("job", assign->job_name), LF_ERR(error));
    (void)tunnel_send_message(link->tunnel, FRAME_FLOW_REPORT, fl_FlowReport_fields, &report);
    return 0;
}

static int on_assign(struct uplink *link, const struct frame *frame)
{
    _cleanup_free_ fl_FlowAssign *assign = malloc(sizeof(*assign));
    int error = assign ? message_decode(fl_FlowAssign_fields, frame, assign) : -ENOMEM;

    if (error)
        return error;
    error = forwards_takes(link->options.forwards, assign)
                ? forwards_assign(link->options.forwards, assign, clock_now())
                : jobs_assign(link->options.jobs, assign, clock_now());
    if (error == -FL_EFULL || error == -ENOMEM)
        return tell_not_taken(link, assign, error);
    return error;
}

/* on_config - the answer to an order that is out of turn is not kept, so it is told now or never.
 */
static int on_config(struct uplink *link, const struct frame *frame)
{
    fl_Config order;
    fl_ConfigResult answer;
    int error = message_decode(fl_Config_fields, frame, &order);

    if (error)
        return error;
    agent_settings_take(link->options.settings, &order, &answer);
    use_proxies(link);
    agent_settings_tick(link->options.settings, link->options.endpoint, clock_wall());
    link->result_due = tunnel_send_message(link->tunnel, FRAME_AGENT_CONFIG_RESULT,
                                           fl_ConfigResult_fields, &answer) != 0;
    return 0;
}

static int on_ack(struct uplink *link, const struct frame *frame)
{
    fl_FlowAck ack;
    int error = message_decode(fl_FlowAck_fields, frame, &ack);

    if (error)
        return error;
    jobs_ack(link->options.jobs, &ack);
    forwards_ack(link->options.forwards, &ack);
    return 0;
}

static int on_console_hello(struct uplink *link, const struct frame *frame)
{
    fl_ConsoleHello hello;
    int error = message_decode(fl_ConsoleHello_fields, frame, &hello);
    int64_t off;

    if (error)
        return error;
    log_info("console connected", LF_STR("path", tunnel_via(link->tunnel)),
             LF_STR("name", hello.agent_name));
    off = clock_wall() - hello.time;
    if (off > CLOCK_WORRY || off < -CLOCK_WORRY)
        log_warn("this machine's clock and the console's differ", LF_I64("seconds_ahead", off));
    return 0;
}

/* A look into a folder, in a thread of the pool; it may outlive the uplink. */
struct look {
    struct look *next;
    uv_work_t work;
    struct uplink *link; /* NULL: nobody waits any more */
    const struct agent_config *config;
    fl_FolderAsk ask;
    fl_FolderAnswer answer;
};

static void look_work(uv_work_t *work)
{
    struct look *look = work->data;

    browse_list(look->config, &look->ask, &look->answer);
}

static void look_done(uv_work_t *work, int status)
{
    struct look *look = work->data;
    struct uplink *link = look->link;

    if (link) {
        LL_DELETE(link->looks, look);
        link->look_count--;
    }
    if (link && link->tunnel && !status)
        (void)tunnel_send_message(link->tunnel, FRAME_FOLDER_ANSWER, fl_FolderAnswer_fields,
                                  &look->answer);
    free(look);
}

static int on_folder_ask(struct uplink *link, const struct frame *frame)
{
    _cleanup_free_ struct look *look =
        link->look_count < LOOKS_MAX ? calloc(1, sizeof(*look)) : NULL;

    if (!look)
        return 0;
    int error = message_decode(fl_FolderAsk_fields, frame, &look->ask);
    if (error)
        return error;
    look->link = link;
    look->config = link->options.config;
    look->work.data = look;
    if (uv_queue_work(link->options.loop, &look->work, look_work, look_done))
        return 0;
    LL_PREPEND(link->looks, look);
    link->look_count++;
    (void)take_ptr(look);
    return 0;
}

static const struct {
    uint8_t type;
    int (*handle)(struct uplink *link, const struct frame *frame);
} handlers[] = {
    {FRAME_FOLDER_ASK, on_folder_ask}, {FRAME_CONSOLE_HELLO, on_console_hello},
    {FRAME_PROXY_LIST, on_proxy_list}, {FRAME_DENIED_IDS, on_denied_ids},
    {FRAME_FLOW_ASSIGN, on_assign},    {FRAME_FLOW_ACK, on_ack},
    {FRAME_RENEW_REPLY, on_renewed},   {FRAME_AGENT_CONFIG, on_config},
};

static int on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    (void)tunnel;
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        if (handlers[i].type == frame->type)
            return handlers[i].handle(ctx, frame);
    }
    return 0;
}

/* ---- the tunnel's life ---- */

static void end_rescue(struct uplink *link)
{
    if (link->rescue)
        dial_cancel(take_ptr(link->rescue));
    link->rescues = 0;
    link->next_rescue = 0;
    link->asked = 0;
}

static void on_opened(void *ctx, struct tunnel *tunnel)
{
    struct uplink *link = ctx;

    link->dial = NULL;
    end_rescue(link);
    link->tunnel = tunnel;
    link->opened = clock_now();
    link->lost = 0;
    link->denied = false;
    link->hello_told = link->counts_told = false;
    link->next_counts = 0;
    link->result_due = true;
    state_move(&uplink_states, &link->state, UPLINK_GREETING);
    if (list_flows(link)) {
        tunnel_close(take_ptr(link->tunnel), TUNNEL_CLOSE_LOCAL, NULL);
        link->next_try = link->opened + RETRY_MAX;
        state_move(&uplink_states, &link->state, UPLINK_WAITING);
        return;
    }
    jobs_online(link->options.jobs);
    forwards_online(link->options.forwards);
    tell(link, link->opened);
}

static void on_writable(void *ctx, struct tunnel *tunnel)
{
    (void)tunnel;
    uplink_tell(ctx);
}

static void try_later(struct uplink *link, enum tunnel_close why, uint64_t now)
{
    if (why == TUNNEL_CLOSE_DENIED)
        link->denied = true;
    if (link->denied)
        link->next_try = now + clock_jitter(RETRY_DENIED) + RETRY_DENIED / 3;
    else
        link->next_try = now + clock_backoff(link->attempt, RETRY_MAX);
    link->attempt++;
    state_move(&uplink_states, &link->state, UPLINK_WAITING);
}

static void on_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why, const char *text)
{
    struct uplink *link = ctx;
    uint64_t now = clock_now();
    bool was_up = is_up(link);
    char date[CREDENTIALS_DATE];

    (void)tunnel;
    link->dial = NULL;
    link->tunnel = NULL;
    end_rescue(link);
    if (was_up) {
        link->lost = now;
        if (now - link->opened > STEADY)
            link->attempt = 0;
    }
    if (why == TUNNEL_CLOSE_DENIED)
        log_error("the console refuses this agent: it is revoked, or not known there, as after a "
                  "restored backup: then it has to enrol again, with a new state directory");
    else if (clock_wall() > identity_expires(link->options.identity))
        log_error(
            "this agent's certificate has expired: enrol it again with a new bootstrap_token",
            LF_STR("expired", credentials_date(identity_expires(link->options.identity), date)));
    else
        log_warn(was_up ? "console lost" : "no way to the console",
                 LF_STR("reason", tunnel_close_text(why)), LF_STR("text", text));
    try_later(link, why, now);
}

static const struct tunnel_ops tunnel_ops = {on_opened, on_message, on_writable, on_closed};

/* on_rescued - another way, and the first tunnel has still not said a word. */
static void on_rescued(void *ctx, struct tunnel *tunnel)
{
    static const char text[] = "nothing came over it any more";
    struct uplink *link = ctx;

    link->rescue = NULL;
    log_warn("console reached by another way", LF_STR("former", tunnel_via(link->tunnel)),
             LF_STR("text", text));
    tunnel_close(take_ptr(link->tunnel), TUNNEL_CLOSE_TIMEOUT, text);
    tunnel_set_owner(tunnel, &tunnel_ops, link);
    on_opened(link, tunnel);
}

static void on_not_rescued(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    struct uplink *link = ctx;

    (void)tunnel, (void)why;
    link->rescue = NULL;
    link->next_rescue = clock_now() + clock_backoff(link->rescues++, RETRY_MAX);
    log_debug("no other way to the console", LF_STR("text", text));
}

static const struct tunnel_ops rescue_ops = {.opened = on_rescued, .closed = on_not_rescued};

/* watch - is the tunnel still alive? */
static void watch(struct uplink *link, uint64_t now)
{
    bool slept = link->ticked && now - link->ticked > ASLEEP;
    struct tunnel_info info;

    link->ticked = now;
    if (link->state != UPLINK_OPEN)
        return;
    bool begins = !link->asked;
    if (slept || !silence_lasts(link->tunnel, now, &link->asked)) {
        end_rescue(link);
        return;
    }
    if (begins)
        link->next_rescue = now + clock_jitter(SILENT);
    if (link->rescue || now < link->next_rescue)
        return;
    tunnel_info(link->tunnel, &info);
    endpoint_check(link->options.endpoint, &info.proxy);
    tunnel_probe(link->tunnel);
    if (console_way_dial(link->options.endpoint, link->options.config,
                         identity_trust(link->options.identity), fl_Purpose_PURPOSE_CONTROL,
                         &info.proxy, &rescue_ops, link, &link->rescue)) {
        link->rescue = NULL;
        link->next_rescue = now + RETRY_MAX;
    }
}

static void dial(struct uplink *link, uint64_t now)
{
    int error;

    state_move(&uplink_states, &link->state, UPLINK_DIALLING);
    error = console_way_dial(link->options.endpoint, link->options.config,
                             identity_trust(link->options.identity), fl_Purpose_PURPOSE_CONTROL,
                             NULL, &tunnel_ops, link, &link->dial);
    if (!error)
        return;
    link->dial = NULL;
    log_error("cannot dial the console", LF_ERR(error));
    try_later(link, TUNNEL_CLOSE_LOCAL, now);
}

void uplink_tick(struct uplink *link, uint64_t now)
{
    if (link->state == UPLINK_WAITING && now >= link->next_try)
        dial(link, now);
    if (link->lost && now - link->lost >= LOST_LONG) {
        link->lost = 0;
        link->proxies_fresh = false;
        use_proxies(link);
    }
    watch(link, now);
    agent_settings_tick(link->options.settings, link->options.endpoint, clock_wall());
    if (!is_up(link))
        return;
    tell(link, now);
    if (link->state == UPLINK_OPEN && now >= link->renew_at && renewal_due(link, clock_wall()))
        renew(link, now);
}

void uplink_proxy_changed(struct uplink *link, const struct endpoint_proxy_info *info, uint64_t now)
{
    console_way_log_proxy(info);
    if (info->error == -FL_EDENIED && info->state == PROXY_WAITING)
        link->denied = true;
    if (info->state != PROXY_REGISTERED)
        return;
    link->denied = false;
    if (link->state == UPLINK_WAITING)
        link->next_try = now;
    jobs_retry(link->options.jobs, now);
    forwards_retry(link->options.forwards, now);
}

int uplink_new(const struct uplink_options *options, uint64_t now, struct uplink **ret_link)
{
    struct uplink *link = calloc(1, sizeof(*link));
    bool only_proxies = !options->config->host && !options->config->mc_address;

    if (!link)
        return -ENOMEM;
    link->options = *options;
    link->since = clock_wall();
    (void)identity_ref(link->options.identity);
    load_proxies(link);
    load_denied(link);
    use_proxies(link);
    /* Without a direct address a dial makes sense once a proxy is there, which brings it forward.
     */
    link->next_try = now + (only_proxies ? CLOCK_SEC : 0);
    *ret_link = link;
    return 0;
}

void uplink_free(struct uplink *link)
{
    if (!link)
        return;
    if (link->dial)
        dial_cancel(link->dial);
    end_rescue(link);
    if (link->tunnel)
        tunnel_close(link->tunnel, TUNNEL_CLOSE_DONE, "the agent stops");
    struct look *look;
    LL_FOREACH (link->looks, look)
        look->link = NULL;
    identity_unref(link->options.identity);
    free(link->have);
    free(link->proxies);
    free(link->ids);
    free(link);
}
