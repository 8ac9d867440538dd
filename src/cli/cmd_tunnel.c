/* cmd_tunnel.c - fairlead tunnel list: which ways carry, and which were tried in vain. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"

static const char *const heads[] = {"FROM", "TO",    "WAY", "STATE", "SINCE",
                                    "RATE", "MOVED", "RTT", "NOTE",  NULL};

/* how_of - what the proxy in between does with it, if there is one. */
static const char *how_of(const json_t *tunnel)
{
    if (!json_is_true(json_object_get(tunnel, "relayed")))
        return "";
    return json_is_true(json_object_get(tunnel, "raw")) ? "raw" : "wrapped";
}

/* note_of - why not, or how; of a forward also whose it is. */
static const char *note_of(const json_t *tunnel, char *buf, size_t cap)
{
    const char *how = how_of(tunnel);

    if (json_text(tunnel, "text")[0])
        return json_text(tunnel, "text");
    if (!json_object_get(tunnel, "connections"))
        return how;
    (void)snprintf(buf, cap, "%s%s%" PRIu64 " open, %s", how, how[0] ? ", " : "",
                   json_count(tunnel, "connections"),
                   json_is_true(json_object_get(tunnel, "newest")) ? "takes new ones" : "runs out");
    return buf;
}

static void tunnel_row(const json_t *tunnel, struct output_table *table)
{
    char note[96], since[OUTPUT_SIZE_MAX],
        rate[OUTPUT_SIZE_MAX + 2] = "", moved[OUTPUT_SIZE_MAX] = "", rtt[32] = "";
    bool open = strcmp(json_text(tunnel, "state"), "failed") != 0;
    uint64_t micros = json_count(tunnel, "rtt_us");

    if (open) {
        (void)output_size(rate, json_count(tunnel, "rate"));
        (void)strcat(rate, "/s");
        (void)output_size(moved, json_count(tunnel, "bytes"));
    }
    if (open && micros)
        (void)snprintf(rtt, sizeof(rtt), "%.1f ms", (double)micros / 1000);
    output_table_row(
        table, (const char *const[]){json_text(json_object_get(tunnel, "source"), "name"),
                                     json_text(json_object_get(tunnel, "target"), "name"),
                                     json_text(tunnel, "via"), json_text(tunnel, "state"),
                                     output_when(since, json_text(tunnel, "since"), clock_wall()),
                                     rate, moved, rtt, note_of(tunnel, note, sizeof(note))});
}

static bool concerns(const json_t *tunnel, const char *agent, const char *run)
{
    if (run && strcmp(json_text(tunnel, "run"), run) != 0)
        return false;
    return !agent || !strcmp(json_text(json_object_get(tunnel, "source"), "name"), agent) ||
           !strcmp(json_text(json_object_get(tunnel, "target"), "name"), agent);
}

int cli_tunnels(struct cli *cli, const char *agent, const char *run)
{
    struct output_table *table;
    json_t *answer, *tunnel;
    size_t i, rows = 0;
    char path[64] = "/tunnels";

    if (run)
        (void)snprintf(path, sizeof(path), "/tunnels?run=%.40s", run);
    int status = cli_call(cli, "GET", path, NULL, &answer);

    if (status)
        return status;
    table = output_table_new(heads);
    json_array_foreach(json_object_get(answer, "items"), i, tunnel)
    {
        if (!table || !concerns(tunnel, agent, run))
            continue;
        tunnel_row(tunnel, table);
        rows++;
    }
    if (rows > 0) {
        (void)printf("\n");
        output_table_print(table, stdout, output_terminal(1, NULL));
    }
    output_table_free(table);
    json_decref(answer);
    return 0;
}

int cmd_tunnel_list(struct cli *cli)
{
    return cli_items(cli, "/tunnels", heads, tunnel_row, "No data moves between agents now.");
}
