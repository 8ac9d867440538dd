/* loader.h - a process that reads the proxy's files again when asked, since the proxy itself opens
 * nothing after its start.
 *
 * Forked before the sandbox closes. It holds no socket but the one to the proxy, may open files for
 * reading and nothing else (sandbox_enter_reader()), and ends with the proxy. It checks what it
 * reads and hands over texts; the proxy makes its own keys of them. One request at a time.
 */
#ifndef FL_PROXY_LOADER_H
#define FL_PROXY_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOADER_TEXT_MAX (256 * 1024) /* of each text */

enum loader_text { LOADER_MESSAGE, LOADER_IDENTITY, LOADER_CA, LOADER_TLS, LOADER_TEXTS };

/* What stands before the texts in an answer. */
struct loader_head {
    uint32_t ok;                /* else only the message is there: the one line to show */
    uint32_t len[LOADER_TEXTS]; /* bytes of each, in order */
};

struct loader {
    pid_t pid;
    int fd;                  /* to the loader, non-blocking here */
    struct loader_head head; /* of the answer that is coming in */
    size_t got;              /* bytes of it, head included */
    char *bytes;             /* the texts, each with a NUL; owned */
};

/* loader_start - fork one for @config, sandboxed unless @unsafe. The caller has no threads yet.
 * Returns 0 or a negative errno. */
int loader_start(struct loader *loader, const char *config, bool unsafe);

/* loader_stop - it ends by itself, soon. */
void loader_stop(struct loader *loader);

/* loader_ask - read the files again. Returns 0, or -FL_ECLOSED when the loader has gone. */
int loader_ask(struct loader *loader);

/* loader_receive - to be called when @loader->fd is readable. Returns 0 with the whole answer in
 * @loader until loader_forget(); -EAGAIN; or -FL_ECLOSED, -FL_EPROTO, -ENOMEM: it is of no more
 * use. */
int loader_receive(struct loader *loader);
const char *loader_text(const struct loader *loader, enum loader_text which);
void loader_forget(struct loader *loader);

#endif
