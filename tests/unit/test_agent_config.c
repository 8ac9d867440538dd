/* agent.json: what is accepted, and the one line for what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/agent_config.h"
#include "base/cleanup.h"
#include "base/error.h"

#define PRINT                                                                                      \
    "\"cert_authority_fingerprint\": "                                                             \
    "\"0011223344556677889900112233445566778899001122334455667788990011\""
#define SERVER(more) "{\"management_server\": {" PRINT more "}"

static int load(const char *text, struct agent_config *config, char *message)
{
    int error;

    agent_config_init(config);
    message[0] = '\0';
    error = config_parse("agent.json", text, strlen(text), agent_config_keys, config, message, 512);
    return error ? error : agent_config_check("agent.json", config, message, 512);
}

static void good_ones(void **state)
{
    static const char *const texts[] = {
        SERVER(", \"host\": \"console.example\"") "}",
        SERVER("") ", \"mc_proxy\": \"1.2.3.4:1080\"}",
        SERVER("") ", \"mc_proxy\": [\"p1:1080\", \"[::1]:443\"], \"direct\": \"never\", "
                   "\"listening_port\": 0}",
        SERVER("") ", \"mc_address\": \"10.0.0.1:8444\", \"tags\": [\"a\", \"b\"], "
                   "\"folders_storage_path\": \"/srv\"}",
        SERVER("") ", \"mc_proxy\": \"1.2.3.4:443\", \"https_proxy\": "
                   "\"http://ann:s3cret@proxy.example:3128\"}",
        SERVER(", \"host\": \"h\", \"bootstrap_token\": \"aGVsbG8=\"") ", \"log\": {\"level\": "
                                                                       "\"debug\", \"format\": "
                                                                       "\"json\"}}",
    };
    struct agent_config config;
    char message[512];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (load(texts[i], &config, message))
            fail_msg("%s: %s", texts[i], message);
        assert_non_null(config.device_name);
        agent_config_done(&config);
    }
}

static void bad_ones(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{}", "management_server"},
        {"{\"management_server\": {}}", "cert_authority_fingerprint"},
        {SERVER("") "}", "no way to the console"},
        {SERVER(", \"host\": \"a:b:c\"") ", \"listening_prt\": 1}", "listening_port"},
        {SERVER(", \"host\": \"h\"") ", \"listening_port\": 65536}", "listening_port"},
        {SERVER(", \"host\": \"h\"") ", \"listening_port\": \"x\"}", "listening_port"},
        {SERVER(", \"host\": \"h\"") ", \"direct\": \"sometimes\"}", "allowed"},
        {SERVER(", \"host\": \"h:99999\"") "}", "host"},
        {SERVER(", \"host\": \"\"") "}", "host"},
        {SERVER(", \"host\": \"h\"") ", \"mc_proxy\": \"nowhere\"}", "mc_proxy"},
        {SERVER(", \"host\": \"h\"") ", \"mc_address\": 5}", "mc_address"},
        {SERVER(", \"host\": \"h\"") ", \"https_proxy\": \"proxy:3128\"}", "http://["},
        {SERVER(", \"host\": \"h\"") ", \"tags\": [\"\"]}", "tags"},
        {SERVER(", \"host\": \"h\"") ", \"tags\": [\"a23456789012345678901234567890123\"]}",
         "tags"},
        {SERVER(", \"host\": \"h\"") ", \"device_name\": \"\"}", "device_name"},
        {SERVER(", \"host\": \"h\"") ", \"folders_storage_path\": \"srv\"}", "absolute"},
        {SERVER(", \"host\": \"h\"") ", \"rate_limit_local_peers\": true}", "unknown"},
        {SERVER(", \"host\": \"h\"") ", \"log\": {\"level\": \"loud\"}}", "level"},
        {"{\"management_server\": {\"host\": \"h\", \"cert_authority_fingerprint\": \"12\"}}",
         "64 hex digits"},
        {"[1]", ""},
        {"{", ""},
        {"", ""},
    };
    struct agent_config config;
    char message[512];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (!load(cases[i].text, &config, message))
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(message, cases[i].expected) || !strstr(message, "agent.json"))
            fail_msg("%s: says \"%s\", not \"%s\"", cases[i].text, message, cases[i].expected);
        assert_null(strchr(message, '\n'));
        agent_config_done(&config);
    }
}

static void secret_is_not_shown(void **state)
{
    struct agent_config config;
    char message[512];

    assert_int_not_equal(
        load(SERVER(", \"host\": \"h\", \"bootstrap_token\": \"!s3cret!\"") "}", &config, message),
        0);
    assert_null(strstr(message, "s3cret"));
    agent_config_done(&config);
    assert_int_not_equal(
        load(SERVER(", \"host\": \"h\"") ", \"https_proxy\": \"https://a:s3cret@b:1\"}", &config,
             message),
        0);
    assert_null(strstr(message, "s3cret"));
    agent_config_done(&config);
}

static void consoles_in_order(void **state)
{
    static const struct {
        const char *text, *first, *second;
    } cases[] = {
        {SERVER(", \"host\": \"h\"") "}", "h:8444", NULL},
        {SERVER(", \"host\": \"h:1\"") ", \"mc_address\": \"m:2\"}", "m:2", "h:1"},
        {SERVER(", \"host\": \"::1\"") "}", "[::1]:8444", NULL},
        {SERVER(", \"host\": \"[::1]\"") "}", "[::1]:8444", NULL},
        {SERVER(", \"host\": \"[::1]:5\"") "}", "[::1]:5", NULL},
        {SERVER(", \"host\": \"h\"") ", \"mc_address\": \"h:8444\"}", "h:8444", NULL},
        {SERVER("") ", \"mc_proxy\": \"p:1\"}", NULL, NULL},
    };
    char ret[AGENT_CONSOLES_MAX][AGENT_ADDRESS_MAX];
    struct agent_config config;
    char message[512];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (load(cases[i].text, &config, message))
            fail_msg("%s: %s", cases[i].text, message);
        assert_int_equal(agent_config_consoles(&config, ret), !!cases[i].first + !!cases[i].second);
        if (cases[i].first)
            assert_string_equal(ret[0], cases[i].first);
        if (cases[i].second)
            assert_string_equal(ret[1], cases[i].second);
        agent_config_done(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(secret_is_not_shown),
        cmocka_unit_test(consoles_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
