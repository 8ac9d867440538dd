/* site.h - the files of the proxy's web face, built in. */
#ifndef FL_PROXY_SITE_H
#define FL_PROXY_SITE_H

#include <stddef.h>

#define SITE_FILE_MAX 8192 /* bytes; an answer is one record */

struct site_file {
    const char *path; /* "/", "/style.css" */
    const char *type; /* of the content */
    const char *body;
    size_t len;
};

extern const struct site_file site_files[];
extern const size_t site_count;

#endif
