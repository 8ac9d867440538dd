/* fuzz_discover.c - datagrams of LAN discovery from anybody, one after another, each 4 bytes of
 * where it comes from and then DISCOVER_BYTES or what is left: a parser that takes nothing else, a
 * table that keeps its bounds, and no address found that nobody announced. */
#include "fuzz.h"

#include <string.h>

#include "agent/discover.h"
#include "base/clock.h"

static struct discover_table table;

static void hear(const uint8_t *place, const uint8_t *bytes, size_t len, uint64_t now)
{
    struct discover_place from = {.family = place[0] & 1 ? AF_INET6 : AF_INET,
                                  .scope = place[0] & 1};
    struct discover_said said;

    memcpy(from.ip, place + 1, 3);
    if (discover_parse(bytes, len, &said) == 0) {
        must(len == DISCOVER_BYTES);
        discover_keep(&table, &said, &from, now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char found[DISCOVER_FOUND][LEG_ADDRESS_MAX];
    uint8_t key[DISCOVER_KEY] = {0}, own[DISCOVER_BYTES], nonce[DISCOVER_NONCE] = {1};
    struct fl_id peer = {.b = {1}}, stranger = {.b = {2}};
    struct discover_place from = {.family = AF_INET, .ip = {1, 2, 3, 4}};
    struct discover_said said;
    uint64_t now = CLOCK_SEC;

    memset(&table, 0, sizeof(table));
    while (size > 4) {
        size_t len = size - 4 < DISCOVER_BYTES ? size - 4 : DISCOVER_BYTES;

        hear(data, data + 4, len, ++now);
        data += 4 + len;
        size -= 4 + len;
    }
    /* Real ones may be among them: libFuzzer looks over memcmp()'s shoulder. */
    must(discover_find(&table, key, &stranger, now, found, DISCOVER_FOUND) <= DISCOVER_FOUND);
    must(discover_make(key, &peer, 9, false, nonce, own) == 0);
    must(discover_parse(own, sizeof(own), &said) == 0);
    discover_keep(&table, &said, &from, ++now);
    must(discover_find(&table, key, &peer, now, found, DISCOVER_FOUND) >= 1);
    must(strcmp(found[0], "1.2.3.4:9") == 0);
    return 0;
}
