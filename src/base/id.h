/* id.h - 128-bit identifiers: endpoints, proxies, sessions, jobs, runs. */
#ifndef FL_BASE_ID_H
#define FL_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

#define FL_ID_BYTES 16
#define FL_ID_TEXT  33 /* 32 hex digits and the NUL */

/* An identity's id is the first 16 bytes of the SHA-256 of its SubjectPublicKeyInfo; a session's,
 * job's or run's id is random. */
struct fl_id {
    uint8_t b[FL_ID_BYTES];
};

/* id_text - 32 lower-case hex digits and a NUL into @buf; returns @buf. */
char *id_text(const struct fl_id *id, char buf[static FL_ID_TEXT]);

/* id_short - the first 8 hex digits, for people; @buf holds 9 bytes or more. Returns @buf. */
char *id_short(const struct fl_id *id, char buf[static 9]);

/* id_parse - read exactly 32 hex digits. Returns 0 or -EINVAL; *ret_id is set only on success. */
int id_parse(const char *text, struct fl_id *ret_id);

/* id_random - from the kernel's generator (getrandom); cannot fail after boot, aborts if it does.
 */
void id_random(struct fl_id *id);

bool id_equal(const struct fl_id *a, const struct fl_id *b);
bool id_is_zero(const struct fl_id *id);

#endif
