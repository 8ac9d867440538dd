/* fuzz_quic_guard.c - frames of decrypted QUIC packets, each preceded by two bytes of length. */
#include "fuzz.h"

#include "base/clock.h"
#include "base/error.h"
#include "leg/quic_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct quic_guard guard = {0};
    uint64_t now = 0;

    while (size >= 2) {
        size_t len = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        int rc = quic_guard_walk(&guard, data, len, now);
        must(rc == 0 || rc == -FL_EFRAME || rc == -FL_EFULL);
        data += len;
        size -= len;
        now += CLOCK_SEC / 3;
    }
    return 0;
}
