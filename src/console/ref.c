#include "console/ref.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/config.h"

#define DIGITS_LEAST 6

bool ref_fits(const struct fl_id *id, const char *ref)
{
    char text[FL_ID_TEXT];
    size_t len = strlen(ref);

    return len >= DIGITS_LEAST && len < FL_ID_TEXT && !strncasecmp(id_text(id, text), ref, len);
}

void ref_none(const char *what, const char *ref, const char *const *names, char *error)
{
    const char *near = names ? config_nearest(ref, names) : NULL;

    if (!names)
        snprintf(error, REF_ERROR_MAX, "no such %s", what);
    else if (near)
        snprintf(error, REF_ERROR_MAX, "no %s \"%.100s\" (did you mean \"%s\"?)", what, ref, near);
    else if (!names[0])
        snprintf(error, REF_ERROR_MAX, "no %s \"%.100s\": there is none yet", what, ref);
    else
        snprintf(error, REF_ERROR_MAX, "no %s \"%.100s\" (the list: fairlead %s list)", what, ref,
                 what);
}

void ref_several(const char *whats, const char *ref, char *error)
{
    snprintf(error, REF_ERROR_MAX, "several %s have an id that starts with \"%s\"", whats, ref);
}
