#include "proxy/loader.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "proxy/proxy_config.h"
#include "proxy/sandbox.h"

#define MESSAGE_MAX 512

/* ---- the loader's side ---- */

/* Whether the other end got it shows at the next read. */
static bool send_all(int fd, const void *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = (const char *)bytes + n;
        len -= (size_t)n;
    }
    return true;
}

static bool answer(int fd, bool ok, const char *const text[LOADER_TEXTS])
{
    struct loader_head head = {.ok = ok};
    bool sent;

    for (unsigned i = 0; i < LOADER_TEXTS; i++)
        head.len[i] = text[i] ? (uint32_t)strlen(text[i]) : 0;
    sent = send_all(fd, &head, sizeof(head));
    for (unsigned i = 0; i < LOADER_TEXTS; i++)
        sent = sent && send_all(fd, text[i], head.len[i]);
    return sent;
}

/* Everything that the proxy checks at its start, so that the message is as good. */
static int check(const struct proxy_config *config, const char *path, char *message)
{
    struct identity *identity;
    struct web *web;
    int rc = proxy_config_open(config, path, &identity, &web, message, MESSAGE_MAX);

    if (rc)
        return rc;
    identity_unref(identity);
    web_unref(web);
    return 0;
}

static bool read_files(int fd, const char *path)
{
    struct proxy_config config;
    char message[MESSAGE_MAX] = "";
    int rc = proxy_config_load(path, &config, message, sizeof(message));

    if (rc == 0)
        rc = check(&config, path, message);
    const char *const text[LOADER_TEXTS] = {message, rc ? NULL : config.identity,
                                            rc ? NULL : config.ca,
                                            rc ? NULL : config.tls_certificate};
    bool sent = answer(fd, rc == 0, text);
    proxy_config_done(&config);
    return sent;
}

/* It dies with the proxy's main thread; the socket's end tells the same. */
static void serve(int fd, const char *config, bool unsafe, pid_t parent)
{
    struct sandbox_gaps gaps = {.text = ""};
    char order;

    (void)prctl(PR_SET_NAME, "fairlead-loader");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return;
    (void)signal(SIGHUP, SIG_IGN); /* which may go to the whole group */
    (void)signal(SIGINT, SIG_IGN);
    if (!unsafe) {
        sandbox_enter_reader(&gaps);
        sandbox_seal_reader(&gaps);
    }
    while (read(fd, &order, 1) == 1) {
        if (!read_files(fd, config))
            return;
    }
}

/* What the proxy has open is none of the loader's business; its log on standard error is. */
static void close_others(int fd)
{
    if (fd > STDERR_FILENO + 1)
        (void)close_range(STDERR_FILENO + 1, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)fd + 1, ~0u, 0);
}

/* ---- the proxy's side ---- */

int loader_start(struct loader *loader, const char *config, bool unsafe)
{
    int fds[2];
    pid_t parent = getpid();

    *loader = (struct loader){.fd = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        return -errno;
    loader->pid = fork();
    if (loader->pid < 0) {
        int error = errno;
        (void)close(fds[0]);
        (void)close(fds[1]);
        return -error;
    }
    if (loader->pid == 0) {
        close_others(fds[1]);
        serve(fds[1], config, unsafe, parent);
        _exit(EXIT_SUCCESS);
    }
    (void)close(fds[1]);
    loader->fd = fds[0];
    return 0;
}

int loader_ask(struct loader *loader)
{
    return loader->fd >= 0 && send_all(loader->fd, "r", 1) ? 0 : -FL_ECLOSED;
}

/* What an answer's texts need, with a NUL after each; 0: more than there may be. */
static size_t room_for(const struct loader_head *head)
{
    size_t sum = LOADER_TEXTS;

    for (unsigned i = 0; i < LOADER_TEXTS; i++) {
        if (head->len[i] > LOADER_TEXT_MAX)
            return 0;
        sum += head->len[i];
    }
    return sum;
}

void loader_forget(struct loader *loader)
{
    if (loader->bytes)
        explicit_bzero(loader->bytes, room_for(&loader->head));
    free(loader->bytes);
    loader->bytes = NULL;
    loader->got = 0;
}

void loader_stop(struct loader *loader)
{
    loader_forget(loader);
    if (loader->fd < 0)
        return;
    (void)close(loader->fd);
    loader->fd = -1;
}

static int make_room(struct loader *loader)
{
    size_t room = room_for(&loader->head);

    if (room == 0)
        return -FL_EPROTO;
    loader->bytes = calloc(1, room);
    return loader->bytes ? 0 : -ENOMEM;
}

/* Where the next byte of an answer goes, and how many belong there. */
static size_t place(struct loader *loader, char **ret_at)
{
    size_t got = loader->got, end = sizeof(loader->head);
    char *at = (char *)&loader->head;

    for (unsigned i = 0; got >= end && i < LOADER_TEXTS; i++) {
        got -= end;
        at = i == 0 ? loader->bytes : at + end + 1;
        end = loader->head.len[i];
    }
    *ret_at = at + got;
    return got < end ? end - got : 0;
}

int loader_receive(struct loader *loader)
{
    char *at;
    size_t want;

    while ((want = place(loader, &at)) > 0) {
        ssize_t n = recv(loader->fd, at, want, MSG_DONTWAIT);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -FL_ECLOSED;
        loader->got += (size_t)n;
        int rc = loader->got == sizeof(loader->head) ? make_room(loader) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

const char *loader_text(const struct loader *loader, enum loader_text which)
{
    const char *text = loader->bytes;

    for (unsigned i = 0; i < which; i++)
        text += loader->head.len[i] + 1;
    return text;
}
