#include "agent/forward_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT_MAX 65535

struct pattern {
    char host[FORWARD_HOST_MAX];
    unsigned long first, last; /* ports */
};

/* A whole number up to PORT_MAX, and what follows it. */
static bool read_port(const char *text, unsigned long *ret_port, const char **ret_end)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    *ret_port = strtoul(text, &end, 10);
    *ret_end = end;
    return *ret_port > 0 && *ret_port <= PORT_MAX;
}

static bool read_ports(const char *text, struct pattern *pattern)
{
    const char *end;

    pattern->first = 1;
    pattern->last = PORT_MAX;
    if (strcmp(text, "*") == 0)
        return true;
    if (!read_port(text, &pattern->first, &end))
        return false;
    pattern->last = pattern->first;
    if (*end == '-' && !read_port(end + 1, &pattern->last, &end))
        return false;
    return *end == '\0' && pattern->first <= pattern->last;
}

/* The part before the last colon, without the brackets of a v6 address. */
static bool read_host(const char *text, size_t len, char host[static FORWARD_HOST_MAX])
{
    bool bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';

    if (bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= FORWARD_HOST_MAX || (!bracketed && memchr(text, ':', len)))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] == 0x7f || text[i] == '[' || text[i] == ']')
            return false;
    }
    (void)snprintf(host, FORWARD_HOST_MAX, "%.*s", (int)len, text);
    return true;
}

static bool read_pattern(const char *text, struct pattern *ret_pattern)
{
    const char *colon = strrchr(text, ':');

    return colon && read_host(text, (size_t)(colon - text), ret_pattern->host) &&
           read_ports(colon + 1, ret_pattern);
}

bool forward_pattern_good(const char *pattern)
{
    struct pattern parts;

    return read_pattern(pattern, &parts);
}

bool forward_address_good(const char *address, char host[static FORWARD_HOST_MAX],
                          uint16_t *ret_port)
{
    struct pattern parts;

    if (!read_pattern(address, &parts) || parts.first != parts.last || strcmp(parts.host, "*") == 0)
        return false;
    memcpy(host, parts.host, sizeof(parts.host));
    *ret_port = (uint16_t)parts.first;
    return true;
}

static bool fits(const struct pattern *pattern, const char *host, uint16_t port)
{
    return (strcmp(pattern->host, "*") == 0 || strcasecmp(pattern->host, host) == 0) &&
           port >= pattern->first && port <= pattern->last;
}

bool forward_allowed(const struct config_strings *patterns, const char *address)
{
    char host[FORWARD_HOST_MAX];
    struct pattern pattern;
    uint16_t port;

    if (!forward_address_good(address, host, &port))
        return false;
    for (size_t i = 0; i < patterns->count; i++) {
        if (read_pattern(patterns->item[i], &pattern) && fits(&pattern, host, port))
            return true;
    }
    return false;
}
