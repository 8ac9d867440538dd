/* test_config.c - files are read by their table, and what is wrong is told in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/error.h"

struct limits {
    int64_t sessions;
    uint64_t rate;
};

struct sample {
    char *name;
    bool direct;
    int64_t port;
    int raw;
    struct config_strings listen;
    struct config_strings tags;
    uint64_t rate;
    char *token;
    char *ca;
    char *key;
    struct limits limits;
};

static const char *const raws[] = {"never", "allowed", "required", NULL};

static const struct config_key limit_keys[] = {
    {"sessions", CONFIG_INT, offsetof(struct limits, sessions), 0, 1, 100, NULL, NULL, "at once"},
    {"rate", CONFIG_RATE, offsetof(struct limits, rate), 0, 0, 0, NULL, NULL, "speed"},
    {NULL},
};

static const struct config_key live_limit_keys[] = {
    {"sessions", CONFIG_INT, offsetof(struct limits, sessions), CONFIG_LIVE, 1, 100, NULL, NULL,
     "at once"},
    {"rate", CONFIG_RATE, offsetof(struct limits, rate), CONFIG_LIVE, 0, 0, NULL, NULL, "speed"},
    {NULL},
};

/* Some of @keys as a running program takes them. */
static const struct config_key live_keys[] = {
    {"device_name", CONFIG_STRING, offsetof(struct sample, name), CONFIG_REQUIRED, 0, 0, NULL, NULL,
     ""},
    {"direct", CONFIG_BOOL, offsetof(struct sample, direct), CONFIG_LIVE, 0, 0, NULL, NULL, ""},
    {"raw", CONFIG_ENUM, offsetof(struct sample, raw), CONFIG_LIVE, 0, 0, raws, NULL, ""},
    {"tags", CONFIG_STRINGS, offsetof(struct sample, tags), CONFIG_LIVE, 0, 3, NULL, NULL, ""},
    {"ca", CONFIG_STRING, offsetof(struct sample, ca), CONFIG_PEM, 0, 0, NULL, NULL, ""},
    {"limits", CONFIG_GROUP, offsetof(struct sample, limits), CONFIG_LIVE, 0, 0, NULL,
     live_limit_keys, ""},
    {NULL},
};

static const struct config_key keys[] = {
    {"device_name", CONFIG_STRING, offsetof(struct sample, name), CONFIG_REQUIRED, 0, 0, NULL, NULL,
     "name shown"},
    {"direct", CONFIG_BOOL, offsetof(struct sample, direct), 0, 0, 0, NULL, NULL, ""},
    {"listening_port", CONFIG_INT, offsetof(struct sample, port), 0, 0, 65535, NULL, NULL, ""},
    {"raw", CONFIG_ENUM, offsetof(struct sample, raw), 0, 0, 0, raws, NULL, ""},
    {"listen", CONFIG_STRINGS, offsetof(struct sample, listen), CONFIG_ADDRESS, 1, 3, NULL, NULL,
     ""},
    {"tags", CONFIG_STRINGS, offsetof(struct sample, tags), 0, 0, 0, NULL, NULL, ""},
    {"rate_limit", CONFIG_RATE, offsetof(struct sample, rate), 0, 0, 0, NULL, NULL, ""},
    {"bootstrap_token", CONFIG_STRING, offsetof(struct sample, token),
     CONFIG_SECRET | CONFIG_BASE64, 0, 0, NULL, NULL, ""},
    {"ca", CONFIG_STRING, offsetof(struct sample, ca), CONFIG_PEM, 0, 0, NULL, NULL, ""},
    {"key", CONFIG_STRING, offsetof(struct sample, key), CONFIG_PEM | CONFIG_SECRET, 0, 0, NULL,
     NULL, ""},
    {"limits", CONFIG_GROUP, offsetof(struct sample, limits), 0, 0, 0, NULL, limit_keys, ""},
    {NULL},
};

static struct sample sample;
static char message[512];

static int parse(const char *text)
{
    config_done(keys, &sample);
    memset(&sample, 0, sizeof(sample));
    memset(message, '#', sizeof(message));
    return config_parse("a.json", text, strlen(text), keys, &sample, message, sizeof(message));
}

/* wrong - @text is refused with exactly @expected, in one line. */
static void wrong(const char *text, const char *expected)
{
    assert_int_equal(parse(text), -FL_ECONFIG);
    assert_string_equal(message, expected);
}

static int clean_up(void **state)
{
    config_done(keys, &sample);
    return 0;
}

static void a_whole_file_is_read(void **state)
{
    assert_int_equal(
        parse("{ \"device_name\": \"caf\\u00e9\", \"direct\": true, \"listening_port\": 3839,\n"
              "\"raw\": \"required\", \"listen\": [\":1080\", \"[::1]:443\"], \"tags\": \"one\",\n"
              "\"rate_limit\": 100, \"bootstrap_token\": \"QUJD\\nRA==\",\n"
              "\"ca\": \"-----BEGIN X-----\", \"limits\": {\"sessions\": 7, \"rate\": 1}}"),
        0);
    assert_string_equal(message, "");
    assert_string_equal(sample.name, "caf\xc3\xa9");
    assert_true(sample.direct);
    assert_int_equal(sample.port, 3839);
    assert_int_equal(sample.raw, 2);
    assert_int_equal(sample.listen.count, 2);
    assert_string_equal(sample.listen.item[1], "[::1]:443");
    assert_int_equal(sample.tags.count, 1);
    assert_string_equal(sample.tags.item[0], "one");
    assert_int_equal(sample.rate, 102400);
    assert_int_equal(sample.limits.sessions, 7);
    assert_int_equal(sample.limits.rate, 1024);
}

static void defaults_stay(void **state)
{
    struct sample s = {.name = strdup("old"), .port = 5, .raw = 1};
    const char *text = "{\"device_name\": \"new\"}";

    assert_int_equal(config_parse("a", text, strlen(text), keys, &s, message, sizeof(message)), 0);
    assert_string_equal(s.name, "new"); /* the old one is freed: see a run under ASan */
    assert_int_equal(s.port, 5);
    assert_int_equal(s.raw, 1);
    config_done(keys, &s);
    assert_null(s.name);
}

static void misspelt_keys_are_named(void **state)
{
    wrong("{\"device_name\": \"x\",\n\n \"listning_port\": 1}",
          "a.json:3: \"listning_port\": unknown key (did you mean \"listening_port\"?)");
    wrong("{\"device_name\": \"x\",\n \"zebra\": 1}", "a.json:2: \"zebra\": unknown key");
    wrong("{\"device_name\": \"x\",\n\"limits\": {\n\"sesions\": 1}}",
          "a.json:3: \"limits.sesions\": unknown key (did you mean \"sessions\"?)");
    wrong("{\"device_name\": \"x\", \"a\\u001b[0m\\n\": 1}",
          "a.json:1: \"a\\x1b[0m\\n\": unknown key");
}

/* The line is that of the right key, though the same word stands elsewhere before it. */
static void the_line_is_the_keys_own(void **state)
{
    wrong(
        "{\"tags\": [\"rate\", \"{\\\"rate\\\": }\"],\n\"device_name\": \"rate\",\n"
        "\"rate_limit\": 0,\n\"limits\": {\"sessions\": 1,\n\"rate\": -1}}",
        "a.json:5: \"limits.rate\": expected a whole number of KiB/s from 0 to 1099511627776, got "
        "-1");
}

static void wrong_values_are_shown(void **state)
{
    wrong("{\"device_name\": 7}", "a.json:1: \"device_name\": expected a string, got 7");
    wrong("{\"device_name\": \"\"}", "a.json:1: \"device_name\": must not be empty");
    wrong("{\"direct\": \"yes\"}", "a.json:1: \"direct\": expected true or false, got \"yes\"");
    wrong("{\"listening_port\": 65536}",
          "a.json:1: \"listening_port\": expected a whole number from 0 to 65535, got 65536");
    wrong("{\"listening_port\": 1.5}",
          "a.json:1: \"listening_port\": expected a whole number from 0 to 65535, got 1.5");
    wrong("{\"listening_port\": null}",
          "a.json:1: \"listening_port\": expected a whole number from 0 to 65535, got null");
    wrong("{\"raw\": \"requird\"}", "a.json:1: \"raw\": expected one of \"never\", \"allowed\", "
                                    "\"required\" (did you mean \"required\"?)");
    wrong("{\"raw\": 1}",
          "a.json:1: \"raw\": expected one of \"never\", \"allowed\", \"required\", got 1");
    wrong("{\"tags\": [\"a\", 1]}", "a.json:1: \"tags\": expected a string, got 1");
    wrong("{\"tags\": {}}",
          "a.json:1: \"tags\": expected a string or a list of strings, got an object");
    wrong("{\"listen\": []}", "a.json:1: \"listen\": at least 1 entries, got 0");
    wrong("{\"listen\": [\":1\", \":2\", \":3\", \":4\"]}",
          "a.json:1: \"listen\": at most 3 entries, got 4");
    wrong("{\"listen\": [\":1\",\n\"host\"]}", "a.json:1: \"listen\": expected HOST:PORT, "
                                               "[IPv6]:PORT or :PORT, got \"host\"");
    wrong("{\"limits\": 3}", "a.json:1: \"limits\": expected an object {…}, got 3");
    wrong("{\n\"direct\": true}", "a.json:1: \"device_name\": missing (name shown)");
    wrong("[1]", "a.json:1: expected an object {…}, got a list");
}

static void syntax_errors_have_their_line(void **state)
{
    wrong("{\n\"direct\": tru}", "a.json:2: not valid JSON: invalid token");
    wrong("", "a.json:1: not valid JSON: '[' or '{' expected near end of file");
    wrong("{\"raw\": \"never\",\n \"raw\": \"never\"}",
          "a.json:2: not valid JSON: duplicate object key near '\\\"raw\\\"'");
    assert_int_equal(parse("{\"device_name\": \"a\\u0000b\"}"), -FL_ECONFIG);
    assert_int_equal(parse("{\"device_name\": \"\xff\"}"), -FL_ECONFIG);
    assert_int_equal(parse("{\"device_name\": \"x\"} {}"), -FL_ECONFIG);
}

static void secrets_are_never_shown(void **state)
{
    static const char *const texts[] = {
        "{\"bootstrap_token\": \"s3cr!t\"}",
        "{\"bootstrap_token\": [\"s3cr!t\"]}",
        "{\"key\": \"s3cr!t\"}",
        "{\"bootstrap_token\": s3cr!t}",
        "{\"bootstrap_token\": \"s3cr!t}",
        "{\"bootstrap_token\": \"s3cr!t\" \"x\": 1}",
        "{\"bootstrap_token\": \"s3cr!t\\q\"}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(parse(texts[i]), -FL_ECONFIG);
        assert_null(strstr(message, "s3c"));
        assert_non_null(strstr(message, "a.json:1: "));
    }
    wrong("{\"bootstrap_token\": \"s3cr!t\"}",
          "a.json:1: \"bootstrap_token\": expected base64 text, got a string");
}

static void base64_is_checked(void **state)
{
    static const char *const bad[] = {"", "QQ", "QQ=", "Q===", "QQ==QQ==", "QUJD!", "===="};
    char text[100];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"device_name\":\"x\",\"bootstrap_token\":\"%s\"}",
                       bad[i]);
        assert_int_equal(parse(text), -FL_ECONFIG);
    }
    assert_int_equal(parse("{\"device_name\":\"x\",\"bootstrap_token\":\" QUJ\\n DRA== \"}"), 0);
}

static void deep_nesting_is_an_error(void **state)
{
    static char text[400000];

    memset(text, '[', sizeof(text) - 1);
    assert_int_equal(parse(text), -FL_ECONFIG);
    for (size_t i = 0; i + 8 < sizeof(text); i += 8)
        memcpy(text + i, "{\"tags\":", 8);
    assert_int_equal(parse(text), -FL_ECONFIG);
    assert_null(strchr(message, '\n'));
}

static void long_words_are_cut(void **state)
{
    static char text[20000];

    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"", 2);
    strcpy(text + sizeof(text) - 6, "\": 1}");
    assert_int_equal(parse(text), -FL_ECONFIG);
    assert_true(strlen(message) < sizeof(message) - 1);
    assert_non_null(strstr(message, "unknown key"));
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"raw\":\"", 8);
    strcpy(text + sizeof(text) - 3, "\"}");
    assert_int_equal(parse(text), -FL_ECONFIG);
    assert_non_null(strstr(message, "...\""));
}

static void files_are_read(void **state)
{
    char dir[] = "/tmp/fl-config-XXXXXX";
    char path[64], pem[64];
    FILE *file;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/a.json", dir);
    (void)snprintf(pem, sizeof(pem), "%s/ca.pem", dir);
    file = fopen(path, "w");
    fputs("{\"device_name\": \"x\", \"ca\": \"ca.pem\"}", file);
    fclose(file);
    config_done(keys, &sample);
    assert_int_equal(config_load(path, keys, &sample, message, sizeof(message)), -FL_ECONFIG);
    assert_non_null(strstr(message, ":1: \"ca\": cannot read the file \"ca.pem\": No such file"));
    file = fopen(pem, "w");
    fputs("-----BEGIN CERTIFICATE-----\n", file);
    fclose(file);
    config_done(keys, &sample);
    assert_int_equal(config_load(path, keys, &sample, message, sizeof(message)), 0);
    assert_string_equal(sample.ca,
                        "-----BEGIN CERTIFICATE-----\n"); /* beside the file, by its folder */
    unlink(pem);
    assert_int_equal(mkfifo(pem, 0600), 0); /* must not wait for a writer */
    config_done(keys, &sample);
    assert_int_equal(config_load(path, keys, &sample, message, sizeof(message)), -FL_ECONFIG);
    unlink(pem);
    unlink(path);
    assert_int_equal(config_load(path, keys, &sample, message, sizeof(message)), -ENOENT);
    assert_non_null(strstr(message, "/a.json: cannot be read: No such file or directory"));
    assert_int_equal(config_load(dir, keys, &sample, message, sizeof(message)), -EISDIR);
    assert_int_equal(config_load("/dev/zero", keys, &sample, message, sizeof(message)), -EFBIG);
    rmdir(dir);
}

/* not_patched - @text is refused with exactly @expected. */
static void not_patched(const char *text, const char *expected)
{
    struct sample other = {0};

    assert_int_equal(config_patch(text, strlen(text), live_keys, &other, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_string_equal(message, expected);
    config_done(live_keys, &other);
}

static void a_patch_changes_live_keys_only(void **state)
{
    static const char patch[] =
        "{\"limits\": {\"rate\": 7}, \"tags\": [\"c\"], \"raw\": \"required\"}";
    struct sample copy = {0};

    assert_int_equal(parse("{\"device_name\": \"x\", \"direct\": true, \"tags\": [\"a\", \"b\"],"
                           " \"raw\": \"never\", \"limits\": {\"sessions\": 5, \"rate\": 3}}"),
                     0);
    assert_int_equal(config_copy_live(live_keys, &sample, &copy), 0);
    assert_null(copy.name);
    assert_int_equal(config_patch(patch, strlen(patch), live_keys, &copy, message, sizeof(message)),
                     0);
    assert_true(copy.direct);
    assert_int_equal(copy.limits.sessions, 5);
    assert_int_equal(copy.limits.rate, 7 * 1024);
    assert_int_equal(copy.raw, 2);
    assert_int_equal(copy.tags.count, 1);
    assert_string_equal(copy.tags.item[0], "c");
    assert_int_equal(sample.tags.count, 2); /* the copy is deep */
    assert_string_equal(sample.tags.item[1], "b");
    config_done(live_keys, &copy);
}

static void a_patch_says_what_is_wrong(void **state)
{
    not_patched("{\"device_name\": \"y\"}",
                "\"device_name\": cannot be changed while the program runs, only in its file");
    not_patched("{\"ca\": \"/etc/passwd\"}",
                "\"ca\": cannot be changed while the program runs, only in its file");
    not_patched("{\"limits\": {\"ratte\": 1}}",
                "\"limits.ratte\": unknown key (did you mean \"rate\"?)");
    not_patched("{\"limits\": {\"sessions\": 0}}",
                "\"limits.sessions\": expected a whole number from 1 to 100, got 0");
    not_patched("[]", "expected an object {…}, got a list");
    not_patched("{", "not valid JSON: string or '}' expected near end of file");
}

static void live_values_are_written_as_a_patch(void **state)
{
    assert_int_equal(parse("{\"device_name\": \"x\", \"direct\": true, \"tags\": [\"a\"],"
                           " \"raw\": \"allowed\", \"limits\": {\"sessions\": 5, \"rate\": 3}}"),
                     0);
    char *text = config_live_json(live_keys, &sample);
    assert_string_equal(text, "{\"direct\":true,\"raw\":\"allowed\",\"tags\":[\"a\"],"
                              "\"limits\":{\"sessions\":5,\"rate\":3}}");
    struct sample copy = {0};
    assert_int_equal(config_patch(text, strlen(text), live_keys, &copy, message, sizeof(message)),
                     0);
    config_done(live_keys, &copy);
    free(text);
}

static void nearest_words(void **state)
{
    static const char *const words[] = {"list", "show", "start", "stop", "remove", NULL};

    assert_string_equal(config_nearest("lsit", words), "list"); /* a swap is one step */
    assert_string_equal(config_nearest("remvoe", words), "remove");
    assert_string_equal(config_nearest("shw", words), "show");
    assert_string_equal(config_nearest("stop", words), "stop");
    assert_null(config_nearest("delete", words));
    assert_null(config_nearest("", words));
    assert_null(config_nearest(
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", words));
}

static void addresses_are_split(void **state)
{
    static const char *const bad[] = {"host",
                                      "host:",
                                      "host:65536",
                                      "host:-1",
                                      "::1:80",
                                      "[::1]",
                                      "[::1:80",
                                      "[]:80",
                                      "ho st:80",
                                      "[host]:1",
                                      "a/b:1",
                                      "h:1x",
                                      "h:000001",
                                      "",
                                      ":",
                                      "h:+1",
                                      "averylonghostname:80"};
    char host[16];
    uint16_t port;

    assert_int_equal(config_split_address("example.org:443", host, sizeof(host), &port), 0);
    assert_string_equal(host, "example.org");
    assert_int_equal(port, 443);
    assert_int_equal(config_split_address("[fe80::1%eth0]:1", host, sizeof(host), &port), 0);
    assert_string_equal(host, "fe80::1%eth0");
    assert_int_equal(config_split_address(":65535", host, sizeof(host), &port), 0);
    assert_string_equal(host, "");
    assert_int_equal(port, 65535);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(config_split_address(bad[i], host, sizeof(host), &port), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_is_read),
        cmocka_unit_test(defaults_stay),
        cmocka_unit_test(misspelt_keys_are_named),
        cmocka_unit_test(the_line_is_the_keys_own),
        cmocka_unit_test(wrong_values_are_shown),
        cmocka_unit_test(syntax_errors_have_their_line),
        cmocka_unit_test(secrets_are_never_shown),
        cmocka_unit_test(base64_is_checked),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(long_words_are_cut),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(nearest_words),
        cmocka_unit_test(addresses_are_split),
        cmocka_unit_test(a_patch_changes_live_keys_only),
        cmocka_unit_test(a_patch_says_what_is_wrong),
        cmocka_unit_test(live_values_are_written_as_a_patch),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
