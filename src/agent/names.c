#include "agent/names.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PART_HEAD ".fairlead-"
#define PART_TAIL ".part"
#define PART_HEX  16

static bool leaf_allowed(const char *leaf, size_t len)
{
    if (len == 0 || len > NAMES_LEAF_MAX)
        return false;
    if (leaf[0] == '.' && (len == 1 || (len == 2 && leaf[1] == '.')))
        return false;
    return memchr(leaf, 0, len) == NULL;
}

int names_check(const void *path, size_t len)
{
    const char *at = path;
    const char *end = at + len;

    if (len == 0 || len > NAMES_PATH_MAX)
        return -FL_ENAME;
    for (;;) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        const char *stop = slash ? slash : end;

        if (!leaf_allowed(at, (size_t)(stop - at)))
            return -FL_ENAME;
        if (!slash)
            return 0;
        at = slash + 1;
    }
}

int names_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const unsigned char *x = a, *y = b;
    size_t n = a_len < b_len ? a_len : b_len;

    for (size_t i = 0; i < n; i++) {
        if (x[i] == y[i])
            continue;
        if (x[i] == '/' ||
            y[i] == '/') /* the end of a part sorts before any byte of a longer one */
            return x[i] == '/' ? -1 : 1;
        return x[i] < y[i] ? -1 : 1;
    }
    return a_len == b_len ? 0 : a_len < b_len ? -1 : 1;
}

size_t names_parent(const void *path, size_t len)
{
    const char *slash = memrchr(path, '/', len);

    return slash ? (size_t)(slash - (const char *)path) : 0;
}

const char *names_leaf(const void *path, size_t len, size_t *ret_len)
{
    const char *slash = memrchr(path, '/', len);
    const char *leaf = slash ? slash + 1 : path;

    *ret_len = len - (size_t)(leaf - (const char *)path);
    return leaf;
}

char *names_part(const struct fl_id *flow, const void *path, size_t len,
                 char buf[static NAMES_PART_MAX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t text[FL_ID_BYTES + NAMES_PATH_MAX + 1], hash[32];
    char *at = buf;

    if (len > NAMES_PATH_MAX)
        len = NAMES_PATH_MAX;
    memcpy(text, flow->b, FL_ID_BYTES);
    memcpy(text + FL_ID_BYTES, path, len);
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, FL_ID_BYTES + len, hash) < 0)
        abort(); /* SHA-256 of bytes in memory has no way to fail */
    memcpy(at, PART_HEAD, sizeof(PART_HEAD) - 1);
    at += sizeof(PART_HEAD) - 1;
    for (unsigned i = 0; i < PART_HEX / 2; i++) {
        *at++ = digits[hash[i] >> 4];
        *at++ = digits[hash[i] & 15];
    }
    memcpy(at, PART_TAIL, sizeof(PART_TAIL));
    return buf;
}

bool names_is_part(const void *leaf, size_t len)
{
    const char *text = leaf;
    size_t head = sizeof(PART_HEAD) - 1, tail = sizeof(PART_TAIL) - 1;

    if (len != head + PART_HEX + tail || memcmp(text, PART_HEAD, head) != 0 ||
        memcmp(text + head + PART_HEX, PART_TAIL, tail) != 0)
        return false;
    for (size_t i = head; i < head + PART_HEX; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
    }
    return true;
}
