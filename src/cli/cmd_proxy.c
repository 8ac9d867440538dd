/* cmd_proxy.c - fairlead proxy …. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "cli/cli.h"

/* check_addresses - each of @list must be HOST:PORT; an empty host only where @any_host. */
static int check_addresses(const json_t *list, const char *option, bool any_host)
{
    char host[256], shown[128];
    json_t *item;
    uint16_t port;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);
        int r = text ? config_split_address(text, host, sizeof(host), &port) : -1;

        if (r || port == 0 || (!any_host && host[0] == '\0'))
            return cli_fail(CLI_USAGE, "--%s \"%s\": expected %s", option,
                            text ? log_escape(shown, sizeof(shown), text, strlen(text)) : "",
                            any_host ? "ADDR:PORT, [IPv6]:PORT or :PORT"
                                     : "HOST:PORT or [IPv6]:PORT");
    }
    return 0;
}

/* print_made - the configuration alone; with --json the proxy that was made, with it inside. */
static int print_made(const struct cli *cli, json_t *answer)
{
    json_t *proxy = json_object_get(answer, "proxy");
    json_t *config = json_object_get(answer, "config");
    int status;

    if (cli->json && json_is_object(proxy)) {
        (void)json_object_set(proxy, "config", config);
        return output_json(proxy);
    }
    if (!json_is_object(config))
        return cli_fail(CLI_FAILED, "the console's answer has no config");
    status = output_json(config);
    if (status == 0 && isatty(STDERR_FILENO))
        (void)fprintf(stderr, "On the proxy's machine: fairlead-proxy --config proxy.json  (the "
                              "file holds a private key: chmod 600)\n");
    return status;
}

int cmd_proxy_add(struct cli *cli)
{
    json_t *addresses = cli_list(&cli->args, "address", true);
    json_t *listen = cli_list(&cli->args, "listen", true);
    json_t *answer = NULL, *body = NULL;
    int status = check_addresses(addresses, "address", false);

    if (status == 0)
        status = check_addresses(listen, "listen", true);
    if (status == 0) {
        body = json_pack("{s:s, s:O}", "name", cli->args.operand, "addresses", addresses);
        if (json_array_size(listen) > 0)
            (void)json_object_set(body, "listen", listen);
        status = cli_call(cli, "POST", "/proxies", body, &answer);
    }
    if (status == 0)
        status = print_made(cli, answer);
    json_decref(answer);
    json_decref(body);
    json_decref(listen);
    json_decref(addresses);
    return status;
}

/* join - the strings of @list with ", " between them. */
static const char *join(const json_t *list, char *dst, size_t cap)
{
    json_t *item;
    size_t i, n = 0;

    dst[0] = '\0';
    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_string_value(item);

        if (text && n < cap)
            n += (size_t)snprintf(dst + n, cap - n, "%s%s", i ? ", " : "", text);
    }
    return dst;
}

static void proxy_row(const json_t *proxy, struct output_table *table)
{
    const json_t *report = json_object_get(proxy, "report");
    char addresses[512], endpoints[24], sessions[24], bytes[OUTPUT_SIZE_MAX], when[OUTPUT_SIZE_MAX];

    (void)snprintf(endpoints, sizeof(endpoints), "%" PRIu64, json_count(report, "endpoints"));
    (void)snprintf(sessions, sizeof(sessions), "%" PRIu64, json_count(report, "sessions"));
    output_table_row(
        table,
        (const char *const[]){
            json_text(proxy, "name"),
            json_is_true(json_object_get(proxy, "draining")) ? "draining"
                                                             : json_text(proxy, "state"),
            join(json_object_get(proxy, "addresses"), addresses, sizeof(addresses)), endpoints,
            sessions, output_size(bytes, json_count(report, "bytes")),
            output_when(when, json_text(proxy, "since"), clock_wall()), json_text(proxy, "error")});
}

int cmd_proxy_list(struct cli *cli)
{
    static const char *const heads[] = {"NAME",  "STATE", "ADDRESSES", "ENDPOINTS", "SESSIONS",
                                        "BYTES", "SINCE", "ERROR",     NULL};

    return cli_items(cli, "/proxies", heads, proxy_row,
                     "No proxies yet: fairlead proxy add --help");
}

/* print_cpu - what it used, if it says so: in all, and of a core since the report before. */
static void print_cpu(const json_t *report)
{
    const json_t *percent = json_object_get(report, "cpu_percent");
    char now[32] = "", line[96];

    if (!json_object_get(report, "cpu_us"))
        return;
    if (percent)
        (void)snprintf(now, sizeof(now), ", %.1f %% of a core now", json_number_value(percent));
    (void)snprintf(line, sizeof(line), "%.1f s in all%s",
                   (double)json_count(report, "cpu_us") / CLOCK_SEC, now);
    cli_pair("cpu", line);
}

static void print_report(const json_t *report)
{
    static const char *const counts[][2] = {{"endpoints", "endpoints"},
                                            {"sessions", "sessions"},
                                            {"of all time", "sessions_total"},
                                            {"accepted", "accepted"},
                                            {"refused", "refused"}};
    char text[OUTPUT_SIZE_MAX];
    const char *name;
    json_t *count;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        (void)printf("%-14s%" PRIu64 "\n", counts[i][0], json_count(report, counts[i][1]));
    cli_pair("bytes", output_size(text, json_count(report, "bytes")));
    cli_pair("memory", output_size(text, json_count(report, "memory")));
    print_cpu(report);
    cli_pair("up for", output_span(text, json_count(report, "uptime")));
    json_object_foreach(json_object_get(report, "reasons"), name, count)
    {
        char line[128];

        (void)snprintf(line, sizeof(line), "%s: %" JSON_INTEGER_FORMAT, name,
                       json_integer_value(count));
        cli_pair("ended by", line);
    }
}

/* print_allowed - one line for each of @list, or the word for an empty one; nothing is known
 * without a list. */
static void print_allowed(const char *head, const json_t *list, const char *empty)
{
    char shown[192];
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item)
    {
        const char *text = json_is_object(item) ? json_text(item, "name") : json_string_value(item);

        cli_pair(head,
                 log_escape(shown, sizeof(shown), text ? text : "?", strlen(text ? text : "?")));
    }
    if (list && json_array_size(list) == 0)
        cli_pair(head, empty);
}

/* print_rules - how often agents choose it, and who may come. */
static void print_rules(const json_t *proxy)
{
    if (json_object_get(proxy, "weight"))
        (void)printf("%-14s%" PRIu64 "\n", "weight", json_count(proxy, "weight"));
    print_allowed("agents", json_object_get(proxy, "agents"), "all");
    print_allowed("syncthing", json_object_get(proxy, "syncthing_allow"), "no device");
}

int cmd_proxy_show(struct cli *cli)
{
    char text[512], when[OUTPUT_SIZE_MAX];
    json_t *proxy;
    int status = cli_call_on(cli, "GET", "proxies", "", &proxy);

    if (status)
        return status;
    if (cli->json) {
        status = output_json(proxy);
    } else {
        cli_pair("name", json_text(proxy, "name"));
        cli_pair("id", json_text(proxy, "id"));
        cli_pair("addresses", join(json_object_get(proxy, "addresses"), text, sizeof(text)));
        cli_pair("state", json_text(proxy, "state"));
        cli_pair("error", json_text(proxy, "error"));
        cli_pair("since", output_when(when, json_text(proxy, "since"), clock_wall()));
        if (json_count(proxy, "rtt_us"))
            (void)printf("%-14s%.2f ms\n", "round trip",
                         (double)json_count(proxy, "rtt_us") / 1000);
        cli_pair("version", json_text(json_object_get(proxy, "report"), "software"));
        print_rules(proxy);
        if (json_is_object(json_object_get(proxy, "report")))
            print_report(json_object_get(proxy, "report"));
        cli_settings(json_object_get(proxy, "settings"));
    }
    json_decref(proxy);
    return status;
}

int cmd_proxy_remove(struct cli *cli)
{
    char shown[128];
    json_t *answer;
    int status = cli_call_on(cli, "DELETE", "proxies", "", &answer);

    if (status)
        return status;
    if (cli->json)
        status = output_json(answer);
    else
        (void)printf("proxy %s removed\n", log_escape(shown, sizeof(shown), cli->args.operand,
                                                      strlen(cli->args.operand)));
    json_decref(answer);
    return status;
}
