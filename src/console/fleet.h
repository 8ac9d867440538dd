/* fleet.h - the proxies and agents of this console: who they are, who is there, what they must know
 * (proxies to use, denied identities), and the tunnels to them. The console's endpoint lives here.
 */
#ifndef FL_CONSOLE_FLEET_H
#define FL_CONSOLE_FLEET_H

#include <uthash.h>
#include <uv.h>

#include "console/control.h"
#include "console/folders.h"
#include "console/ref.h"
#include "console/revocations.h"
#include "console/setup.h"
#include "console/store.h"
#include "console/wanted.h"
#include "tunnel/endpoint.h"

struct dialler;
struct fleet;

struct fleet_agent {
    struct store_agent row;
    struct control *control; /* NULL: offline */
    bool ready;              /* it has said which flows it has */
    uint64_t tunnels;        /* that it has had since this program started */
    uint64_t stored_since;   /* the second in which @stored reports of it were stored at once */
    unsigned stored;
    uint64_t renewed;         /* when it last got a certificate; 0: not from this program */
    struct wanted *wanted;    /* of its settings; owned; NULL: nothing was ever ordered */
    char via[TUNNEL_VIA_MAX]; /* of its control tunnel, or of the last one */
    bool counted;             /* it has told @counts, which are the latest */
    fl_AgentCounts counts;
    unsigned older;    /* how often one spoke that had started before the one heard last */
    uint64_t cloned;   /* when it was told that there are two of it; 0: it was not */
    UT_hash_handle hh; /* by row.id */
};

#define FLEET_SAMPLES     240
#define FLEET_SAMPLE_TIME 15 /* seconds between two: an hour in all */

/* What a proxy had counted at a moment. */
struct fleet_sample {
    int64_t time; /* wall clock */
    uint64_t sessions, sessions_total, bytes, refused, uptime, memory, cpu;
    fl_ReasonCount reasons[48];
    size_t count; /* of @reasons */
};

/* The latest hour, in a ring. */
struct fleet_history {
    struct fleet_sample sample[FLEET_SAMPLES];
    size_t first, count;
};

/* How busy a proxy's processors are: what it used between two reports far enough apart. */
struct fleet_load {
    uint64_t cpu, at; /* microseconds used, at that moment of our clock; at 0: not yet */
    bool known;
    double percent; /* of one core */
};

struct fleet_proxy {
    struct store_proxy row;
    enum endpoint_proxy_state state;
    int error;      /* last failure, 0 if none */
    int told;       /* failure that an event was made of, 0 none since it was last connected */
    char text[160]; /* for people */
    int64_t since;  /* of the state */
    bool reported;
    fl_Report report; /* the last one */
    struct fleet_load load;
    struct fleet_history *history; /* owned; NULL before the first report */
    struct wanted wanted;
    uint32_t weight; /* how often agents choose it; see fl_ProxyInfo */
    struct fleet_proxy *next;
};

/* Whom to tell: the runs. All may be called only from the loop, never from inside a call into the
 * fleet but for revoked(). */
struct fleet_ops {
    /* The agent is there and has these flows. */
    void (*ready)(void *ctx, struct fleet_agent *agent, const fl_FlowHave *have, size_t count);
    /* FLOW_REPORT, FLOW_ERROR. A negative return ends the tunnel. */
    int (*message)(void *ctx, struct fleet_agent *agent, const struct frame *frame);
    /* It answers direct legs elsewhere than before. */
    void (*moved)(void *ctx, struct fleet_agent *agent);
    /* It was revoked, and that is committed. */
    void (*revoked)(void *ctx, struct fleet_agent *agent);
};

/* fleet_new - load from the store, start the endpoint: from here on proxies are dialled. Returns 0
 * or a negative code. */
int fleet_new(uv_loop_t *loop, struct setup *setup, const struct fleet_ops *ops, void *ctx,
              struct fleet **ret_fleet);
/* fleet_set_transport - how proxies are dialled from now on (enum transport). */
void fleet_set_transport(struct fleet *fleet, int transport);
/* fleet_set_raw - whether tunnels over proxies may turn raw (enum endpoint_raw). After
 * fleet_set_transport(). */
void fleet_set_raw(struct fleet *fleet, int raw);
/* fleet_set_dialler - who dials proxies; must stay as long. */
void fleet_set_dialler(struct fleet *fleet, const struct dialler *by);
/* fleet_set_revocations - whoever is among them and not revoked here, since the store is an older
 * copy, is revoked now; later ones are added to them. They must stay as long. Returns 0 or a
 * negative code. */
int fleet_set_revocations(struct fleet *fleet, struct revocations *revocations);
/* fleet_listen - answer agents directly at host:port. */
int fleet_listen(struct fleet *fleet, const char *host, uint16_t port, uint16_t *ret_port);
/* fleet_folders - for looks into the folders of agents. */
struct folders *fleet_folders(struct fleet *fleet);
/* fleet_close - stop the endpoint, forget everybody. What is open leaves the loop within 5 s. */
void fleet_close(struct fleet *fleet);

/* ---- agents ---- */

struct fleet_agent *
fleet_agents(struct fleet *fleet); /* head of a uthash by row.id, sorted by nothing */
/* fleet_punches - what agents have told of hole punching since this program started. */
const struct punch_counts *fleet_punches(const struct fleet *fleet);
/* fleet_agents_version - rises with each change of what is shown of an agent in lists. */
uint64_t fleet_agents_version(const struct fleet *fleet);
struct fleet_agent *fleet_agent(struct fleet *fleet, const struct fl_id *id);
/* fleet_agent_name - its name; of an id unknown here, its first digits. For messages; static
 * storage. */
const char *fleet_agent_name(void *fleet, const struct fl_id *id);
/* fleet_find_agent - by id, name, or the first 6 or more digits of the id. NULL: @error
 * (REF_ERROR_MAX) says why, with near names. */
struct fleet_agent *fleet_find_agent(struct fleet *fleet, const char *ref, char *error);
/* fleet_approve - a pending agent gets its certificate when it asks next. -FL_EEXISTS when it is
 * not pending. */
int fleet_approve(struct fleet *fleet, struct fleet_agent *agent);
/* fleet_revoke - out, for good, everywhere, at once. -FL_EEXISTS when it is already. */
int fleet_revoke(struct fleet *fleet, struct fleet_agent *agent);
/* fleet_order_agent_settings - see agent_settings_order(). */
int fleet_order_agent_settings(struct fleet *fleet, struct fleet_agent *agent, const char *text);
/* fleet_send - to an agent that is online; -FL_ECLOSED when it is not. */
int fleet_send(struct fleet_agent *agent, uint8_t type, const pb_msgdesc_t *fields,
               const void *message);

/* ---- proxies ---- */

struct fleet_proxy *fleet_proxies(struct fleet *fleet); /* head of the list */
struct fleet_proxy *fleet_find_proxy(struct fleet *fleet, const char *ref, char *error);
uint64_t fleet_proxy_rtt(struct fleet *fleet,
                         const struct fleet_proxy *proxy); /* microseconds, 0 unknown */
/* fleet_add_proxy - -FL_EEXISTS name taken, -FL_EFULL too many. */
int fleet_add_proxy(struct fleet *fleet, const struct store_proxy *row);
/* fleet_order_settings - see proxy_settings_order(). */
int fleet_order_settings(struct fleet *fleet, struct fleet_proxy *proxy, const char *text,
                         int64_t seconds);
/* fleet_set_weight - 1..ENDPOINT_WEIGHT_MAX; agents are told. */
int fleet_set_weight(struct fleet *fleet, struct fleet_proxy *proxy, uint32_t weight);
int fleet_remove_proxy(struct fleet *fleet, struct fleet_proxy *proxy);

/* fleet_revoke_token - a bootstrap token lets nobody in any more. -FL_ENOTFOUND. */
int fleet_revoke_token(struct fleet *fleet, const struct fl_id *id);

#endif
