/* fuzz_http_head.c - heads of requests: bounds hold, and how the bytes are cut changes nothing. */
#include "fuzz.h"

#include <string.h>

#include "proxy/http_head.h"

static void check(const struct http_head *head, size_t taken)
{
    must(taken == head->bytes && taken <= HTTP_HEAD_MAX);
    must(strlen(head->method) <= HTTP_METHOD_MAX && strlen(head->target) <= HTTP_TARGET_KEPT);
    must(head->target_len <= HTTP_TARGET_MAX && head->fields <= HTTP_FIELDS_MAX);
    must(head->status == 0 || head->status == HTTP_OK || head->status == 400 ||
         head->status == 414 || head->status == 431 || head->status == 505);
    if (head->status == HTTP_OK)
        must(*head->method && *head->target && (head->minor == 0 || head->hosts == 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head whole, cut;
    size_t n = 0;

    http_head_init(&whole);
    size_t taken = http_head_feed(&whole, data, size);
    must(whole.status != 0 || taken == size);
    check(&whole, taken);
    http_head_init(&cut);
    while (n < size && cut.status == 0) {
        size_t piece = 1 + (size_t)data[n] % 7;
        n += http_head_feed(&cut, data + n, piece < size - n ? piece : size - n);
    }
    must(n == taken && memcmp(&whole, &cut, sizeof(whole)) == 0);
    return 0;
}
