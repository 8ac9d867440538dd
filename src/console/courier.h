/* courier.h - HTTP requests and mail to elsewhere, by libcurl's multi interface on the console's
 * loop. Nothing is tried twice here; see notify.h. */
#ifndef FL_CONSOLE_COURIER_H
#define FL_CONSOLE_COURIER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct courier;

/* courier_new - @ca: PEM file with the authorities that certificates are checked against, which
 * outlives the courier; NULL: those of the system. */
int courier_new(uv_loop_t *loop, const char *ca, struct courier **ret_courier);
/* courier_close - what is under way is dropped without a word. Leaves the loop within a turn. NULL
 * is fine. */
void courier_close(struct courier *courier);

/* @status: of the answer, 0 when there was none. @error: "" when it was delivered. */
typedef void courier_done(void *ctx, long status, const char *error);

/* courier_post - POST @body (JSON) to the http or https URL, with @headers ("Name: value", ends
 * with NULL). Redirections are not followed. All is copied. @done is called once, not from within.
 */
int courier_post(struct courier *courier, const char *url, const char *const *headers,
                 const char *body, courier_done *done, void *ctx);

struct courier_mail {
    const char *server;          /* smtp://HOST[:PORT] or smtps://… */
    bool starttls;               /* with smtp: not without */
    const char *user, *password; /* "" for none */
    const char *from, *to;
    const char *text; /* RFC 5322, lines end in CR LF */
};

/* courier_mail - the same for a mail. */
int courier_mail(struct courier *courier, const struct courier_mail *mail, courier_done *done,
                 void *ctx);

#endif
