#include "proxy/syncthing/st_device.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>

#include "base/error.h"

#define DIGITS  52 /* of base32 for 256 bits; the last holds one bit, and four zeros */
#define GROUP   13 /* digits under one check character */
#define GROUPS  (DIGITS / GROUP)
#define CHECKED (DIGITS + GROUPS)
#define CHUNK   7 /* characters between dashes */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"; /* RFC 4648 §6 */

static char digit(const uint8_t *bytes, unsigned n)
{
    unsigned bit = n * 5, at = bit / 8;
    unsigned both = (unsigned)bytes[at] << 8 | (at + 1 < ST_DEVICE_BYTES ? bytes[at + 1] : 0u);
    return alphabet[both >> (11 - bit % 8) & 31];
}

/* The value of a digit as people write it, or -1. */
static int value(char c)
{
    static const char typed[] = "018", meant[] = "OIB";
    const char *typo = c ? strchr(typed, c) : NULL;
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (typo)
        c = meant[typo - typed];
    const char *found = c ? strchr(alphabet, c) : NULL;
    return found ? (int)(found - alphabet) : -1;
}

/* Syncthing's own variant of the Luhn sum: factors 1 and 2 in turn, from the left. */
static char check(const char *group)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < GROUP; i++) {
        unsigned addend = (i % 2 + 1) * (unsigned)value(group[i]);
        sum += addend / 32 + addend % 32;
    }
    return alphabet[(32 - sum % 32) % 32];
}

char *st_device_text(const struct st_device *device, char buf[static ST_DEVICE_TEXT])
{
    char digits[DIGITS], *out = buf;
    for (unsigned i = 0; i < DIGITS; i++)
        digits[i] = digit(device->b, i);
    for (unsigned i = 0; i < CHECKED; i++) {
        unsigned group = i / (GROUP + 1), at = i % (GROUP + 1);
        if (i > 0 && i % CHUNK == 0)
            *out++ = '-';
        *out++ = at == GROUP ? check(digits + group * GROUP) : digits[group * GROUP + at];
    }
    *out = '\0';
    return buf;
}

char *st_device_short(const struct st_device *device, char buf[static ST_DEVICE_SHORT])
{
    for (unsigned i = 0; i < ST_DEVICE_SHORT - 1; i++)
        buf[i] = digit(device->b, i);
    buf[ST_DEVICE_SHORT - 1] = '\0';
    return buf;
}

/* The significant characters of @text as canonical digits. Returns how many, or -1. */
static int squeeze(const char *text, char digits[static CHECKED])
{
    int count = 0;
    for (; *text; text++) {
        if (*text == '-' || *text == ' ')
            continue;
        if (value(*text) < 0 || count >= CHECKED)
            return -1;
        digits[count++] = alphabet[value(*text)];
    }
    return count;
}

/* Take the check characters out. Returns whether they were right. */
static bool strip_checks(char digits[static CHECKED])
{
    for (unsigned i = 0; i < GROUPS; i++) {
        char *group = digits + i * GROUP;
        memmove(group, digits + i * (GROUP + 1), GROUP);
        if (digits[i * (GROUP + 1) + GROUP] != check(group))
            return false;
    }
    return true;
}

int st_device_parse(const char *text, struct st_device *ret_device)
{
    char digits[CHECKED];
    struct st_device device = {{0}};
    int count = squeeze(text, digits);

    if (count != DIGITS && (count != CHECKED || !strip_checks(digits)))
        return -EINVAL;
    for (unsigned i = 0; i < DIGITS; i++) {
        unsigned bit = i * 5, at = bit / 8;
        unsigned both = (unsigned)value(digits[i]) << (11 - bit % 8);
        device.b[at] |= (uint8_t)(both >> 8);
        if (at + 1 < ST_DEVICE_BYTES)
            device.b[at + 1] |= (uint8_t)both;
        else if (both & 0xff)
            return -EINVAL; /* bits beyond the 256th */
    }
    *ret_device = device;
    return 0;
}

int st_device_of(const void *der, size_t len, struct st_device *ret_device)
{
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, der, len, ret_device->b) < 0 ? -FL_EKEY : 0;
}

bool st_device_equal(const struct st_device *a, const struct st_device *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

int st_device_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct st_device));
}
