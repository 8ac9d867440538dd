#include "leg/quic_wear.h"

#include "base/clock.h"

#define HARD 1048576 /* bytes in a second: a transfer, not what is said beside one */
#ifndef QUIC_FAR_US  /* tests are near */
#define QUIC_FAR_US (10 * CLOCK_MS)
#endif

void quic_wear_note(struct quic_wear *wear, uint64_t now, size_t len)
{
    if (now >= wear->since + CLOCK_SEC) {
        wear->since = now;
        wear->bytes = 0;
    }
    wear->bytes += len;
    wear->hard |= wear->bytes >= HARD;
}

bool quic_wear_worn(const struct quic_wear *wear, uint64_t rtt)
{
    return wear->hard && rtt >= QUIC_FAR_US;
}
