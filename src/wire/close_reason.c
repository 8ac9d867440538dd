/* close_reason.c - the table of ends, and the reason for an error met on a leg. */
#include "wire/close_reason.h"

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

struct reason_def {
    const char *name;
    const char *text;
    enum close_blame blame;
};

static const struct reason_def defs[] = {
#define CLOSE_REASON(id, number, blame, name, text) [number] = {name, text, BLAME_##blame},
#include "close_reason.def"
#undef CLOSE_REASON
};

_Static_assert(ARRAY_SIZE(defs) == CLOSE_REASON_COUNT, "numbers are dense and the last is highest");

/* What is not listed is the peer's when the error's class says so, else ours. */
static const struct {
    int code;
    enum close_reason reason;
} of_error[] = {
    {0, CLOSE_DONE},
    {FL_EEOF, CLOSE_GONE},
    {FL_ECLOSED, CLOSE_GONE},
    {FL_ECANCELLED, CLOSE_SHUTDOWN},
    {FL_ETIMEOUT, CLOSE_HELLO_TIME},
    {FL_EFULL, CLOSE_FULL},
    {FL_EUNREACH, CLOSE_GONE},
    {FL_EPEER, CLOSE_RESET},
    {FL_EPROTO, CLOSE_FRAME},
    {FL_EPHASE, CLOSE_PHASE},
    {FL_EFRAME, CLOSE_FRAME},
    {FL_EMESSAGE, CLOSE_FRAME},
    {FL_EVERSION, CLOSE_VERSION},
    {FL_EREFUSED, CLOSE_REFUSED},
    {FL_ETRUNCATED, CLOSE_GONE},
    {FL_ETLS, CLOSE_HANDSHAKE},
    {FL_ECERT, CLOSE_CERTIFICATE},
    {FL_ECA, CLOSE_AUTHORITY},
    {FL_EEXPIRED, CLOSE_EXPIRED},
    {FL_EROLE, CLOSE_ROLE},
    {FL_EDENIED, CLOSE_DENIED},
    {FL_EPROOF, CLOSE_PROOF},
    {FL_EIDENTITY, CLOSE_KEY_OWNER},
    {FL_ESTALL, CLOSE_STALL},
    {FL_ENOTFOUND, CLOSE_NOT_FOUND},
    {FL_EBUG, CLOSE_BUG},
    {ECONNRESET, CLOSE_RESET},
    {EPIPE, CLOSE_RESET},
    {ETIMEDOUT, CLOSE_RESET},
};

static const struct reason_def *find(uint32_t reason)
{
    static const struct reason_def unknown = {"unknown", "a reason unknown to this version",
                                              BLAME_PEER};

    return reason < CLOSE_REASON_COUNT ? &defs[reason] : &unknown;
}

const char *close_reason_name(uint32_t reason)
{
    return find(reason)->name;
}

const char *close_reason_text(uint32_t reason)
{
    return find(reason)->text;
}

const char *close_blame_name(enum close_blame blame)
{
    static const char *const names[] = {"nobody", "peer", "us", "limit"};

    return names[blame];
}

enum close_blame close_reason_blame(uint32_t reason)
{
    return find(reason)->blame;
}

enum close_reason close_reason_of_error(int code)
{
    for (size_t i = 0; i < ARRAY_SIZE(of_error); i++) {
        if (of_error[i].code == -code)
            return of_error[i].reason;
    }
    switch (error_class(code)) {
    case ERROR_PEER:
        return CLOSE_RESET;
    case ERROR_BUG:
        return CLOSE_BUG;
    default:
        return CLOSE_LOCAL;
    }
}
