/* face.h - the proxy as the web server that it looks like: GET and HEAD of the files in site.c.
 *
 * It answers one request and the connection ends. Everything else that may come where a HELLO was
 * due gets an answer too, and the same one: a proof that fails is a bad request like any other.
 * Pure: bytes in, bytes out.
 */
#ifndef FL_PROXY_FACE_H
#define FL_PROXY_FACE_H

#include "proxy/http_answer.h"
#include "proxy/http_head.h"
#include "proxy/site.h"

#define FACE_ANSWER_MAX (HTTP_ANSWER_HEAD + SITE_FILE_MAX) /* bytes of any answer */

struct face {
    struct http_head head;
    bool bare; /* the request came without TLS */
};

/* face_init - @bare: spoken to without the encryption that this port wants. */
void face_init(struct face *face, bool bare);

/* face_take - bytes of the request. Returns whether face_answer() may be called now; what comes
 * after that is not looked at. */
bool face_take(struct face *face, const void *bytes, size_t len);

/* face_answer - write the answer to @dst, which holds FACE_ANSWER_MAX bytes; @now: seconds since
 * 1970. To a request that is not whole: 400. Returns its length. */
size_t face_answer(const struct face *face, int64_t now, void *dst);

/* face_refusal - as face_answer() to garbage, without a face: for a HELLO that is refused. */
size_t face_refusal(int64_t now, void *dst);

#endif
