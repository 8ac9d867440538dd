/* store_hooks.h - of the store: whom to notify of what, the queue of what is to be told, and who is
 * missing. Errors as in store.h. */
#ifndef FL_CONSOLE_STORE_HOOKS_H
#define FL_CONSOLE_STORE_HOOKS_H

#include "console/store.h"

#define HOOK_TARGET_MAX 512
#define HOOK_SECRET_MAX 64
#define HOOKS_MAX       64
#define STORE_DUE_MOST  3600 /* seconds; nothing waits for its next attempt for longer */

enum hook_kind { HOOK_WEB, HOOK_MAIL };

struct store_hook {
    struct fl_id id;
    char name[STORE_NAME_MAX]; /* unique */
    enum hook_kind kind;
    char target[HOOK_TARGET_MAX]; /* URL, or address of mail */
    struct store_list events;
    char secret[HOOK_SECRET_MAX + 1]; /* what requests are signed with */
    bool enabled;
    int64_t created;
};

enum delivery_state { DELIVERY_WAITING, DELIVERY_DONE, DELIVERY_GIVEN_UP };

struct store_delivery {
    int64_t n; /* rises */
    struct fl_id hook;
    char event[32];
    char *body;       /* owned; JSON */
    int64_t created;  /* seconds since 1970, as the following */
    int64_t due;      /* of the next attempt */
    int64_t attempts; /* made so far */
    enum delivery_state state;
    int64_t status;  /* of the last answer, 0 none */
    char error[200]; /* of the last attempt */
    int64_t ended;   /* 0 while it waits */
};
void store_delivery_done(struct store_delivery *delivery);

int store_hook_put(struct store *store, const struct store_hook *hook); /* new or changed */
int store_hook_remove(struct store *store, const struct fl_id *id);     /* with its queue */
int store_hooks(struct store *store, void (*each)(void *ctx, const struct store_hook *hook),
                void *ctx);

/* store_delivery_add - @delivery->n is chosen. Of those that are over the newest 1,000 are kept, of
 * those of a hook that wait the newest 1,000 go on waiting. */
int store_delivery_add(struct store *store, struct store_delivery *delivery);
int store_delivery_set(struct store *store,
                       const struct store_delivery *delivery); /* due … ended */
/* store_deliveries_due - of enabled hooks, waiting, due at @now, the longest due first; also what
 * is due later than anything can be that was put off at @now or before, as after a clock was set
 * back.
 */
int store_deliveries_due(struct store *store, int64_t now, int64_t limit,
                         void (*each)(void *ctx, const struct store_delivery *delivery), void *ctx);
/* store_delivery_next - when the next one is due, INT64_MAX for none. */
int64_t store_delivery_next(struct store *store);
/* store_deliveries - of @hook, newest first. */
int store_deliveries(struct store *store, const struct fl_id *hook, int64_t limit,
                     void (*each)(void *ctx, const struct store_delivery *delivery), void *ctx);

/* Agents and proxies of which people have been told that they are missing. */
int store_missing_add(struct store *store, const struct fl_id *id, int64_t since);
int store_missing_remove(struct store *store, const struct fl_id *id);
int store_missing(struct store *store, void (*each)(void *ctx, const struct fl_id *id), void *ctx);

#endif
