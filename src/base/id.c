/* id.c - 128-bit identifiers as text and from the kernel's generator. */
#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static char *hex(const uint8_t *bytes, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

char *id_text(const struct fl_id *id, char buf[static FL_ID_TEXT])
{
    return hex(id->b, FL_ID_BYTES, buf);
}

char *id_short(const struct fl_id *id, char buf[static 9])
{
    return hex(id->b, 4, buf);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int id_parse(const char *text, struct fl_id *ret_id)
{
    struct fl_id id;

    if (!text || strnlen(text, FL_ID_TEXT) != FL_ID_TEXT - 1)
        return -EINVAL;
    for (size_t i = 0; i < FL_ID_BYTES; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        id.b[i] = (uint8_t)(high << 4 | low);
    }
    *ret_id = id;
    return 0;
}

void id_random(struct fl_id *id)
{
    ssize_t n;

    /* Up to 256 bytes come whole once the generator is seeded; a signal may interrupt only before.
     */
    do {
        n = getrandom(id->b, FL_ID_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n != FL_ID_BYTES)
        abort();
}

bool id_equal(const struct fl_id *a, const struct fl_id *b)
{
    return memcmp(a->b, b->b, FL_ID_BYTES) == 0;
}

bool id_is_zero(const struct fl_id *id)
{
    static const struct fl_id zero;

    return id_equal(id, &zero);
}
