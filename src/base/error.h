/* error.h - the one error contract: 0 or a negative code, an errno or one of errors.def. */
#ifndef FL_BASE_ERROR_H
#define FL_BASE_ERROR_H

#include <errno.h>

enum error_class {
    ERROR_TRANSIENT, /* try again later */
    ERROR_PEER,      /* the other side broke a rule */
    ERROR_LOCAL,     /* this machine or its configuration */
    ERROR_BUG,       /* this program */
};

/* Own codes lie above every errno (4095 is the kernel's MAX_ERRNO), so that both share one int. */
enum fl_error {
    FL_ERROR_BASE = 5000,
#define FL_ERROR(name, class, text) name,
#include "errors.def"
#undef FL_ERROR
    FL_ERROR_END,
};

/* error_text - a short phrase for a negative or positive @code, errno or ours. Static storage
 * (thread-local for errno), never NULL. */
const char *error_text(int code);

/* error_name - the symbolic name, such as "FL_EPROTO" or "ENOENT"; "?" when unknown. */
const char *error_name(int code);

/* error_class - whom to blame. An errno is ERROR_LOCAL but for those by which the network speaks
 * (ECONNRESET, EPIPE, ETIMEDOUT: ERROR_PEER) and EAGAIN, EINTR (ERROR_TRANSIENT). */
enum error_class error_class(int code);

#endif
