/* st_device.h - device ids of Syncthing: SHA-256 of a certificate, and its text form for people. */
#ifndef FL_PROXY_ST_DEVICE_H
#define FL_PROXY_ST_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST_DEVICE_BYTES 32
#define ST_DEVICE_TEXT  64 /* eight groups of seven with dashes, and the NUL */
#define ST_DEVICE_SHORT 8  /* the first group, as Syncthing's own log shows it, and the NUL */

struct st_device {
    uint8_t b[ST_DEVICE_BYTES];
};

/* st_device_text - "S5FTFQ6-…": base32 with a check character after each 13, in groups of seven.
 * Returns @buf. */
char *st_device_text(const struct st_device *device, char buf[static ST_DEVICE_TEXT]);
char *st_device_short(const struct st_device *device, char buf[static ST_DEVICE_SHORT]);

/* st_device_parse - what people write: either case, with or without dashes, spaces and check
 * characters, 0 1 8 for O I B. Returns 0 or -EINVAL; *ret_device is set only on success. */
int st_device_parse(const char *text, struct st_device *ret_device);

/* st_device_of - the id of a certificate, given as DER. Returns 0 or -FL_EKEY. */
int st_device_of(const void *der, size_t len, struct st_device *ret_device);

bool st_device_equal(const struct st_device *a, const struct st_device *b);

/* st_device_order - for qsort() and bsearch(). */
int st_device_order(const void *a, const void *b);

#endif
