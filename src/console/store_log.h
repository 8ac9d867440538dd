/* store_log.h - of the store: what happened (events) and who changed what (the audit log). Both
 * only grow at the end, both are found by filters, each of which has an index; nothing here reads a
 * whole table in one go. Errors as in store.h.
 */
#ifndef FL_CONSOLE_STORE_LOG_H
#define FL_CONSOLE_STORE_LOG_H

#include "console/store.h"

enum store_level { EVENT_INFO, EVENT_WARN, EVENT_ERROR };

struct store_event {
    int64_t n; /* rises */
    int64_t time;
    enum store_level level;
    const char *kind;     /* "agent.online" … */
    struct fl_id subject; /* agent, proxy, job or run it is about; zero for none */
    struct fl_id about;   /* the same, but of a run its job; set by store_event_add() */
    const char *text;
};

struct store_audit {
    int64_t n; /* rises */
    int64_t time;
    const char *user, *peer;    /* who, from where */
    const char *action;         /* method and route */
    const char *subject;        /* path */
    const char *before, *after; /* JSON */
};

#define STORE_EVENTS_KEPT     1000000 /* unless store_keep_events() says otherwise */
#define STORE_EVENTS_KEPT_MIN 1000    /* and what it may say */
#define STORE_EVENTS_KEPT_MAX 100000000
#define STORE_FIND_TEXT_MIN   3    /* characters: what the index of texts is made of */
#define STORE_FIND_TEXT_MAX   128  /* bytes */
#define STORE_FIND_LOOKS      5000 /* some tens of milliseconds when nothing of it is in memory */
#define STORE_FIND_SPAN       40   /* by a text: times so many entries are passed over at once */

/* What is looked for; all zero but for the limits: everything, oldest first. In the order of time,
 * and of numbers within a second. */
struct store_find {
    bool newest;          /* newest first */
    bool by_number;       /* in the order of numbers, oldest first: nothing is missed that comes
                             after a clock was set back */
    int64_t from;         /* go on behind the entry of this number; 0: begin */
    int64_t since, until; /* seconds since 1970, both included; until 0: no end */
    const char *text;     /* that it holds, without regard to the case of a-z; or NULL */
    size_t limit;         /* entries that are told */
    size_t looks;         /* entries that are looked at, those told included; 0: STORE_FIND_LOOKS */
    bool has_level;       /* of events: */
    enum store_level level;
    const char *kind;   /* or NULL */
    struct fl_id about; /* agent, proxy or job; zero: any */
    const char *user;   /* of the audit log: who; or NULL */
};

/* store_find_text_ok - can @text be looked for: valid UTF-8 of at least STORE_FIND_TEXT_MIN
 * characters and at most STORE_FIND_TEXT_MAX bytes? */
bool store_find_text_ok(const char *text);

/* store_events_find, store_audit_find - call @each for what fits. *ret_next: the number to go on
 * from, 0 when there is no more; entries that fit may still follow when less than the limit was
 * told. */
int store_events_find(struct store *store, const struct store_find *find,
                      void (*each)(void *ctx, const struct store_event *event), void *ctx,
                      int64_t *ret_next);
int store_audit_find(struct store *store, const struct store_find *find,
                     void (*each)(void *ctx, const struct store_audit *entry), void *ctx,
                     int64_t *ret_next);

/* store_event_add - @event->n and ->about are chosen. Of old events as many are kept as
 * store_keep_events() says. store_audit_add - @entry->n is chosen. */
int store_event_add(struct store *store, struct store_event *event);
int store_audit_add(struct store *store, const struct store_audit *entry);
void store_keep_events(struct store *store, int64_t count);

/* store_events - in the order of numbers, after number @after, at most @limit. */
int store_events(struct store *store, int64_t after, int64_t limit,
                 void (*each)(void *ctx, const struct store_event *event), void *ctx);
int64_t store_event_last(struct store *store);
int64_t store_audit_last(struct store *store);

/* store_event_kinds, store_audit_users - each kind and each user that there is, in order. */
int store_event_kinds(struct store *store, void (*each)(void *ctx, const char *text), void *ctx);
int store_audit_users(struct store *store, void (*each)(void *ctx, const char *text), void *ctx);

/* store_find_plan - what SQLite would do for @find (EXPLAIN QUERY PLAN), a line a step; for tests.
 */
int store_find_plan(struct store *store, const struct store_find *find, bool audit,
                    void (*each)(void *ctx, const char *step), void *ctx);

#endif
