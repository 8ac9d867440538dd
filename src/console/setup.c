#include "console/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "console/auth.h"
#include "console/store_backup.h"
#include "console/store_secrets.h"
#include "console/users.h"

#define WEB_DAYS       397
#define WEB_RENEW_DAYS 30
#define WEB_NAMES_MAX  8
#define DAY            INT64_C(86400)
#define DATABASE       "console.db"

static int complain(char *message, int code, const char *path, const char *what)
{
    snprintf(message, SETUP_MESSAGE_MAX, "%.256s: %s: %s", path, what, error_text(code));
    return code;
}

/* ---- directory and lock ---- */

/* make_folders - mkdir -p; what is there already keeps its mode. */
static int make_folders(const char *dir)
{
    _cleanup_free_ char *path = strdup(dir);

    if (!path)
        return -ENOMEM;
    for (char *at = path + (path[0] != '\0'); *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(path, 0755) && errno != EEXIST && errno != EROFS && errno != EACCES)
            return -errno;
        *at = '/';
    }
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int make_dir(const char *dir, char *message)
{
    struct stat st;
    int rc = make_folders(dir);

    if (rc)
        return complain(message, rc, dir, "cannot make the state directory");
    if (stat(dir, &st) || !S_ISDIR(st.st_mode))
        return complain(message, -ENOTDIR, dir, "cannot use it as state directory");
    return 0;
}

static void tell_holder(int fd, const char *dir, char *message)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    if (n > 0)
        pid[strcspn(pid, "\n")] = 0;
    snprintf(message, SETUP_MESSAGE_MAX,
             "%s: another console runs on this state directory%s%s: stop it or use another --state",
             dir, n > 0 ? ", process " : "", pid);
}

static int take_lock(struct setup *setup, char *message)
{
    char path[PATH_MAX], pid[24];

    snprintf(path, sizeof(path), "%s/lock", setup->dir);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return complain(message, -errno, path, "cannot open the lock file");
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK)
            return complain(message, -errno, path, "cannot lock");
        tell_holder(fd, setup->dir, message);
        return -EBUSY;
    }
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)len, 0) != len)
        return complain(message, -errno, path, "cannot write the lock file");
    setup->lock_fd = take_fd(fd);
    return 0;
}

/* ---- files ---- */

static int write_all(int fd, const char *text, unsigned mode)
{
    size_t len = strlen(text);

    if (fchmod(fd, mode))
        return -errno;
    while (len) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) ? -errno : 0;
}

int setup_write(const struct setup *setup, const char *name, const char *text, unsigned mode)
{
    char path[PATH_MAX], temporary[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", setup->dir, name) >= (int)sizeof(path) ||
        snprintf(temporary, sizeof(temporary), "%s/.%s.new", setup->dir, name) >=
            (int)sizeof(temporary))
        return -ENAMETOOLONG;
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = write_all(fd, text, mode);
    if (close(fd) && !rc)
        rc = -errno;
    if (!rc && rename(temporary, path))
        rc = -errno;
    if (rc)
        (void)unlink(temporary);
    return rc;
}

/* ---- what the first start makes ---- */

static int make_authority(struct store *store)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    int rc = authority_create(&key, &cert);

    if (!rc)
        rc = store_secret_put(store, "authority.key", key);
    return rc ? rc : store_put(store, "authority.cert", cert);
}

static int make_identity(struct store *store, const struct authority *authority)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    struct fl_id id;
    int rc = identity_make_key(&key);

    if (!rc)
        rc = authority_issue_key(authority, key, PARTY_CONSOLE, AUTHORITY_LONG_DAYS * DAY, &cert,
                                 &id);
    if (!rc)
        rc = store_secret_put(store, "console.key", key);
    return rc ? rc : store_put(store, "console.cert", cert);
}

static int load_authority(struct setup *setup)
{
    _cleanup_free_ char *key = NULL;
    int rc = store_secret_get(setup->store, "authority.key", &key);

    if (rc == -FL_ENOTFOUND) {
        rc = make_authority(setup->store);
        if (!rc)
            rc = store_secret_get(setup->store, "authority.key", &key);
    }
    if (!rc)
        rc = store_get(setup->store, "authority.cert", &setup->ca_pem);
    return rc ? rc : authority_load(key, setup->ca_pem, &setup->authority);
}

static int load_identity(struct setup *setup)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    int rc = store_secret_get(setup->store, "console.key", &key);

    if (rc == -FL_ENOTFOUND) {
        rc = make_identity(setup->store, setup->authority);
        if (!rc)
            rc = store_secret_get(setup->store, "console.key", &key);
    }
    if (!rc)
        rc = store_get(setup->store, "console.cert", &cert);
    return rc ? rc
              : identity_new(key, cert, strlen(cert), setup->ca_pem, strlen(setup->ca_pem),
                             &setup->identity);
}

/* web_names - who the HTTPS certificate is for, also as one text to notice a change. */
static size_t web_names(const char *ui_host, const char *public_host, const char *hostname,
                        const char *names[static WEB_NAMES_MAX], char *text, size_t cap)
{
    const char *const all[] = {"localhost", "127.0.0.1", "::1", hostname, ui_host, public_host};
    size_t n = 0, at = 0;

    text[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        bool wildcard = !strcmp(all[i], "0.0.0.0") || !strcmp(all[i], "::");
        bool seen = all[i][0] == 0 || wildcard;

        for (size_t k = 0; k < n; k++)
            seen |= !strcmp(all[i], names[k]);
        if (seen)
            continue;
        names[n++] = all[i];
        at += (size_t)snprintf(text + at, at < cap ? cap - at : 0, "%s ", all[i]);
        if (at >= cap)
            break;
    }
    return n;
}

static int make_web(struct setup *setup, const char *const *names, size_t count, const char *wanted)
{
    int64_t expires = clock_wall() + WEB_DAYS * DAY;
    char until[24];
    int rc = authority_issue_web(setup->authority, names, count, WEB_DAYS, &setup->web_pem);

    snprintf(until, sizeof(until), "%lld", (long long)expires);
    if (!rc)
        rc = store_secret_put(setup->store, "web.pem", setup->web_pem);
    if (!rc)
        rc = store_put(setup->store, "web.names", wanted);
    if (!rc)
        rc = store_put(setup->store, "web.until", until);
    if (!rc)
        setup->web_until = expires;
    return rc;
}

static bool web_expires(int64_t until)
{
    return clock_wall() + WEB_RENEW_DAYS * DAY >= until;
}

static void wipe(char *pem)
{
    if (pem)
        gnutls_memset(pem, 0, strlen(pem));
    free(pem);
}

/* split_names - what web_names() has put together; @text is cut up. */
static size_t split_names(char *text, const char *names[static WEB_NAMES_MAX])
{
    char *rest = NULL;
    size_t n = 0;

    for (char *name = strtok_r(text, " ", &rest); name && n < WEB_NAMES_MAX;
         name = strtok_r(NULL, " ", &rest))
        names[n++] = name;
    return n;
}

/* make_web_again - for the names of the former one, all of it or nothing. */
static int make_web_again(struct setup *setup)
{
    _cleanup_free_ char *held = NULL, *cut = NULL;
    const char *names[WEB_NAMES_MAX];
    int rc = store_get(setup->store, "web.names", &held);

    if (rc)
        return rc;
    cut = strdup(held);
    rc = cut ? store_begin(setup->store) : -ENOMEM;
    if (rc)
        return rc;
    rc = make_web(setup, names, split_names(cut, names), held);
    if (!rc)
        return store_commit(setup->store);
    store_rollback(setup->store);
    return rc;
}

int setup_renew_web(struct setup *setup)
{
    char *former = setup->web_pem;
    int64_t until = setup->web_until;

    if (!web_expires(until))
        return 0;
    setup->web_pem = NULL;
    int rc = make_web_again(setup);
    if (!rc) {
        wipe(former);
        return 1;
    }
    wipe(setup->web_pem);
    setup->web_pem = former;
    setup->web_until = until;
    return rc;
}

static int load_web(struct setup *setup, const char *ui_host, const char *public_host)
{
    _cleanup_free_ char *held = NULL, *until = NULL;
    char wanted[1024], hostname[256] = "";
    const char *names[WEB_NAMES_MAX];

    if (gethostname(hostname, sizeof(hostname) - 1))
        hostname[0] = 0;
    size_t count = web_names(ui_host, public_host, hostname, names, wanted, sizeof(wanted));
    if (store_get(setup->store, "web.names", &held) == 0 &&
        store_get(setup->store, "web.until", &until) == 0 && !strcmp(held, wanted) &&
        !web_expires(strtoll(until, NULL, 10))) {
        setup->web_until = strtoll(until, NULL, 10);
        return store_secret_get(setup->store, "web.pem", &setup->web_pem);
    }
    return make_web(setup, names, count, wanted);
}

static void count_token(void *ctx, const struct store_api_token *token)
{
    *(bool *)ctx = true;
}

static void count_user(void *ctx, const struct store_user *user)
{
    *(bool *)ctx = true;
}

/* write_secret - @text as a line in @name, readable by us alone. */
static int write_secret(const struct setup *setup, const char *name, const char *text)
{
    char line[AUTH_TOKEN_TEXT + 2];

    snprintf(line, sizeof(line), "%s\n", text);
    int rc = setup_write(setup, name, line, 0600);
    gnutls_memset(line, 0, sizeof(line));
    return rc;
}

/* The file is written before its hash is committed: a token without a hash is made again, a hash
 * without a file would lock the administrator out. */
static int make_admin_token(struct setup *setup)
{
    struct store_api_token token = {.name = "admin", .role = ROLE_ADMIN, .created = clock_wall()};
    char text[AUTH_TOKEN_TEXT];
    bool there = false;
    int rc = store_api_tokens(setup->store, count_token, &there);

    if (rc || there)
        return rc;
    rc = auth_make_token(text, token.hash);
    if (!rc)
        rc = write_secret(setup, "admin.token", text);
    gnutls_memset(text, 0, sizeof(text));
    return rc ? rc : store_api_token_add(setup->store, &token);
}

/* The first user; whoever logs in with the password from the file has to choose another. */
static int make_admin_user(struct setup *setup)
{
    struct store_user user = {
        .name = "admin", .role = ROLE_ADMIN, .must_change = true, .created = clock_wall()};
    char password[USER_PASSWORD_TEXT];
    bool there = false;
    int rc = store_users(setup->store, count_user, &there);

    if (rc || there)
        return rc;
    rc = users_make_password(password);
    if (!rc)
        rc = users_set_password(&user, password);
    if (!rc)
        rc = write_secret(setup, "admin.password", password);
    gnutls_memset(password, 0, sizeof(password));
    return rc ? rc : store_user_put(setup->store, &user);
}

static int load_all(struct setup *setup, const char *ui_host, const char *public_host,
                    const char **ret_step)
{
    *ret_step = "the console's authority";
    int rc = load_authority(setup);
    if (rc)
        return rc;
    *ret_step = "the console's identity";
    if ((rc = load_identity(setup)))
        return rc;
    /* With a clock that is off by years every certificate would be refused somewhere, for reasons
     * hard to find. */
    if (clock_wall() < identity_starts(setup->identity) ||
        clock_wall() > identity_expires(setup->identity))
        return -FL_EEXPIRED;
    *ret_step = "the HTTPS certificate";
    if ((rc = load_web(setup, ui_host, public_host)))
        return rc;
    *ret_step = "ca.pem";
    if ((rc = setup_write(setup, "ca.pem", setup->ca_pem, 0644)))
        return rc;
    *ret_step = "admin.password";
    if ((rc = make_admin_user(setup)))
        return rc;
    *ret_step = "admin.token";
    return make_admin_token(setup);
}

static int load_in_one_go(struct setup *setup, const char *ui_host, const char *public_host,
                          char *message)
{
    const char *step = "the database";
    int rc = store_begin(setup->store);

    if (!rc) {
        rc = load_all(setup, ui_host, public_host, &step);
        if (rc) {
            store_rollback(setup->store);
        } else {
            step = "the database";
            rc = store_commit(setup->store);
        }
    }
    return rc ? complain(message, rc, setup->dir, step) : 0;
}

/* take_dir - the directory is there and ours. */
static int take_dir(struct setup *setup, const char *dir, char *message)
{
    message[0] = 0;
    *setup = (struct setup){.dir = strdup(dir), .lock_fd = -1};
    if (!setup->dir)
        return complain(message, -ENOMEM, dir, "cannot use it as state directory");
    int rc = make_dir(dir, message);
    return rc ? rc : take_lock(setup, message);
}

static int database_path(const char *dir, const char *name, char path[static PATH_MAX],
                         char *message)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return 0;
    return complain(message, -ENAMETOOLONG, dir, "cannot use it as state directory");
}

static int unlock(struct setup *setup, const struct setup_secrets *secrets, char *message)
{
    static const struct setup_secrets none;
    char why[SETUP_MESSAGE_MAX - 264];

    secrets = secrets ? secrets : &none;
    int rc = store_unlock(setup->store, secrets->passphrase, secrets->fresh, why, sizeof(why));
    if (rc)
        snprintf(message, SETUP_MESSAGE_MAX, "%.256s: %s", setup->dir, why);
    return rc;
}

int setup_open(const char *dir, const char *ui_host, const char *public_host,
               const struct setup_secrets *secrets, struct setup *ret_setup, char *message)
{
    struct setup setup;
    char path[PATH_MAX];
    int rc = take_dir(&setup, dir, message);

    if (!rc)
        rc = database_path(dir, DATABASE, path, message);
    if (!rc)
        rc = store_open(path, &setup.store, message, SETUP_MESSAGE_MAX);
    if (!rc)
        rc = unlock(&setup, secrets, message);
    if (!rc)
        rc = load_in_one_go(&setup, ui_host, public_host, message);
    if (rc) {
        setup_done(&setup);
        return rc;
    }
    *ret_setup = setup;
    return 0;
}

/* ---- putting a backup back ---- */

/* copy_file - all of @from to the new file @to, on the disk. */
static int copy_file(const char *from, const char *to)
{
    static char block[64 * 1024];
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (in < 0)
        return -errno;
    (void)unlink(to);
    _cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return -errno;
    while ((n = read(in, block, sizeof(block))) > 0)
        for (ssize_t at = 0, done; at < n; at += done)
            if ((done = write(out, block + at, (size_t)(n - at))) < 0)
                return -errno;
    return n < 0 || fsync(out) ? -errno : 0;
}

/* The newcomer's token: whoever puts a backup back holds all keys of it anyway. */
static int add_token(struct setup *setup)
{
    struct store_api_token token = {
        .name = "admin (restored)", .role = ROLE_ADMIN, .created = clock_wall()};
    char text[AUTH_TOKEN_TEXT];
    int rc = auth_make_token(text, token.hash);

    if (!rc)
        rc = write_secret(setup, "admin.token", text);
    gnutls_memset(text, 0, sizeof(text));
    return rc ? rc : store_api_token_add(setup->store, &token);
}

/* put_back - into the file @path, which becomes @final when all is well. */
static int put_back(struct setup *setup, const char *file, const char *path, const char *final,
                    char *message)
{
    int rc = copy_file(file, path);

    if (rc)
        return complain(message, rc, file, "cannot be copied");
    if ((rc = store_check_backup(path, message, SETUP_MESSAGE_MAX)) ||
        (rc = store_open(path, &setup->store, message, SETUP_MESSAGE_MAX)))
        return rc;
    if ((rc = add_token(setup)))
        return complain(message, rc, setup->dir, "admin.token");
    if ((rc = store_sessions_clear(setup->store)))
        return complain(message, rc, path, "cannot be written");
    store_close(take_ptr(setup->store)); /* its log goes into the file */
    return rename(path, final) ? complain(message, -errno, final, "cannot be put there") : 0;
}

int setup_restore(const char *dir, const char *file, char *message)
{
    char path[PATH_MAX], final[PATH_MAX];
    struct setup setup;
    int rc = store_check_backup(file, message, SETUP_MESSAGE_MAX);

    if (rc)
        return rc;
    rc = take_dir(&setup, dir, message);
    if (!rc)
        rc = database_path(dir, ".restore.new", path, message);
    if (!rc)
        rc = database_path(dir, DATABASE, final, message);
    if (!rc && access(final, F_OK) == 0) {
        snprintf(message, SETUP_MESSAGE_MAX,
                 "%.256s: there is a console's state already: move it away, or use another --state",
                 dir);
        rc = -EEXIST;
    }
    if (!rc && (rc = put_back(&setup, file, path, final, message)))
        (void)unlink(path);
    setup_done(&setup);
    return rc;
}

void setup_done(struct setup *setup)
{
    identity_unref(setup->identity);
    if (setup->authority)
        authority_free(setup->authority);
    store_close(setup->store);
    if (setup->lock_fd >= 0)
        (void)close(setup->lock_fd);
    free(setup->dir);
    free(setup->ca_pem);
    wipe(setup->web_pem);
    memset(setup, 0, sizeof(*setup));
    setup->lock_fd = -1;
}
