/* lab.h - what targets share that are more than one call of a parser: reading the input step by
 * step, and identities, which are made once for all inputs. */
#ifndef FL_TESTS_FUZZ_LAB_H
#define FL_TESTS_FUZZ_LAB_H

#include "fuzz.h"
#include "identity/authority.h"

/* ---- the input ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

/* take - the next byte; 0 when there is none. */
static inline uint8_t take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

/* take_bytes - up to *len bytes, of which *len is then how many there are. */
static inline const uint8_t *take_bytes(struct input *input, size_t *len)
{
    const uint8_t *at = input->at;

    *len = *len < input->left ? *len : input->left;
    input->at += *len;
    input->left -= *len;
    return at;
}

/* ---- identities ---- */

#define LAB_SECONDS INT64_C(864000) /* longer than a target runs */

/* lab_authority - the one of all identities here; lab_ca - its certificate in PEM. */
const struct authority *lab_authority(void);
const char *lab_ca(void);

/* lab_identity - a new one. Make it once and keep it: it costs as much as a hundred inputs. Also
 * sets up the log, so that nothing is written. */
struct identity *lab_identity(enum party_role role);

#endif
