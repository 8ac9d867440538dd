/* http_answer.h - one HTTP/1.1 answer as bytes. Every answer is the last of its connection. */
#ifndef FL_PROXY_HTTP_ANSWER_H
#define FL_PROXY_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_HEAD 1024 /* room that the head of any answer fits in */

struct http_answer {
    unsigned status;
    const char *type;   /* of the content */
    const void *body;   /* not owned */
    size_t len;         /* of @body */
    const char *fields; /* more header fields, each with CR LF; or NULL */
    bool bodiless;      /* an answer to HEAD: as GET would be answered, without the body */
};

/* http_answer_write - head, then body, to @dst. @now: seconds since 1970, for Date (RFC 9110
 * §6.6.1). No field names the software. Returns the bytes written, or 0 when @cap is too small. */
size_t http_answer_write(const struct http_answer *answer, int64_t now, void *dst, size_t cap);

/* http_status_text - "Not Found" …; "" for a status that nothing here answers. */
const char *http_status_text(unsigned status);

#endif
