/* notify.h - tells people and programs elsewhere what happened: which events a hook is told of, the
 * queue, when to try again, how a message is signed.
 *
 * The queue is made of the table of events, from a place that is kept: what is stored is told, if
 * not at once then after a restart, and each delivery has a number by which a receiver can know it
 * again. A hook is tried until it takes the message or a day has gone by.
 */
#ifndef FL_CONSOLE_NOTIFY_H
#define FL_CONSOLE_NOTIFY_H

#include <jansson.h>
#include <uv.h>

#include "console/runs.h"
#include "console/setup.h"
#include "console/store_hooks.h"
#include "console/store_log.h"

struct notify;

/* The mail server. */
struct notify_mail {
    char server[256]; /* smtp://HOST[:PORT], smtps://…; empty: none */
    char from[128], user[128], password[128];
    bool starttls;
};

/* The names of events that a hook may ask for, NULL-terminated. */
extern const char *const notify_events[];

/* notify_new - @retry: seconds before the second attempt; each further one waits twice as long, at
 * most an hour. @ca: see courier_new(). */
int notify_new(uv_loop_t *loop, struct setup *setup, struct fleet *fleet, struct runs *runs,
               int64_t retry, const char *ca, struct notify **ret_notify);
void notify_close(struct notify *notify); /* NULL is fine */

/* notify_event - something happened; soon it is looked at. */
void notify_event(struct notify *notify);

/* ---- hooks ---- */

/* notify_hooks - all, by name. */
const struct store_hook *notify_hooks(const struct notify *notify, size_t *ret_count);
/* notify_put - new or changed. -FL_EEXISTS: the name is taken; -FL_EFULL. */
int notify_put(struct notify *notify, const struct store_hook *hook);
int notify_remove(struct notify *notify, const struct fl_id *id);
/* notify_test - a delivery of the event "test" to @hook, now. */
int notify_test(struct notify *notify, const struct store_hook *hook);

int notify_mail_get(struct notify *notify, struct notify_mail *ret_mail);
int notify_mail_put(struct notify *notify, const struct notify_mail *mail);

/* ---- pure; for tests too ---- */

/* notify_wait - seconds until the next attempt after @attempts that failed. */
int64_t notify_wait(int64_t retry, int64_t attempts);
/* notify_sign - "sha256=…" over "TIME.BODY", keyed with @secret (RFC 2104). */
#define NOTIFY_SIGNATURE 72
int notify_sign(const char *secret, int64_t time, const char *body,
                char ret[static NOTIFY_SIGNATURE]);
/* notify_wants - does @hook ask for an event of @kind at @level? Then *ret_event is its name. */
bool notify_wants(const struct store_hook *hook, const char *kind, enum store_level level,
                  const char **ret_event);
/* notify_mail_text - a mail about the delivery @n of @body; free() it. */
char *notify_mail_text(const char *from, const char *to, int64_t n, int64_t now,
                       const json_t *body);

#endif
