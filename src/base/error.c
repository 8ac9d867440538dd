/* error.c - names, phrases and blame of error codes. */
#include "base/error.h"

#include <limits.h>
#include <string.h>

struct error_def {
    const char *name;
    const char *text;
    enum error_class class;
};

static const struct error_def defs[] = {
    {"?", "", ERROR_BUG}, /* FL_ERROR_BASE itself is no error */
#define FL_ERROR(name, class, text) {#name, text, ERROR_##class},
#include "errors.def"
#undef FL_ERROR
};

_Static_assert(sizeof(defs) / sizeof(defs[0]) == FL_ERROR_END - FL_ERROR_BASE,
               "one entry for each code");

/* magnitude - the positive number of @code; INT_MIN, which has none, becomes INT_MAX. */
static int magnitude(int code)
{
    if (code >= 0)
        return code;
    return code == INT_MIN ? INT_MAX : -code;
}

static const struct error_def *find(int code)
{
    int n = magnitude(code);

    if (n <= FL_ERROR_BASE || n >= FL_ERROR_END)
        return NULL;
    return &defs[n - FL_ERROR_BASE];
}

const char *error_text(int code)
{
    static _Thread_local char unknown[64];
    const struct error_def *def = find(code);

    if (def)
        return def->text;
    if (code == 0)
        return "no error";
    /* GNU strerror_r: returns its own static text, or @unknown for a number it does not know. */
    return strerror_r(magnitude(code), unknown, sizeof(unknown));
}

const char *error_name(int code)
{
    const struct error_def *def = find(code);
    const char *name;

    if (def)
        return def->name;
    name = strerrorname_np(magnitude(code));
    return name ? name : "?";
}

static enum error_class errno_class(int number)
{
    switch (number) {
    case EAGAIN:
    case EINTR:
        return ERROR_TRANSIENT;
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
        return ERROR_PEER;
    default:
        return ERROR_LOCAL;
    }
}

enum error_class error_class(int code)
{
    const struct error_def *def = find(code);

    return def ? def->class : errno_class(magnitude(code));
}
