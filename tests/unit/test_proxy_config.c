#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "proxy/proxy_config.h"

#define PEM "-----BEGIN X-----\\nAAAA\\n-----END X-----\\n"
#define BASE                                                                                       \
    "\"listen\":\":1080\",\"identity\":\"" PEM "\",\"ca\":\"" PEM "\",\"tls_certificate\":\"" PEM  \
    "\""
#define WHOLE "{" BASE "}"

static struct proxy_config config;
static char message[512];

static int parse(const char *text)
{
    int rc =
        proxy_config_parse("proxy.json", text, strlen(text), &config, message, sizeof(message));
    if (rc)
        proxy_config_done(&config);
    return rc;
}

static void defaults(void **state)
{
    struct proxy_settings settings;
    assert_int_equal(parse(WHOLE), 0);
    assert_int_equal(config.listen.count, 1);
    assert_string_equal(config.listen.item[0], ":1080");
    assert_int_equal(config.raw, PROXY_RAW_ALLOWED);
    assert_int_equal(config.sandbox, PROXY_SANDBOX_ON);
    assert_int_equal(config.log.level, LOG_INFO);
    assert_int_equal(config.log.format, LOG_TEXT);
    proxy_config_settings(&config, &settings);
    assert_memory_equal(&settings, &proxy_settings_default, sizeof(settings));
    proxy_config_done(&config);
}

static void all_keys(void **state)
{
    struct proxy_settings settings;
    assert_int_equal(
        parse("{" BASE ",\"raw\":\"never\",\"sandbox\":\"off\",\"workers\":2,\"log\":{\"level\":"
              "\"debug\",\"format\":"
              "\"json\"},\"limits\":{\"endpoints\":1,\"sessions\":2,\"sessions_per_agent\":3,"
              "\"handshakes\":4,\"idle_seconds\":5,\"stall_seconds\":0,\"legs_agent\":6,"
              "\"rate_session\":7,\"rate_agent\":8,\"rate_proxy\":9,\"volume_agent_day\":10,"
              "\"schedule\":[\"mon 00:00-12:00 rate_proxy=1\",\"daily 00:00-12:00 "
              "rate_agent=0\"]}}"),
        0);
    proxy_config_settings(&config, &settings);
    const struct proxy_limits limits = settings.limits;
    assert_int_equal(limits.endpoints, 1);
    assert_int_equal(limits.sessions, 2);
    assert_int_equal(limits.sessions_per_agent, 3);
    assert_int_equal(limits.handshakes, 4);
    assert_int_equal(limits.idle, 5 * CLOCK_SEC);
    assert_int_equal(limits.stall, 0);
    assert_int_equal(limits.legs_per_agent, 6);
    assert_int_equal(limits.volume_agent_day, 10 << 20);
    assert_int_equal(settings.rates.session, 7 << 10);
    assert_int_equal(settings.rates.agent, 8 << 10);
    assert_int_equal(settings.rates.proxy, 9 << 10);
    assert_int_equal(settings.schedule.count, 2);
    assert_int_equal(config.workers, 2);
    assert_int_equal(config.sandbox, PROXY_SANDBOX_OFF);
    assert_int_equal(config.raw, PROXY_RAW_NEVER);
    assert_int_equal(config.log.level, LOG_DEBUG);
    assert_int_equal(config.log.format, LOG_JSON);
    proxy_config_done(&config);
}

static void bad_files(void **state)
{
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"", "proxy.json"},
        {"[]", "proxy.json"},
        {"{}", "listen"},
        {"{" BASE ",\"wokers\":1}", "workers"},
        {"{" BASE ",\"metrics\":{}}", "metrics"},
        {"{" BASE ",\"workers\":65}", "workers"},
        {"{" BASE ",\"workers\":1.5}", "workers"},
        {"{" BASE ",\"raw\":\"maybe\"}", "raw"},
        {"{" BASE ",\"limits\":{\"session\":1}}", "sessions"},
        {"{" BASE ",\"limits\":{\"sessions\":0}}", "sessions"},
        {"{" BASE ",\"limits\":[]}", "limits"},
        {"{" BASE ",\"limits\":{\"schedule\":\"mon-fry 08:00-18:00 rate_proxy=1\"}}",
         "\"limits.schedule\""},
        {"{" BASE ",\"log\":{\"level\":\"all\"}}", "level"},
        {"{" BASE ",\"listen\":\":1\"}", "listen"}, /* twice */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        message[0] = '\0';
        assert_int_not_equal(parse(bad[i].text), 0);
        if (!strstr(message, bad[i].word) || strchr(message, '\n'))
            fail_msg("%s: %s", bad[i].text, message);
    }
}

/* Well-formed PEM that is no certificate: the key at fault is named, its value is not shown. */
static void bad_pem(void **state)
{
    struct identity *identity;
    struct web *web;
    assert_int_equal(parse(WHOLE), 0);
    assert_int_not_equal(
        proxy_config_open(&config, "proxy.json", &identity, &web, message, sizeof(message)), 0);
    assert_non_null(strstr(message, "\"ca\""));
    assert_null(strstr(message, "AAAA"));
    proxy_config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(all_keys),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(bad_pem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
