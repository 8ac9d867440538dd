/* hash.h - uthash with its out-of-memory exit turned into a result: after HASH_ADD the element's
 * hh.tbl is NULL when there was no memory for it (it must have been NULL before). */
#ifndef FL_BASE_HASH_H
#define FL_BASE_HASH_H

#define HASH_NONFATAL_OOM        1
#define uthash_nonfatal_oom(elt) ((elt)->hh.tbl = NULL)
#include <uthash.h>
#include <utlist.h>

#endif
