#include "leg/tcp_tune.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define NOTSENT_BYTES      (128 * 1024) /* unsent in the kernel; more would only be latency */
#define NOTSENT_MAX        (2 * 1024 * 1024)
#define NOTSENT_MS         20            /* of a faster line, in place of NOTSENT_BYTES */
#define LOOK_BYTES         (1024 * 1024) /* sent, until its speed is looked at again */
#define NEAR_US            1000          /* a shorter round trip is the same room */
#define NEAR_NOTSENT_BYTES (1024 * 1024)
#define CONGESTION_MAX     16 /* TCP_CA_NAME_MAX of the kernel */

/* A kernel may have BBR as its default, and that paces: a timer for every 64 KiB, which on a short
 * way costs more than all the rest of relaying them (loopback: 0.48 against 0.07 CPU s/GB). A
 * socket that has sent under it goes on being paced under any other control, so it must not start
 * with it. */
void tcp_tune_unpaced(int fd)
{
    char name[CONGESTION_MAX] = "";
    socklen_t len = sizeof(name) - 1;

    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) || strcmp(name, "bbr") != 0)
        return;
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5))
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); /* nobody is refused this */
}

void tcp_tune(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 120 * 1000},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_BYTES},
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
    tcp_tune_unpaced(fd);
}

static bool is_near(uint64_t rtt)
{
    return rtt > 0 && rtt < NEAR_US;
}

/* A long way gets BBR, which fills lossy lines that CUBIC does not. A short one has nothing to win
 * by it, and is not paced: see tcp_tune_unpaced(). In its place more may wait unsent, which is no
 * time on a short way and spares wake-ups. Not every kernel has BBR; the default serves too. */
void tcp_tune_to_way(int fd, uint64_t *ret_rtt)
{
    static const int unsent = NEAR_NOTSENT_BYTES;
    struct tcp_info info;
    socklen_t len = sizeof(info);

    *ret_rtt = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ? 0 : info.tcpi_rtt;
    if (is_near(*ret_rtt))
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    else
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
}

/* On a fast line NOTSENT_BYTES are gone before a busy machine has woken us up, and BBR takes a
 * source that falls short for a slow line. */
void tcp_tune_to_speed(int fd, uint64_t rtt, uint64_t sent, uint64_t now_ms,
                       struct tcp_speed *speed)
{
    uint64_t bytes = sent - speed->sent, ms = now_ms - speed->ms, unsent;
    int value;

    if (is_near(rtt) || bytes < LOOK_BYTES)
        return;
    unsent = bytes * NOTSENT_MS / (ms ? ms : 1);
    unsent = unsent > NOTSENT_BYTES ? unsent : NOTSENT_BYTES;
    value = unsent < NOTSENT_MAX ? (int)unsent : NOTSENT_MAX;
    *speed = (struct tcp_speed){.sent = sent, .ms = now_ms};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value));
}
