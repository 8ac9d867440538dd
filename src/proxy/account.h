/* account.h - what one agent has at this proxy, over all workers: sessions, legs, its rate's bucket
 * and the day's volume. In memory only. The console has none: every agent talks to it.
 *
 * Both directions of a session count, and for the agent of either side.
 */
#ifndef FL_PROXY_ACCOUNT_H
#define FL_PROXY_ACCOUNT_H

#include <stdbool.h>

#include "base/rate.h"
#include "identity/party.h"
#include "wire/close_reason.h"

struct account;
struct accounts;
struct proxy_limits;

/* accounts_new - with the per-agent limits of @limits. Returns 0 or -ENOMEM. */
int accounts_new(const struct proxy_limits *limits, struct accounts **ret_accounts);
void accounts_free(struct accounts *accounts); /* nothing may be open */

/* accounts_set_limits - from now on; what is there stays, but a session ends with the next byte
 * above the day's volume. */
void accounts_set_limits(struct accounts *accounts, const struct proxy_limits *limits);

/* accounts_set_day - @day is a number that changes at midnight; then volumes start anew. Any
 * change, also back after a clock was set. */
void accounts_set_day(struct accounts *accounts, uint64_t day);

/* account_open_session, account_open_leg - one more of @party. Return CLOSE_DONE and in
 * *ret_account where it counts (NULL for the console), to be given to the closing call once; or
 * FULL, LOCAL, and for a session VOLUME. */
enum close_reason account_open_session(struct accounts *accounts, const struct party *party,
                                       struct account **ret_account);
enum close_reason account_open_leg(struct accounts *accounts, const struct party *party,
                                   struct account **ret_account);
void account_close_session(struct accounts *accounts, struct account *account);
void account_close_leg(struct accounts *accounts, struct account *account);

/* account_adopt_session, account_adopt_leg - as the opening calls, for what runs already and came
 * from another process: no limit refuses it. Return 0 or -ENOMEM. */
int account_adopt_session(struct accounts *accounts, const struct party *party,
                          struct account **ret_account);
int account_adopt_leg(struct accounts *accounts, const struct party *party,
                      struct account **ret_account);

/* account_add - @bytes were moved for it. False when that is more than it may have today. No lock:
 * on the data path. NULL is fine. */
bool account_add(struct accounts *accounts, struct account *account, uint64_t bytes);

/* account_bucket - of its rate; NULL for NULL. */
struct rate_bucket *account_bucket(struct account *account);

/* accounts_count - agents known. */
size_t accounts_count(struct accounts *accounts);

#endif
