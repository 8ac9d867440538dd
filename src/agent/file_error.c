#include "agent/file_error.h"

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

static const struct {
    int err;
    const char *code;
    const char *text; /* NULL: that of the error */
} table[] = {
    {ENOSPC, "no space", "no space left on the target's disk"},
    {EDQUOT, "no space", "the target's disk quota is used up"},
    {EFBIG, "no space", "larger than the target's file system or limits allow"},
    {EACCES, "denied", "permission denied"},
    {EPERM, "denied", "not permitted"},
    {EROFS, "read only", "the file system is read-only"},
    {ENOENT, "vanished", "it is not there any more"},
    {ELOOP, "link", "the way to it leads through a symbolic link"},
    {EXDEV, "link", "the way to it leads out of the folder"},
    {EEXIST, "exists", "something of another kind has that name at the target"},
    {EISDIR, "exists", "a folder has that name at the target"},
    {ENOTDIR, "exists", "a file is where a folder should be at the target"},
    {ENOTEMPTY, "exists", "a folder has that name at the target"},
    {ENAMETOOLONG, "name", "the name is too long"},
    {EILSEQ, "name", "the target's file system does not take such a name"},
    {EINVAL, "name", "the target's file system does not take such a name"},
    {FL_ENAME, "name", "a name that is not allowed"},
    {FL_EHASH, "hash", "what the source sent does not match its hash, twice"},
    {FL_ECHANGED, "changing", "it changes faster than it can be read"},
    {FL_EFULL, "too many", "more entries than a flow may have"},
    {EIO, "i/o error", NULL},
};

const char *file_error_code(int err)
{
    err = err < 0 ? -err : err;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].err == err)
            return table[i].code;
    }
    return "error";
}

const char *file_error_text(int err)
{
    err = err < 0 ? -err : err;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].err == err && table[i].text)
            return table[i].text;
    }
    return error_text(err);
}
