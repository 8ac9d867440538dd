#include "proxy/face.h"

#include <stdio.h>
#include <string.h>

#define PAGE_MAX 1024

/* No script, nothing from elsewhere, in no frame. "Allow" is for 405 and does no harm besides. */
#define POLICY                                                                                     \
    "Content-Security-Policy: default-src 'none'; style-src 'self'; img-src 'self'; "              \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"                              \
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
#define ALLOW "Allow: GET, HEAD\r\n"

#define HTML "text/html; charset=utf-8"

void face_init(struct face *face, bool bare)
{
    http_head_init(&face->head);
    face->bare = bare;
}

bool face_take(struct face *face, const void *bytes, size_t len)
{
    (void)http_head_feed(&face->head, bytes, len);
    return face->head.status != 0;
}

static const struct site_file *find(const struct http_head *head)
{
    for (size_t i = 0; i < site_count; i++) {
        if (http_head_is(head, site_files[i].path))
            return &site_files[i];
    }
    return NULL;
}

/* Only paths of our own: the form with a host (RFC 9112 §3.2.2) is how a proxy is asked. */
static unsigned judge(const struct face *face)
{
    const struct http_head *head = &face->head;

    if (head->status != HTTP_OK)
        return head->status ? head->status : 400;
    if (face->bare)
        return 400;
    if (!http_head_reads(head))
        return 405;
    if (head->target[0] != '/')
        return 400;
    return find(head) ? HTTP_OK : 404;
}

static size_t page(unsigned status, const char *text, char buf[static PAGE_MAX])
{
    const char *name = http_status_text(status);

    return (size_t)snprintf(
        buf, PAGE_MAX,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<title>%u %s</title>\n</head>\n<body>\n<h1>%u %s</h1>\n%s</body>\n"
        "</html>\n",
        status, name, status, name, text);
}

static size_t error_page(unsigned status, bool bare, bool bodiless, int64_t now, void *dst)
{
    char buf[PAGE_MAX];
    size_t len =
        page(status, bare ? "<p>This port speaks HTTPS, and got plain HTTP.</p>\n" : "", buf);
    struct http_answer answer = {status,  HTML, buf, len, status == 405 ? POLICY ALLOW : POLICY,
                                 bodiless};

    return http_answer_write(&answer, now, dst, FACE_ANSWER_MAX);
}

size_t face_answer(const struct face *face, int64_t now, void *dst)
{
    bool bodiless = http_head_only(&face->head);
    unsigned status = judge(face);

    if (status != HTTP_OK)
        return error_page(status, face->bare, bodiless, now, dst);
    const struct site_file *file = find(&face->head);
    struct http_answer answer = {
        HTTP_OK, file->type, file->body, file->len, POLICY "Cache-Control: max-age=3600\r\n",
        bodiless};
    return http_answer_write(&answer, now, dst, FACE_ANSWER_MAX);
}

size_t face_refusal(int64_t now, void *dst)
{
    return error_page(400, false, false, now, dst);
}
