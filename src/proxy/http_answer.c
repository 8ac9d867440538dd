#include "proxy/http_answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define DATE_MAX 40

static const struct {
    unsigned status;
    const char *text;
} texts[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {414, "URI Too Long"},
    {431, "Request Header Fields Too Large"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

const char *http_status_text(unsigned status)
{
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "";
}

/* IMF-fixdate of RFC 9110 §5.6.7; the program's locale is "C", which strftime() needs here. */
static const char *date(int64_t now, char buf[static DATE_MAX])
{
    time_t seconds = (time_t)now;
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(buf, DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        buf[0] = '\0';
    return buf;
}

size_t http_answer_write(const struct http_answer *answer, int64_t now, void *dst, size_t cap)
{
    char when[DATE_MAX];
    size_t body = answer->bodiless ? 0 : answer->len;
    int head = snprintf(dst, cap,
                        "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n%s\r\n",
                        answer->status, http_status_text(answer->status), date(now, when),
                        answer->type, answer->len, answer->fields ? answer->fields : "");

    if (head < 0 || (size_t)head >= cap || body > cap - (size_t)head)
        return 0;
    if (body)
        memcpy((char *)dst + head, answer->body, body);
    return (size_t)head + body;
}
