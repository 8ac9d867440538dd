/* setup.h - the console's state directory: its lock, its database, and what the first start makes
 * (authority, the console's own identity, HTTPS certificate, admin token). */
#ifndef FL_CONSOLE_SETUP_H
#define FL_CONSOLE_SETUP_H

#include "console/store.h"
#include "identity/authority.h"

#define SETUP_MESSAGE_MAX 512

struct setup {
    char *dir;                   /* owned */
    int lock_fd;                 /* held while the console runs */
    struct store *store;         /* owned */
    struct authority *authority; /* owned */
    struct identity *identity;   /* owned: role console */
    char *ca_pem;                /* owned */
    char *web_pem;               /* owned: key and certificate of the HTTPS listener */
    int64_t web_until;           /* when the latter expires; seconds since 1970 */
};

/* How secrets are kept: see store_unlock(). */
struct setup_secrets {
    const char *passphrase, *fresh; /* each may be NULL */
};

/* setup_open - take @dir (made if missing), open or make everything in it. @ui_host: address of the
 * HTTPS listener, @public_host: name under which others reach the console, each may be empty; both
 * go into the web certificate, which is made again when they change or it is about to expire.
 * @secrets may be NULL. On failure: a negative code, @message (SETUP_MESSAGE_MAX) says what and
 * what to do; nothing is left open. */
int setup_open(const char *dir, const char *ui_host, const char *public_host,
               const struct setup_secrets *secrets, struct setup *ret_setup, char *message);
void setup_done(struct setup *setup);

/* setup_renew_web - a new web certificate for the same names if the one at hand is about to expire.
 * Returns 1 when it was made, 0 when it is not yet time, else a negative code: the former one is
 * kept. */
int setup_renew_web(struct setup *setup);

/* setup_restore - make @dir, which must have no database yet, hold what the backup @file holds,
 * with a new token for an administrator in admin.token: those of the backup may be lost. On failure
 * as setup_open(), and @dir has no database. */
int setup_restore(const char *dir, const char *file, char *message);

/* setup_write - write @text to @name in the state directory, atomically, with @mode. Returns 0 or
 * an errno. */
int setup_write(const struct setup *setup, const char *name, const char *text, unsigned mode);

#endif
