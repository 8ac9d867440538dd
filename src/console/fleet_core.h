/* fleet_core.h - what the files of fleet share: fleet.c (who there is; life), fleet_control.c (what
 * agents say; enrolment), fleet_proxies.c (the proxies), fleet_tell.c (what everybody must know).
 */
#ifndef FL_CONSOLE_FLEET_CORE_H
#define FL_CONSOLE_FLEET_CORE_H

#include <utlist.h>

#include "console/fleet.h"
#include "tunnel/endpoint_uv.h"

struct fleet {
    uv_loop_t *loop;
    struct setup *setup; /* not owned */
    struct store *store; /* of setup */
    const struct fleet_ops *ops;
    void *ctx;
    struct endpoint_uv *endpoint;
    uv_timer_t timer;
    struct fleet_agent *agents;  /* by id */
    uint64_t agents_version;     /* see fleet_agents_version() */
    struct fleet_proxy *proxies; /* in order of creation */
    struct control *controls;    /* all tunnels */
    struct folders *folders;     /* looks into agents' folders under way */
    size_t enrollers;            /* of them */
    struct punch_counts punches; /* see fleet_punches() */
    struct fl_id *denied;        /* owned */
    size_t denied_count;
    uint64_t denied_revision;
    struct revocations *revocations; /* not owned; NULL: not yet known */
    uint64_t proxies_revision;
    int load_error;
    bool closing;
    struct fl_id unknown[64]; /* agents that are not in the store, of which it was told lately */
    size_t unknown_next;
};

/* ---- fleet.c ---- */

struct fleet_agent *fleet_agent_by_name(struct fleet *fleet, const char *name);

/* fleet_take_agent - one more, copied from @row; not into the store. NULL: no memory. */
struct fleet_agent *fleet_take_agent(struct fleet *fleet, const struct store_agent *row);

/* fleet_deny - @id into the store's denied ids, with a new revision. Tells nobody. */
int fleet_deny(struct fleet *fleet, const struct fl_id *id, const char *name);

/* ---- fleet_control.c ---- */

/* fleet_on_incoming - see struct endpoint_ops. fleet_on_closed - @control is over: no longer in the
 * list, and its agent offline. */
enum tunnel_close fleet_on_incoming(void *ctx, struct endpoint_incoming *in);
void fleet_on_closed(void *ctx, struct control *control, enum tunnel_close why, const char *text);

/* fleet_drop_control - end it; its agent is not told of. */
void fleet_drop_control(struct fleet *fleet, struct control *control, enum tunnel_close why,
                        const char *text);

/* ---- fleet_proxies.c ---- */

/* fleet_take_proxy - one more, copied from @row, with its settings and weight from the store. NULL:
 * no memory, or not readable. */
struct fleet_proxy *fleet_take_proxy(struct fleet *fleet, const struct store_proxy *row);

/* fleet_on_... - see struct endpoint_ops. fleet_tick_settings - once a second. */
void fleet_on_proxy(void *ctx, const struct endpoint_proxy_info *info);
void fleet_on_report(void *ctx, const struct fl_id *id, const fl_Report *report);
void fleet_on_config_result(void *ctx, const struct endpoint_proxy_leg *leg,
                            const fl_ConfigResult *result);
void fleet_tick_settings(struct fleet *fleet);

/* ---- fleet_tell.c ---- */

/* fleet_apply_denied - the store's set becomes that of this process and of every proxy.
 * fleet_apply_proxies - the list of proxies becomes the endpoint's. Agents are told by fleet_push()
 * with one of the functions that follow. */
int fleet_apply_denied(struct fleet *fleet);
int fleet_apply_proxies(struct fleet *fleet);
void fleet_send_proxies(struct fleet *fleet, struct control *control);
void fleet_send_denied(struct fleet *fleet, struct control *control);
void fleet_push(struct fleet *fleet, void (*send)(struct fleet *fleet, struct control *control));

#endif
