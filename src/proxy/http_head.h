/* http_head.h - the head of one HTTP/1 request, byte by byte, in bounded room.
 *
 * For servers that answer GET and HEAD of a few fixed paths and then close: it keeps method and
 * target, checks the rest and forgets it. No body is read: who closes after each answer cannot
 * mistake one for the next request. Nothing is allocated. RFC 9112 §2-5; what that allows a server
 * to be lenient about is refused, but for a lone LF as the end of a line.
 */
#ifndef FL_PROXY_HTTP_HEAD_H
#define FL_PROXY_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX    8192 /* bytes of the whole head, else 431 */
#define HTTP_TARGET_MAX  2048 /* bytes of the target, else 414 */
#define HTTP_TARGET_KEPT 128  /* of these; no path that we serve is longer */
#define HTTP_METHOD_MAX  16   /* bytes, else 400 */
#define HTTP_FIELDS_MAX  64   /* header fields, else 431 */

#define HTTP_OK 200

struct http_head {
    unsigned state;      /* what the next byte belongs to; http_head.c */
    uint16_t status;     /* 0: incomplete; HTTP_OK: whole and well-formed; else what to answer */
    uint16_t bytes;      /* taken so far */
    uint16_t target_len; /* of the target, what was not kept included */
    uint8_t fields;      /* header fields begun */
    uint8_t hosts;       /* how many of them were Host */
    uint8_t at;          /* place in the word being read */
    uint8_t minor;       /* of the version: HTTP/1.minor */
    bool host;           /* the name being read is a beginning of "host" */
    char method[HTTP_METHOD_MAX + 1];
    char target[HTTP_TARGET_KEPT + 1];
};

void http_head_init(struct http_head *head);

/* http_head_feed - up to @len bytes. Returns how many were taken: all, or fewer when @head->status
 * was settled by the last one taken (what follows is a body or another request). */
size_t http_head_feed(struct http_head *head, const void *bytes, size_t len);

/* http_head_is - is the path, without query, @path? Bytes are compared as they are: nothing is
 * decoded, so that one path has one spelling. Only of a whole head. */
bool http_head_is(const struct http_head *head, const char *path);

/* http_head_reads - is it GET or HEAD? http_head_only - HEAD: to be answered without a body. */
bool http_head_reads(const struct http_head *head);
bool http_head_only(const struct http_head *head);

#endif
