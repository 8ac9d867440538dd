/* relay - both ends of relayed streams in one process: pushes bytes in at one end, counts them at
 * the other.
 *
 *     relay setup DIR PORT                           keys, and a proxy.json that listens on
 *                                                    127.0.0.1:PORT
 *     relay fairlead DIR PORT BYTES SESSIONS         two agents and sessions through the
 *                                                    fairlead-proxy at PORT
 *     relay stream DIR PORT MBITS                    one raw session through the fairlead-proxy at
 *                                                    PORT, MBITS a second until it is stopped;
 *                                                    prints how far it is
 *     relay syncthing DIR PORT BYTES SESSIONS        two devices and sessions through the Syncthing
 *                                                    relay at PORT
 *     relay plain IN_PORT OUT_PORT BYTES SESSIONS    connects to IN_PORT, whose relay shall connect
 *                                                    to OUT_PORT
 *
 * Prints the seconds from the first byte in to the last one out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "identity/authority.h"

#define DEADLINE 120 /* seconds */

/* ---- keys and files ---- */

static void save(const char *dir, const char *name, const char *first, const char *second)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    if (!file || fprintf(file, "%s%s", first, second) < 0 || fclose(file) != 0)
        driver_die(path, -errno);
}

static void issue(const struct authority *authority, const char *dir, const char *name,
                  enum party_role role)
{
    char *key, *cert;
    struct fl_id id;

    driver_check("key", identity_make_key(&key));
    driver_check("certificate", authority_issue_key(authority, key, role, 86400, &cert, &id));
    save(dir, name, key, cert);
    free(key);
    free(cert);
}

static void set_up(const char *dir, const char *port)
{
    const char *names[] = {"localhost"};
    struct authority *authority;
    char *key, *cert, *web, json[512];

    driver_check("authority", authority_create(&key, &cert));
    driver_check("authority", authority_load(key, cert, &authority));
    save(dir, "ca.pem", cert, "");
    save(dir, "ca.key", key, "");
    issue(authority, dir, "proxy.pem", PARTY_PROXY);
    issue(authority, dir, "caller.pem", PARTY_AGENT);
    issue(authority, dir, "callee.pem", PARTY_AGENT);
    driver_check("web", authority_issue_web(authority, names, 1, 1, &web));
    save(dir, "web.pem", web, "");
    (void)snprintf(
        json, sizeof(json),
        "{\"listen\": [\"127.0.0.1:%s\"], \"identity\": \"proxy.pem\", \"ca\": \"ca.pem\",\n"
        " \"tls_certificate\": \"web.pem\", \"log\": {\"level\": \"warn\"}}\n",
        port);
    save(dir, "proxy.json", json, "");
    authority_free(authority);
    free(key);
    free(cert);
    free(web);
}

/* ---- through any TCP relay ---- */

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0)
        driver_die("listen", -errno);
    return fd;
}

static double relay_plain(uint16_t in_port, uint16_t out_port, unsigned count, uint64_t total)
{
    struct driver_pair pairs[DRIVER_SESSIONS_MAX];
    int listening = listen_on(out_port);

    for (unsigned i = 0; i < count; i++) {
        pairs[i].in = driver_socket(in_port);
        pairs[i].out = accept(listening, NULL, NULL);
        if (pairs[i].out < 0)
            driver_die("accept", -errno);
    }
    (void)close(listening);
    return driver_run(pairs, count, total);
}

int main(int argc, char **argv)
{
    uint64_t total;
    unsigned count;
    uint16_t port;
    double seconds;

    if (argc == 4 && strcmp(argv[1], "setup") == 0) {
        set_up(argv[2], argv[3]);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "stream") == 0) {
        struct driver_pair pair;
        relay_fairlead_open(argv[2], (uint16_t)atoi(argv[3]), &pair);
        driver_stream(&pair, strtoull(argv[4], NULL, 10) * 125000);
    }
    count = argc == 6 ? (unsigned)atoi(argv[5]) : 0;
    if (count == 0 || count > DRIVER_SESSIONS_MAX) {
        fprintf(stderr, "relay: setup DIR PORT, stream DIR PORT MBITS, fairlead|syncthing DIR PORT "
                        "BYTES SESSIONS, or "
                        "plain IN_PORT OUT_PORT BYTES SESSIONS expected\n");
        return 2;
    }
    (void)alarm(DEADLINE);
    port = (uint16_t)atoi(argv[3]);
    total = strtoull(argv[4], NULL, 10);
    if (strcmp(argv[1], "fairlead") == 0)
        seconds = relay_fairlead(argv[2], port, count, total);
    else if (strcmp(argv[1], "syncthing") == 0)
        seconds = relay_syncthing(argv[2], port, count, total);
    else
        seconds = relay_plain((uint16_t)atoi(argv[2]), port, count, total);
    printf("%.6f\n", seconds);
    return 0;
}
