/* enrol.h - who may become an agent, and with what certificate. Decides on the store; sends
 * nothing. */
#ifndef FL_CONSOLE_ENROL_H
#define FL_CONSOLE_ENROL_H

#include "console/store.h"
#include "control.pb.h"
#include "identity/authority.h"

#define ENROL_RETRY_SECONDS 5
#define ENROL_PENDING_MAX   1000 /* agents waiting for approval at one time */

/* What enrol needs to know and does about agents; the fleet keeps them. */
struct enrol_fleet {
    void *ctx;
    const struct store_agent *(*find)(void *ctx, const struct fl_id *id); /* NULL: unknown */
    const struct store_agent *(*find_name)(void *ctx, const char *name);
    size_t (*pending)(void *ctx);                                        /* how many wait */
    int (*put)(void *ctx, const struct store_agent *agent, bool is_new); /* store it */
};

/* enrol_token_ok - may the holder of bootstrap token @id open a tunnel to enrol? 0; -FL_ENOTFOUND,
 * -FL_EDENIED (revoked), -FL_EEXPIRED, or the store's error. */
int enrol_token_ok(struct store *store, const struct fl_id *id, int64_t now,
                   struct store_token *ret_token);

/* enrol_answer - decide on @request of somebody who holds @token: issued, pending or refused, told
 * in *reply. The same key that asks again gets the same identity. A failure of the store is told as
 * "try again", never as a refusal. */
void enrol_answer(struct store *store, const struct authority *authority,
                  const struct enrol_fleet *fleet, const struct store_token *token,
                  const fl_EnrolRequest *request, int64_t now, fl_EnrolReply *reply);

/* enrol_renew - a new certificate for @agent, whose request must be for the key it has. */
void enrol_renew(const struct authority *authority, const struct fl_id *agent,
                 const fl_RenewRequest *request, fl_RenewReply *reply);

/* enrol_name - @wanted cleaned to letters, digits, dot, dash, underscore and bytes over 127; made
 * unique by -2, -3 …; from the id when nothing is left. */
void enrol_name(const struct enrol_fleet *fleet, const char *wanted, const struct fl_id *id,
                char ret_name[static STORE_NAME_MAX]);

/* enrol_pem_to_der - the first certificate in @pem. *ret_len at most @cap. Returns 0 or -FL_EKEY.
 */
int enrol_pem_to_der(const char *pem, void *dst, size_t cap, size_t *ret_len);

#endif
