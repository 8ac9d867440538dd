/* fuzz_names.c - paths as a peer may send them: what is accepted stays below its folder and has an
 * order. The input is two paths, the first byte the length of the first one. */
#include "fuzz.h"

#include <string.h>

#include "agent/names.h"

/* Another look at what names_check() promises. */
static bool is_below(const uint8_t *path, size_t len)
{
    size_t part = 0;

    if (len == 0 || len > NAMES_PATH_MAX || memchr(path, 0, len))
        return false;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && path[i] != '/')
            continue;
        size_t n = i - part;
        if (n == 0 || n > NAMES_LEAF_MAX || (n <= 2 && !memcmp(path + part, "..", n)))
            return false;
        part = i + 1;
    }
    return true;
}

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char part[NAMES_PART_MAX], again[NAMES_PART_MAX];
    const struct fl_id flow = {{1}};

    if (size == 0)
        return 0;
    size_t a_len = data[0] < size - 1 ? data[0] : size - 1, b_len = size - 1 - a_len, leaf_len;
    const uint8_t *a = data + 1, *b = a + a_len;
    bool a_good = names_check(a, a_len) == 0, b_good = names_check(b, b_len) == 0;

    must(a_good == is_below(a, a_len) && b_good == is_below(b, b_len));
    if (!a_good || !b_good)
        return 0;
    must(sign(names_compare(a, a_len, b, b_len)) == -sign(names_compare(b, b_len, a, a_len)));
    must((names_compare(a, a_len, b, b_len) == 0) == (a_len == b_len && !memcmp(a, b, a_len)));
    const char *leaf = names_leaf(b, b_len, &leaf_len);
    must((const uint8_t *)leaf >= b && (const uint8_t *)leaf + leaf_len == b + b_len);
    size_t parent = names_parent(b, b_len);
    must(parent == 0 ? leaf_len == b_len : parent + 1 + leaf_len == b_len);
    must(parent == 0 || names_compare(b, parent, b, b_len) < 0); /* a folder before its content */
    (void)names_part(&flow, b, b_len, part);
    must(names_is_part(part, strlen(part)));
    must(!strcmp(part, names_part(&flow, b, b_len, again)));
    (void)names_is_part(leaf, leaf_len);
    return 0;
}
