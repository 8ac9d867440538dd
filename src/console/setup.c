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
#include "console/users.h"

#define WEB_DAYS       397
#define WEB_RENEW_DAYS 30
#define WEB_NAMES_MAX  8
#define DAY            INT64_C(86400)

static int complain(char *message, int code, const char *path, const char *what)
{
    snprintf(message, SETUP_MESSAGE_MAX, "%.256s: %s: %s", path, what, error_text(code));
    return code;
}

/* ---- directory and lock ---- */

static int make_dir(const char *dir, char *message)
{
    struct stat st;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return complain(message, -errno, dir, "cannot make the state directory");
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
        rc = store_put(store, "authority.key", key);
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
        rc = store_put(store, "console.key", key);
    return rc ? rc : store_put(store, "console.cert", cert);
}

static int load_authority(struct setup *setup)
{
    _cleanup_free_ char *key = NULL;
    int rc = store_get(setup->store, "authority.key", &key);

    if (rc == -FL_ENOTFOUND) {
        rc = make_authority(setup->store);
        if (!rc)
            rc = store_get(setup->store, "authority.key", &key);
    }
    if (!rc)
        rc = store_get(setup->store, "authority.cert", &setup->ca_pem);
    return rc ? rc : authority_load(key, setup->ca_pem, &setup->authority);
}

static int load_identity(struct setup *setup)
{
    _cleanup_free_ char *key = NULL, *cert = NULL;
    int rc = store_get(setup->store, "console.key", &key);

    if (rc == -FL_ENOTFOUND) {
        rc = make_identity(setup->store, setup->authority);
        if (!rc)
            rc = store_get(setup->store, "console.key", &key);
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
    char until[24];
    int rc = authority_issue_web(setup->authority, names, count, WEB_DAYS, &setup->web_pem);

    snprintf(until, sizeof(until), "%lld", (long long)(clock_wall() + WEB_DAYS * DAY));
    if (!rc)
        rc = store_put(setup->store, "web.pem", setup->web_pem);
    if (!rc)
        rc = store_put(setup->store, "web.names", wanted);
    return rc ? rc : store_put(setup->store, "web.until", until);
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
        clock_wall() + WEB_RENEW_DAYS * DAY < strtoll(until, NULL, 10))
        return store_get(setup->store, "web.pem", &setup->web_pem);
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

int setup_open(const char *dir, const char *ui_host, const char *public_host,
               struct setup *ret_setup, char *message)
{
    struct setup setup = {.dir = strdup(dir), .lock_fd = -1};
    char path[PATH_MAX];
    int rc = setup.dir ? 0 : -ENOMEM;

    message[0] = 0;
    if (!rc)
        rc = make_dir(dir, message);
    if (!rc)
        rc = take_lock(&setup, message);
    if (!rc && snprintf(path, sizeof(path), "%s/console.db", dir) >= (int)sizeof(path))
        rc = complain(message, -ENAMETOOLONG, dir, "cannot use it as state directory");
    if (!rc)
        rc = store_open(path, &setup.store, message, SETUP_MESSAGE_MAX);
    if (!rc)
        rc = load_in_one_go(&setup, ui_host, public_host, message);
    if (rc) {
        if (!message[0])
            (void)complain(message, rc, dir, "cannot use it as state directory");
        setup_done(&setup);
        return rc;
    }
    *ret_setup = setup;
    return 0;
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
    if (setup->web_pem)
        gnutls_memset(setup->web_pem, 0, strlen(setup->web_pem));
    free(setup->web_pem);
    memset(setup, 0, sizeof(*setup));
    setup->lock_fd = -1;
}
