/* web.h - the files of the console's page, linked in: made of web/ by scripts/web. */
#ifndef FL_CONSOLE_WEB_H
#define FL_CONSOLE_WEB_H

#include <stdbool.h>
#include <stddef.h>

struct http_request;
struct http_reply;

struct web_file {
    const char *path, *type;
    const char *etag; /* quoted, of the contents */
    const unsigned char *plain;
    size_t plain_len;
    const unsigned char *gzip;
    size_t gzip_len;
    bool immutable; /* its name holds a hash of its contents */
};

extern const struct web_file web_files[];
extern const size_t web_file_count;

/* web_find - the file at @path, or NULL. */
const struct web_file *web_find(const char *path);

/* web_answer - @file for @request: gzip where it is taken, 304 where the browser has it. */
void web_answer(const struct web_file *file, const struct http_request *request,
                struct http_reply *reply);

#endif
