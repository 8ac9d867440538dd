/* upgrade.h - a program's life around handover.h: it may begin by taking over from a running
 * process (or from systemd's sockets), and end by handing over to the next one.
 *
 * In the order of the calls: upgrade_begin, upgrade_open (or _came and _give) for each address,
 * upgrade_take (all before the sandbox), upgrade_serve, upgrade_stop, upgrade_done.
 */
#ifndef FL_PROXY_UPGRADE_H
#define FL_PROXY_UPGRADE_H

#include "proxy/handover_uv.h"
#include "proxy/proxy_config.h"
#include "proxy/takeover.h"
#include "proxy/worker_uv.h"

/* What happens on the main thread: when a new process has taken over, and when we do. */
struct upgrade_ops {
    void (*moved)(void *ctx); /* the sockets given are its, so listen no more */
    void (*over)(void *ctx);  /* and nothing is left to do here */
    /* Worker @i goes on with a session of Syncthing devices: as st_server_adopt(). */
    int (*devices)(void *ctx, unsigned i, const struct session_image *image);
};

/* upgrade_taker - worker number @i accepts on @fd, which is its own from now on, closed on failure
 * too. Returns 0 or a negative code. */
typedef int upgrade_taker(void *ctx, unsigned i, int fd);

struct upgrade {
    const struct proxy_config *config;
    struct sockets came;  /* and were not taken yet */
    struct sockets given; /* listening; those of listeners, which own them */
    bool taking;          /* from a running process, by: */
    struct takeover takeover;
    int fd; /* the unix socket; -1: none, or handover's by now */
    struct handover handover;
    uv_timer_t leave; /* after a hand-over: is anything left? */
    uint64_t moved_at;
    struct proxy *proxy;
    const struct upgrade_ops *ops;
    void *ctx; /* for them */
};

/* upgrade_begin - sockets of systemd, or with @take_over those of the running process. Opens the
 * unix socket if one is configured. Returns 0, or a negative code with @message. */
int upgrade_begin(struct upgrade *upgrade, const struct proxy_config *config, bool take_over,
                  char *message, size_t cap);

/* upgrade_open - have all @count workers accept at @address, by @take: on sockets of @kind
 * (sockets.h) that came, else on new ones. The next process gets them. Returns 0 or a negative
 * code. */
int upgrade_open(struct upgrade *upgrade, const char *kind, const char *address, unsigned count,
                 upgrade_taker *take, void *ctx);

/* upgrade_came - for an address with one socket: that which came, the caller's from now on; -1:
 * none, so bind one. upgrade_give - the next process gets @fd, which stays its listener's. Returns
 * 0 or a negative code. */
int upgrade_came(struct upgrade *upgrade, const char *kind, const char *address);
int upgrade_give(struct upgrade *upgrade, const char *kind, const char *address, int fd);

/* upgrade_take - take the running process's sessions, if we take over at all; from here on we are
 * the proxy. On failure the process has to end at once (_exit), see takeover_finish(). Returns 0,
 * or a negative code with @message. */
int upgrade_take(struct upgrade *upgrade, struct proxy *proxy, struct worker_uv *shells,
                 unsigned count, char *message, size_t cap);

/* upgrade_serve - hand over to a successor that asks, on @loop. Returns 0 or a negative code. */
int upgrade_serve(struct upgrade *upgrade, struct proxy *proxy, uv_loop_t *loop,
                  const struct upgrade_ops *ops, void *ctx);

/* upgrade_stop - no more; before the workers stop. upgrade_done - after they have. */
void upgrade_stop(struct upgrade *upgrade);
void upgrade_done(struct upgrade *upgrade);

#endif
