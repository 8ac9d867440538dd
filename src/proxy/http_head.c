/* http_head.c - one handler a state, one byte a call.
 *
 *   START -> METHOD -> TARGET -> VERSION -> LINE_END -> FIELD -+-> NAME -> VALUE -> VALUE_END
 *                                                         ^    |                        |
 *                                                         |    +-> HEAD_END             |
 *                                                         +-----------------------------+
 *   every state may settle the status, after which nothing is taken
 */
#include "proxy/http_head.h"

#include <string.h>

#include "base/cleanup.h"

enum { BAD = 400, TARGET_TOO_LONG = 414, HEAD_TOO_LARGE = 431, NO_SUCH_VERSION = 505 };

enum { START, METHOD, TARGET, VERSION, LINE_END, FIELD, NAME, VALUE, VALUE_END, HEAD_END };

#define START_LINES 4 /* empty lines before the request; RFC 9112 §2.2 */

/* token characters of RFC 9110 §5.6.2 */
static bool is_token(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Each handler returns 0, or the status that is settled by this byte. */

static unsigned in_method(struct http_head *head, uint8_t c)
{
    if (c == ' ' && head->at > 0) {
        head->method[head->at] = '\0';
        head->at = 0;
        head->state = TARGET;
        return 0;
    }
    if (!is_token(c) || head->at >= HTTP_METHOD_MAX)
        return BAD;
    head->method[head->at++] = (char)c;
    return 0;
}

static unsigned in_start(struct http_head *head, uint8_t c)
{
    if (c == '\r' || c == '\n')
        return head->bytes > 2 * START_LINES ? BAD : 0;
    head->state = METHOD;
    return in_method(head, c);
}

static unsigned in_target(struct http_head *head, uint8_t c)
{
    if (c == ' ' && head->target_len > 0) {
        head->state = VERSION;
        return 0;
    }
    if (c <= ' ' || c >= 0x7f)
        return BAD;
    if (head->target_len >= HTTP_TARGET_MAX)
        return TARGET_TOO_LONG;
    if (head->target_len < HTTP_TARGET_KEPT)
        head->target[head->target_len] = (char)c;
    head->target_len++;
    return 0;
}

static unsigned after_version(struct http_head *head, uint8_t c)
{
    if (c != '\r' && c != '\n')
        return BAD;
    head->state = c == '\r' ? LINE_END : FIELD;
    return 0;
}

/* HTTP/1.x; a later minor version is to be answered as the highest that we know (RFC 9110 §2.5). */
static unsigned in_version(struct http_head *head, uint8_t c)
{
    static const char name[] = "HTTP/";
    unsigned at = head->at;

    if (at == sizeof(name) + 2)
        return after_version(head, c);
    head->at++;
    if (at < sizeof(name) - 1)
        return c == (uint8_t)name[at] ? 0 : BAD;
    if (at == sizeof(name))
        return c == '.' ? 0 : BAD;
    if (!is_digit(c))
        return BAD;
    head->minor = (uint8_t)(c - '0');
    return at == sizeof(name) - 1 && c != '1' ? NO_SUCH_VERSION : 0;
}

static unsigned in_line_end(struct http_head *head, uint8_t c)
{
    head->state = FIELD;
    return c == '\n' ? 0 : BAD;
}

/* HTTP/1.1 wants exactly one Host (RFC 9112 §3.2). */
static unsigned finish(const struct http_head *head)
{
    return head->hosts > 1 || (head->minor > 0 && head->hosts == 0) ? BAD : HTTP_OK;
}

static unsigned in_head_end(struct http_head *head, uint8_t c)
{
    return c == '\n' ? finish(head) : BAD;
}

static unsigned in_name(struct http_head *head, uint8_t c)
{
    static const char host[] = "host";

    if (c == ':') {
        head->hosts = (uint8_t)(head->hosts + (head->host && head->at == sizeof(host) - 1));
        head->state = VALUE;
        return 0;
    }
    if (!is_token(c))
        return BAD;
    if (head->at >= sizeof(host) - 1 || (c | 0x20) != host[head->at])
        head->host = false;
    else
        head->at++;
    return 0;
}

/* The start of a line. White space would continue the line before, which RFC 9112 §5.2 forbids. */
static unsigned in_field(struct http_head *head, uint8_t c)
{
    if (c == '\n')
        return finish(head);
    if (c == '\r') {
        head->state = HEAD_END;
        return 0;
    }
    if (head->fields >= HTTP_FIELDS_MAX)
        return HEAD_TOO_LARGE;
    head->fields++;
    head->at = 0;
    head->host = true;
    head->state = NAME;
    return c == ':' ? BAD : in_name(head, c);
}

static unsigned in_value(struct http_head *head, uint8_t c)
{
    if (c == '\n')
        head->state = FIELD;
    else if (c == '\r')
        head->state = VALUE_END;
    else if ((c < ' ' && c != '\t') || c == 0x7f)
        return BAD;
    return 0;
}

static unsigned (*const handlers[])(struct http_head *, uint8_t) = {
    [START] = in_start,       [METHOD] = in_method,     [TARGET] = in_target,
    [VERSION] = in_version,   [LINE_END] = in_line_end, [FIELD] = in_field,
    [NAME] = in_name,         [VALUE] = in_value,       [VALUE_END] = in_line_end,
    [HEAD_END] = in_head_end,
};

void http_head_init(struct http_head *head)
{
    *head = (struct http_head){.state = START};
}

size_t http_head_feed(struct http_head *head, const void *bytes, size_t len)
{
    const uint8_t *c = bytes;
    size_t n = 0;

    while (n < len && head->status == 0) {
        head->bytes++;
        head->status = (uint16_t)handlers[head->state](head, c[n++]);
        if (head->status == 0 && head->bytes >= HTTP_HEAD_MAX)
            head->status = HEAD_TOO_LARGE;
    }
    return n;
}

bool http_head_is(const struct http_head *head, const char *path)
{
    size_t len = strlen(path);

    return head->target_len <= HTTP_TARGET_KEPT && strncmp(head->target, path, len) == 0 &&
           (head->target[len] == '\0' || head->target[len] == '?');
}

bool http_head_only(const struct http_head *head)
{
    return strcmp(head->method, "HEAD") == 0;
}

bool http_head_reads(const struct http_head *head)
{
    return http_head_only(head) || strcmp(head->method, "GET") == 0;
}
