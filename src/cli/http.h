/* http.h - calls to the console's REST interface, one after the other, by libcurl. */
#ifndef FL_CLI_HTTP_H
#define FL_CLI_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HTTP_DEFAULT_CONSOLE "https://127.0.0.1:8443"

struct http_settings {
    const char *console; /* URL; without a scheme, https:// is put before it */
    const char *token;   /* bearer token */
    const char *ca;      /* PEM file of the console's authority; NULL: the system's authorities */
};

/* How a call went, for those who decide whether to try again. */
enum http_result {
    HTTP_OK,
    HTTP_REFUSED,     /* the console answered with an error */
    HTTP_UNREACHABLE, /* no answer, or "come back later" (502, 503, 504) */
    HTTP_BROKEN,      /* settings, certificate or answer are wrong: trying again is useless */
};

struct http;

/* http_new - check the settings and prepare. Returns 0, -FL_EUSAGE (with one line in @message),
 * -ENOMEM. */
int http_new(const struct http_settings *settings, struct http **ret_http, char *message,
             size_t cap);
void http_free(struct http *http);

/* http_call - @method on "/api/v1" @path; @body may be NULL. On HTTP_OK *ret_answer is the answer
 * (a new reference; JSON null when it is empty); else http_error() has one line to show. */
enum http_result http_call(struct http *http, const char *method, const char *path,
                           const json_t *body, json_t **ret_answer);

/* http_save - GET "/api/v1" @path, however long it takes as long as it moves, into @file. On
 * HTTP_OK *ret_len is the number of bytes; else as http_call(), and what @file holds is of no use.
 */
enum http_result http_save(struct http *http, const char *path, FILE *file, uint64_t *ret_len);

/* http_error - why the last call failed, with what to do about it. Already escaped. */
const char *http_error(const struct http *http);

/* http_part - @text as one part of a path: percent-encoded, free() it. NULL when memory is out. */
char *http_part(const char *text);

/* http_url - the console's address as it is used: "https://" before it, no "/" at the end; free()
 * it. NULL for another scheme, or for text that is no address. */
char *http_url(const char *console);

#endif
