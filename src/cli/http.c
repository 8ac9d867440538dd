/* http.c - the console's REST interface by libcurl. */
#include "cli/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/output.h"

#define ANSWER_MAX     (64u * 1024 * 1024) /* of one answer */
#define CONNECT_MS     10000L
#define CALL_MS        60000L
#define SAVE_STALL_S   600L /* a large store takes its time before the first byte */
#define ERROR_LINE_MAX 1024

struct http {
    CURL *curl;
    struct curl_slist *headers;
    char *url;                    /* of the console, without "/" at the end */
    char *ca;                     /* or NULL */
    char reason[CURL_ERROR_SIZE]; /* libcurl's words */
    char error[ERROR_LINE_MAX];   /* ours */
    char *answer;                 /* of the running call */
    size_t len;                   /* of @answer */
    FILE *file;                   /* where the answer goes instead, if it is no error; or NULL */
    uint64_t saved;               /* bytes in it */
};

char *http_part(const char *text)
{
    static const char plain[] = "-._~";
    size_t len = strlen(text), n = 0;
    char *part = malloc(3 * len + 1);

    if (!part)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (isalnum(*c) || strchr(plain, *c))
            part[n++] = (char)*c;
        else
            n += (size_t)sprintf(part + n, "%%%02X", *c);
    }
    part[n] = '\0';
    return part;
}

char *http_url(const char *console)
{
    bool whole = strncmp(console, "https://", 8) == 0;
    const char *rest = whole ? console + 8 : console;
    size_t len = strlen(rest);
    char *url;

    while (len > 0 && rest[len - 1] == '/')
        len--;
    if (len == 0 || memchr(rest, '/', len) || memchr(rest, '@', len))
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (!isgraph((unsigned char)rest[i]))
            return NULL;
    }
    return asprintf(&url, "https://%.*s", (int)len, rest) < 0 ? NULL : url;
}

static size_t keep_answer(char *data, size_t one, size_t count, void *user)
{
    struct http *http = user;
    size_t more = one * count;
    char *grown;
    long status = 0;

    (void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    if (http->file && status == 200) {
        http->saved += more;
        return fwrite(data, 1, more, http->file);
    }
    if (more > ANSWER_MAX - http->len)
        return 0; /* makes libcurl give up */
    grown = realloc(http->answer, http->len + more + 1);
    if (!grown)
        return 0;
    memcpy(grown + http->len, data, more);
    http->answer = grown;
    http->len += more;
    return more;
}

static bool is_loopback(const char *url)
{
    static const char *const hosts[] = {"https://127.", "https://localhost", "https://[::1]"};

    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        if (strncmp(url, hosts[i], strlen(hosts[i])) == 0)
            return true;
    }
    return false;
}

static int set_headers(struct http *http, const char *token)
{
    static const char *const fixed[] = {"Accept: application/json",
                                        "Content-Type: application/json", "Expect:"};
    _cleanup_free_ char *bearer = NULL;

    if (asprintf(&bearer, "Authorization: Bearer %s", token) < 0)
        return -ENOMEM;
    http->headers = curl_slist_append(NULL, bearer);
    for (size_t i = 0; http->headers && i < ARRAY_SIZE(fixed); i++) {
        struct curl_slist *longer = curl_slist_append(http->headers, fixed[i]);

        if (!longer)
            return -ENOMEM;
        http->headers = longer;
    }
    return http->headers ? 0 : -ENOMEM;
}

static void set_options(struct http *http)
{
    CURL *curl = http->curl;

    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, CALL_MS);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, http->headers);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->reason);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "fairlead/" FAIRLEAD_VERSION);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_answer);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, http);
    if (http->ca)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, http->ca);
    /* A proxy of the company has no way to our own loopback. */
    if (is_loopback(http->url))
        (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
}

/* check_settings - before anything is sent. */
static int check_settings(const struct http *http, const struct http_settings *settings,
                          char *message, size_t cap)
{
    char shown[128];
    FILE *file;

    if (!http->url) {
        (void)snprintf(
            message, cap, "console \"%s\": expected https://HOST[:PORT]",
            log_escape(shown, sizeof(shown), settings->console, strlen(settings->console)));
        return -FL_EUSAGE;
    }
    for (const char *c = settings->token; *c; c++) {
        if (!isgraph((unsigned char)*c)) {
            (void)snprintf(message, cap,
                           "the token is malformed: it holds a space or a control "
                           "character");
            return -FL_EUSAGE;
        }
    }
    file = settings->ca ? fopen(settings->ca, "re") : NULL;
    if (settings->ca && !file) {
        (void)snprintf(message, cap, "authority file \"%s\": %s (see --ca and FAIRLEAD_CA)",
                       log_escape(shown, sizeof(shown), settings->ca, strlen(settings->ca)),
                       error_text(errno));
        return -FL_EUSAGE;
    }
    if (file)
        (void)fclose(file);
    return 0;
}

int http_new(const struct http_settings *settings, struct http **ret_http, char *message,
             size_t cap)
{
    struct http *http = calloc(1, sizeof(*http));
    int r = -ENOMEM;

    if (!http)
        return r;
    http->url = http_url(settings->console);
    r = check_settings(http, settings, message, cap);
    if (r)
        goto fail;
    r = -ENOMEM;
    http->ca = settings->ca ? strdup(settings->ca) : NULL;
    if ((settings->ca && !http->ca) || curl_global_init(CURL_GLOBAL_DEFAULT))
        goto fail;
    http->curl = curl_easy_init();
    if (!http->curl || set_headers(http, settings->token))
        goto fail;
    set_options(http);
    *ret_http = http;
    return 0;
fail:
    http_free(http);
    return r;
}

void http_free(struct http *http)
{
    if (!http)
        return;
    if (http->curl)
        curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    free(http->url);
    free(http->ca);
    free(http->answer);
    free(http);
}

const char *http_error(const struct http *http)
{
    return http->error;
}

/* transport_error - libcurl's code in words that say what to do. */
static enum http_result transport_error(struct http *http, CURLcode code)
{
    const char *why = http->reason[0] ? http->reason : curl_easy_strerror(code);
    char shown[CURL_ERROR_SIZE];

    (void)log_escape(shown, sizeof(shown), why, strlen(why));
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        (void)snprintf(http->error, sizeof(http->error),
                       "%s: the certificate is not accepted (%s); %s", http->url, shown,
                       http->ca ? "is the file given by --ca or FAIRLEAD_CA this console's ca.pem?"
                                : "give the console's ca.pem with --ca or FAIRLEAD_CA");
        return HTTP_BROKEN;
    case CURLE_SSL_CACERT_BADFILE:
        (void)snprintf(http->error, sizeof(http->error),
                       "authority file \"%s\" holds no certificate in PEM form (see --ca and "
                       "FAIRLEAD_CA)",
                       http->ca ? http->ca : "");
        return HTTP_BROKEN;
    case CURLE_WRITE_ERROR:
        (void)snprintf(http->error, sizeof(http->error), "%s: the answer is too long", http->url);
        return HTTP_BROKEN;
    default:
        (void)snprintf(http->error, sizeof(http->error),
                       "the console at %s cannot be reached: %s (another address: --console URL or "
                       "FAIRLEAD_CONSOLE)",
                       http->url, shown);
        return HTTP_UNREACHABLE;
    }
}

/* refusal - the console's own words (RFC 9457 problem details), or what its status means. */
static enum http_result refusal(struct http *http, long status, const json_t *answer)
{
    const char *detail = json_text(answer, json_text(answer, "detail")[0] ? "detail" : "title");
    const char *field = json_text(answer, "field");
    _cleanup_free_ char *safe = output_safe(detail);
    _cleanup_free_ char *safe_field = output_safe(strstr(detail, field) ? "" : field);

    if (status == 401)
        (void)snprintf(http->error, sizeof(http->error),
                       "the console at %s does not accept the token (see --token-file and "
                       "FAIRLEAD_TOKEN)",
                       http->url);
    else if (!safe || !safe_field || !safe[0])
        (void)snprintf(http->error, sizeof(http->error), "%s answered with status %ld", http->url,
                       status);
    else
        (void)snprintf(http->error, sizeof(http->error), "%s%s%s", safe_field,
                       safe_field[0] ? ": " : "", safe);
    return status == 502 || status == 503 || status == 504 ? HTTP_UNREACHABLE : HTTP_REFUSED;
}

static enum http_result judge(struct http *http, json_t **ret_answer)
{
    long status = 0;
    json_t *answer;
    enum http_result result;

    (void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
    answer = http->len ? json_loadb(http->answer, http->len, JSON_DECODE_ANY, NULL) : json_null();
    if (status < 200 || status > 299) {
        result = refusal(http, status, answer);
        json_decref(answer);
        return result;
    }
    if (!answer) {
        (void)snprintf(http->error, sizeof(http->error),
                       "%s did not answer in JSON: is this a Fairlead console?", http->url);
        return HTTP_BROKEN;
    }
    *ret_answer = answer;
    return HTTP_OK;
}

static void set_body(struct http *http, const char *method, const char *text)
{
    CURL *curl = http->curl;

    (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (text[0] || strcmp(method, "POST") == 0) {
        (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(text));
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
    }
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

enum http_result http_save(struct http *http, const char *path, FILE *file, uint64_t *ret_len)
{
    json_t *answer = NULL;

    http->file = file;
    http->saved = 0;
    (void)curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, 0L);
    (void)curl_easy_setopt(http->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(http->curl, CURLOPT_LOW_SPEED_TIME, SAVE_STALL_S);
    enum http_result result = http_call(http, "GET", path, NULL, &answer);
    (void)curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, CALL_MS);
    (void)curl_easy_setopt(http->curl, CURLOPT_LOW_SPEED_TIME, 0L);
    http->file = NULL;
    json_decref(answer);
    *ret_len = http->saved;
    return result;
}

enum http_result http_call(struct http *http, const char *method, const char *path,
                           const json_t *body, json_t **ret_answer)
{
    _cleanup_free_ char *url = NULL;
    _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
    CURLcode code;

    http->error[0] = http->reason[0] = '\0';
    free(http->answer);
    http->answer = NULL;
    http->len = 0;
    if (!text || asprintf(&url, "%s/api/v1%s", http->url, path) < 0) {
        (void)snprintf(http->error, sizeof(http->error), "%s",
                       body && !text ? "the arguments are not valid UTF-8" : error_text(-ENOMEM));
        return HTTP_BROKEN;
    }
    (void)curl_easy_setopt(http->curl, CURLOPT_URL, url);
    set_body(http, method, text);
    code = curl_easy_perform(http->curl);
    return code ? transport_error(http, code) : judge(http, ret_answer);
}
