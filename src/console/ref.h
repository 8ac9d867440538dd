/* ref.h - how people refer to an agent, a proxy or a job: by its name, or by the first digits of
 * its id; and what they are told when that means nothing here. Pure.
 */
#ifndef FL_CONSOLE_REF_H
#define FL_CONSOLE_REF_H

#include <stdbool.h>

#include "base/id.h"

#define REF_ERROR_MAX 320 /* bytes of every @error below, NUL included */

/* ref_fits - is @ref how the text of @id starts, in 6 digits or more? Case does not matter. */
bool ref_fits(const struct fl_id *id, const char *ref);

/* ref_none - there is no @what ("agent", also the CLI's word) called @ref, and which of @names, up
 * to a NULL, may have been meant. @names NULL: they are not known, for lack of memory. */
void ref_none(const char *what, const char *ref, const char *const *names, char *error);

/* ref_several - more than one of @whats ("agents") has an id that @ref fits. */
void ref_several(const char *whats, const char *ref, char *error);

#endif
