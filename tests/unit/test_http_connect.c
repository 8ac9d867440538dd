/* Connections through an HTTP proxy that is a script: what it is asked, and what comes of its
 * answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "leg/http_connect.h"

#define REQUESTS_MAX 4
#define OK           "HTTP/1.1 200 Connection established\r\n\r\n"
#define NO_BODY      "Content-Length: 0\r\n\r\n"

/* The proxy: answers each request with the next line of its script, whatever was asked. After OK
 * it sends back what comes. NULL: says nothing, and waits for the other side to go. */
struct script {
    const char *answers[REQUESTS_MAX];
    char asked[REQUESTS_MAX][2048];
    unsigned count; /* requests */
    int listener;
    uint16_t port;
    pthread_t thread;
};

static bool read_request(int fd, char *text, size_t cap)
{
    size_t len = 0;

    while (len + 1 < cap && recv(fd, text + len, 1, 0) == 1) {
        text[++len] = '\0';
        if (len >= 4 && !strcmp(text + len - 4, "\r\n\r\n"))
            return true;
    }
    return false;
}

static void echo(int fd)
{
    char buf[100];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        assert_int_equal(send(fd, buf, (size_t)n, MSG_NOSIGNAL), n);
}

static void *serve(void *ctx)
{
    struct script *script = ctx;
    int fd;

    while ((fd = accept(script->listener, NULL, NULL)) >= 0) {
        while (script->count < REQUESTS_MAX &&
               read_request(fd, script->asked[script->count], sizeof(script->asked[0]))) {
            const char *answer = script->answers[script->count++];

            if (answer)
                (void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
            if (!answer || !strcmp(answer, OK))
                echo(fd);
        }
        (void)close(fd);
    }
    return NULL;
}

static void script_start(struct script *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    script->count = 0;
    script->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(script->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(script->listener, 8), 0);
    assert_int_equal(getsockname(script->listener, (struct sockaddr *)&address, &len), 0);
    script->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&script->thread, NULL, serve, script), 0);
}

static void script_end(struct script *script)
{
    (void)shutdown(script->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(script->thread, NULL), 0);
    (void)close(script->listener);
}

struct result {
    bool told;
    int fd;
    char name[64];
    unsigned prepared;
};

static unsigned prepared;

static void prepare(int fd)
{
    assert_true(fd >= 0);
    prepared++;
}

static void on_done(void *ctx, int fd, const char *server_name)
{
    struct result *result = ctx;

    assert_false(result->told);
    result->told = true;
    result->fd = fd;
    (void)snprintf(result->name, sizeof(result->name), "%s", server_name ? server_name : "");
}

/* Dials @host:443 through the script's port as @user ("name:password@" or ""). */
static int dial(uint16_t port, const char *user, const char *host, struct result *result)
{
    struct http_proxy *proxy;
    const struct dialler *dialler;
    char url[128];
    uv_loop_t loop;
    void *op;

    (void)snprintf(url, sizeof(url), "http://%s127.0.0.1:%u", user, (unsigned)port);
    assert_int_equal(http_proxy_new(url, &proxy), 0);
    dialler = http_proxy_dialler(proxy);
    assert_int_equal(uv_loop_init(&loop), 0);
    *result = (struct result){0};
    prepared = 0;
    assert_int_equal(dialler->dial(dialler->ctx, &loop, host, 443, prepare, on_done, result, &op),
                     0);
    assert_false(result->told);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(result->told);
    assert_int_equal(uv_loop_close(&loop), 0); /* nothing is left in it */
    http_proxy_free(proxy);
    return result->fd;
}

static void must_echo(int fd)
{
    char buf[8] = "";

    assert_true(fd >= 0);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    for (size_t got = 0; got < 5;) {
        ssize_t n = recv(fd, buf + got, sizeof(buf) - got, 0);

        if (n > 0)
            got += (size_t)n;
        else
            assert_int_equal(errno, EAGAIN);
    }
    assert_string_equal(buf, "hello");
    (void)close(fd);
}

static void connects(void **state)
{
    struct script script = {.answers = {OK}};
    struct result result;

    script_start(&script);
    must_echo(dial(script.port, "", "relay.example", &result));
    script_end(&script);
    assert_string_equal(result.name, "relay.example");
    assert_int_equal(prepared, 1);
    assert_int_equal(strncmp(script.asked[0], "CONNECT relay.example:443 HTTP/1.1\r\n", 36), 0);
    assert_null(strstr(script.asked[0], "Authorization"));
}

static void connects_to_digits(void **state)
{
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1"};
    static const char *const asked[] = {"CONNECT 192.0.2.1:443 ", "CONNECT [2001:db8::1]:443 "};
    struct result result;

    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct script script = {.answers = {OK}};

        script_start(&script);
        must_echo(dial(script.port, "", hosts[i], &result));
        script_end(&script);
        assert_string_equal(result.name, "");
        assert_int_equal(strncmp(script.asked[0], asked[i], strlen(asked[i])), 0);
    }
}

#define NEEDS_BASIC                                                                                \
    "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"office\"\r\n" NO_BODY

static void basic(void **state)
{
    struct script script = {.answers = {NEEDS_BASIC, OK}};
    struct result result;

    script_start(&script);
    must_echo(dial(script.port, "Ali%20Baba:open%3Asesame@", "relay.example", &result));
    script_end(&script);
    assert_null(strstr(script.asked[0], "Proxy-Authorization"));
    /* base64 of "Ali Baba:open:sesame" */
    assert_non_null(
        strstr(script.asked[1], "Proxy-Authorization: Basic QWxpIEJhYmE6b3BlbjpzZXNhbWU=\r\n"));
}

/* The value of @key in a header of "key=value, key="value"…". */
static const char *value_of(const char *header, const char *key, char *buf, size_t cap)
{
    char pattern[32];
    const char *at = header;
    size_t len;

    (void)snprintf(pattern, sizeof(pattern), "%s=", key);
    while ((at = strstr(at, pattern)) && at[-1] != ' ' && at[-1] != ',')
        at++;
    assert_non_null(at);
    at += strlen(pattern);
    at += *at == '"';
    len = strcspn(at, "\",\r");
    assert_true(len < cap);
    memcpy(buf, at, len);
    buf[len] = '\0';
    return buf;
}

static void hash(gnutls_digest_algorithm_t algorithm, const char *text, char ret[static 65])
{
    uint8_t bytes[32];

    assert_int_equal(gnutls_hash_fast(algorithm, text, strlen(text), bytes), 0);
    for (unsigned i = 0; i < gnutls_hash_get_len(algorithm); i++)
        (void)sprintf(ret + 2 * (size_t)i, "%02x", bytes[i]);
}

/* RFC 7616 section 3.4.1, done once more. */
static void must_be_digest(const char *request, gnutls_digest_algorithm_t algorithm)
{
    const char *header = strstr(request, "Proxy-Authorization: Digest ");
    char one[65], two[65], all[65], text[512], nonce[64], nc[16], cnonce[128], response[80];

    assert_non_null(header);
    hash(algorithm, "user:office:secret", one);
    hash(algorithm, "CONNECT:relay.example:443", two);
    (void)snprintf(text, sizeof(text), "%s:%s:%s:%s:auth:%s", one,
                   value_of(header, "nonce", nonce, sizeof(nonce)),
                   value_of(header, "nc", nc, sizeof(nc)),
                   value_of(header, "cnonce", cnonce, sizeof(cnonce)), two);
    hash(algorithm, text, all);
    assert_string_equal(nonce, "abc123");
    assert_string_equal(value_of(header, "response", response, sizeof(response)), all);
    assert_null(strstr(request, "secret"));
}

/* The better way is taken where the proxy has several. */
static void digest(void **state)
{
    static const struct {
        const char *name;
        gnutls_digest_algorithm_t algorithm;
    } cases[] = {{"MD5", GNUTLS_DIG_MD5}, {"SHA-256", GNUTLS_DIG_SHA256}};
    struct result result;
    char needs[512];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct script script = {.answers = {needs, OK}};

        (void)snprintf(needs, sizeof(needs),
                       "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"office\"\r\n"
                       "Proxy-Authenticate: Digest realm=\"office\", qop=\"auth\", algorithm=%s, "
                       "nonce=\"abc123\"\r\n" NO_BODY,
                       cases[i].name);
        script_start(&script);
        must_echo(dial(script.port, "user:secret@", "relay.example", &result));
        script_end(&script);
        must_be_digest(script.asked[1], cases[i].algorithm);
    }
}

static void refusals(void **state)
{
    static const struct {
        const char *user, *answers[2];
        int code;
    } cases[] = {
        {"", {NEEDS_BASIC}, -FL_EVIAUSER},
        {"user:wrong@", {NEEDS_BASIC, NEEDS_BASIC}, -FL_EVIAUSER},
        {"", {"HTTP/1.1 403 Forbidden\r\n" NO_BODY}, -FL_EVIADENIED},
        {"", {"HTTP/1.1 503 No way\r\n" NO_BODY}, -FL_EVIADENIED},
        {"", {"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n"}, -FL_EVIA},
    };
    struct result result;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct script script = {.answers = {cases[i].answers[0], cases[i].answers[1], ""}};

        script_start(&script);
        assert_int_equal(dial(script.port, cases[i].user, "relay.example", &result), cases[i].code);
        script_end(&script);
    }
}

static void nobody_there(void **state)
{
    struct script script = {0};
    struct result result;

    script_start(&script);
    script_end(&script);
    assert_int_equal(dial(script.port, "", "relay.example", &result), -FL_EVIA);
}

/* HTTP_CONNECT_MS is short in this program. */
static void silent(void **state)
{
    struct script script = {0};
    struct result result;

    script_start(&script);
    assert_int_equal(dial(script.port, "", "relay.example", &result), -FL_EVIA);
    script_end(&script);
}

static void cancelled(void **state)
{
    struct script script = {0};
    struct result result = {0};
    struct http_proxy *proxy;
    const struct dialler *dialler;
    char url[64];
    uv_loop_t loop;
    void *op;

    for (unsigned turns = 0; turns < 5; turns++) {
        script_start(&script);
        (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)script.port);
        assert_int_equal(http_proxy_new(url, &proxy), 0);
        dialler = http_proxy_dialler(proxy);
        assert_int_equal(uv_loop_init(&loop), 0);
        assert_int_equal(
            dialler->dial(dialler->ctx, &loop, "host", 443, NULL, on_done, &result, &op), 0);
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        dialler->cancel(op);
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(uv_loop_close(&loop), 0);
        assert_false(result.told);
        http_proxy_free(proxy);
        script_end(&script);
    }
}

static void urls(void **state)
{
    static const char *const bad[] = {"",
                                      "proxy:3128",
                                      "http://proxy",
                                      "https://proxy:443",
                                      "socks5://proxy:1080",
                                      "http://proxy:3128/path",
                                      "http://proxy:3128/?a=b",
                                      "http://:3128",
                                      "http://proxy:99999"};
    static const char *const good[][2] = {
        {"http://proxy.example:3128", "proxy.example:3128"},
        {"http://user:secret@proxy.example:8080/", "proxy.example:8080"},
        {"http://user@[2001:db8::1]:3128", "[2001:db8::1]:3128"},
    };
    struct http_proxy *proxy;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (http_proxy_new(bad[i], &proxy) != -EINVAL)
            fail_msg("taken: %s", bad[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(http_proxy_new(good[i][0], &proxy), 0);
        assert_string_equal(http_proxy_name(proxy), good[i][1]);
        http_proxy_free(proxy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(connects),
        cmocka_unit_test(connects_to_digits),
        cmocka_unit_test(basic),
        cmocka_unit_test(digest),
        cmocka_unit_test(refusals),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(silent),
        cmocka_unit_test(cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
