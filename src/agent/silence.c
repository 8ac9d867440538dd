#include "agent/silence.h"

#define QUIET (4 * CLOCK_SEC) /* without a byte: ask for one */

bool silence_lasts(struct tunnel *tunnel, uint64_t now, uint64_t *asked)
{
    struct tunnel_info info;

    tunnel_info(tunnel, &info);
    if (now < info.last_rx + QUIET || (*asked && info.last_rx > *asked)) {
        *asked = 0;
        return false;
    }
    if (!*asked) {
        *asked = now;
        tunnel_probe(tunnel);
    }
    return true;
}
