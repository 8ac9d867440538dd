/* test_reconfig.c - settings changed by the console: applied at once, confirmed over a newer leg or
 * taken back. First by itself, then over legs of a whole proxy; all under a virtual clock. */
#include "proxy_rig.h"

#include "base/log.h"
#include "proxy/reconfig.h"

#define WALL 1700000000

static const uint8_t boot[16] = "this very start";

/* What was applied last. */
static struct {
    unsigned times;
    uint64_t version;
    int64_t idle, stall;
    int raw;
} held;

static struct reconfig *reconfig;
static fl_ConfigResult result;
static uint64_t now;

static void hold(void *ctx, const struct proxy_config *live, uint64_t version, uint64_t at)
{
    held.times++;
    held.version = version;
    held.idle = live->limits.idle_seconds;
    held.stall = live->limits.stall_seconds;
    held.raw = live->raw;
}

static int start(void **state)
{
    static const char file[] =
        "{\"listen\": \":1\", \"identity\": \"-----BEGIN x\", \"ca\": \"-----BEGIN x\","
        " \"tls_certificate\": \"-----BEGIN x\", \"raw\": \"never\", \"limits\": "
        "{\"idle_seconds\": 7}}";
    struct proxy_config config;
    char message[256];

    memset(&held, 0, sizeof(held));
    now = 1000 * CLOCK_SEC;
    assert_int_equal(proxy_config_parse("f", file, strlen(file), &config, message, sizeof(message)),
                     0);
    assert_int_equal(reconfig_new(&config, boot, hold, NULL, &reconfig), 0);
    proxy_config_done(&config);
    return 0;
}

static int stop(void **state)
{
    reconfig_free(reconfig);
    return 0;
}

static fl_Config order(uint64_t version, const char *patch)
{
    fl_Config config = {
        .version = version, .not_before = WALL - 60, .not_after = WALL + 60, .confirm_within = 60};

    memcpy(config.boot, boot, sizeof(config.boot));
    (void)snprintf(config.patch, sizeof(config.patch), "%s", patch);
    return config;
}

static void take(uint64_t version, const char *patch)
{
    fl_Config config = order(version, patch);

    reconfig_take(reconfig, &config, now, WALL, &result);
}

static void confirm(uint64_t version, uint64_t accepted)
{
    fl_ConfigConfirm message = {.version = version};

    reconfig_confirm(reconfig, &message, accepted, now, &result);
}

static void pass(uint64_t us)
{
    now += us;
    reconfig_tick(reconfig, now);
    reconfig_result(reconfig, &result);
}

static void assert_stands(uint64_t version, fl_ConfigState state, uint64_t in_effect)
{
    assert_int_equal(result.version, version);
    assert_int_equal(result.state, state);
    assert_int_equal(result.in_effect, in_effect);
}

static void assert_error(const char *part)
{
    if (!strstr(result.error, part))
        fail_msg("\"%s\" is not in \"%s\"", part, result.error);
}

/* ---- by itself ---- */

static void applied_and_confirmed(void **state)
{
    uint64_t changes = reconfig_changes(reconfig);

    take(1, "{\"limits\": {\"stall_seconds\": 9}}");
    assert_stands(1, fl_ConfigState_CONFIG_WAITING, 0);
    assert_string_equal(result.error, "");
    assert_int_equal(held.stall, 9);
    assert_int_equal(held.idle, 7); /* the file's own */
    assert_int_equal(held.version, 1);
    assert_non_null(strstr(result.settings, "\"stall_seconds\":9"));
    assert_null(strstr(result.settings, "identity"));
    assert_true(reconfig_changes(reconfig) != changes);
    now += 59 * CLOCK_SEC;
    confirm(1, now - CLOCK_SEC);
    assert_stands(1, fl_ConfigState_CONFIG_APPLIED, 1);
    pass(3600 * CLOCK_SEC);
    assert_stands(1, fl_ConfigState_CONFIG_APPLIED, 1);
    assert_int_equal(held.times, 1);
}

static void each_patch_starts_from_the_file(void **state)
{
    take(1, "{\"limits\": {\"stall_seconds\": 9}, \"raw\": \"required\"}");
    confirm(1, now + 1);
    take(2, "{\"limits\": {\"idle_seconds\": 3}}");
    confirm(2, now + 1);
    assert_int_equal(held.idle, 3);
    assert_int_equal(held.stall, 120); /* the default again */
    assert_int_equal(held.raw, PROXY_RAW_NEVER);
    assert_stands(2, fl_ConfigState_CONFIG_APPLIED, 2);
}

static void not_confirmed_in_time(void **state)
{
    take(1, "{\"limits\": {\"idle_seconds\": 1}}");
    confirm(1, now + 1);
    take(2, "{\"limits\": {\"idle_seconds\": 2}}");
    assert_int_equal(held.idle, 2);
    pass(60 * CLOCK_SEC - 1);
    assert_stands(2, fl_ConfigState_CONFIG_WAITING, 1);
    pass(1);
    assert_stands(2, fl_ConfigState_CONFIG_ROLLED_BACK, 1);
    assert_error("within 60 s");
    assert_int_equal(held.idle, 1);
    assert_int_equal(held.version, 1);
    confirm(2, now + 1); /* too late */
    assert_stands(2, fl_ConfigState_CONFIG_ROLLED_BACK, 1);
    assert_error("does not wait");
    assert_int_equal(held.idle, 1);
}

static void a_shorter_time_is_the_consoles_choice(void **state)
{
    fl_Config config = order(1, "{\"raw\": \"allowed\"}");

    config.confirm_within = 1; /* at least 5 */
    reconfig_take(reconfig, &config, now, WALL, &result);
    pass(5 * CLOCK_SEC - 1);
    assert_int_equal(result.state, fl_ConfigState_CONFIG_WAITING);
    pass(1);
    assert_stands(1, fl_ConfigState_CONFIG_ROLLED_BACK, 0);
    config.version = 2;
    config.confirm_within = 4000000; /* at most 60 */
    reconfig_take(reconfig, &config, now, WALL, &result);
    pass(60 * CLOCK_SEC);
    assert_stands(2, fl_ConfigState_CONFIG_ROLLED_BACK, 0);
    assert_int_equal(held.raw, PROXY_RAW_NEVER);
}

static void an_older_leg_does_not_confirm(void **state)
{
    take(1, "{\"raw\": \"allowed\"}");
    confirm(1, now); /* of the very same moment: no proof */
    assert_stands(1, fl_ConfigState_CONFIG_WAITING, 0);
    assert_error("newer");
    confirm(1, now - CLOCK_SEC);
    assert_stands(1, fl_ConfigState_CONFIG_WAITING, 0);
    confirm(7, now + 1);
    assert_error("does not wait");
    pass(60 * CLOCK_SEC);
    assert_stands(1, fl_ConfigState_CONFIG_ROLLED_BACK, 0);
}

static void the_next_one_while_one_waits(void **state)
{
    take(1, "{\"limits\": {\"idle_seconds\": 1}}");
    pass(50 * CLOCK_SEC);
    take(2, "{\"limits\": {\"idle_seconds\": 2}}");
    assert_stands(2, fl_ConfigState_CONFIG_WAITING, 0);
    confirm(1, now + 1);
    assert_error("does not wait");
    pass(30 * CLOCK_SEC); /* a time of its own */
    assert_int_equal(held.idle, 2);
    take(3, "{\"limits\": {\"idle_secs\": 2}}"); /* refused, and the other waits on */
    assert_stands(3, fl_ConfigState_CONFIG_REFUSED, 0);
    reconfig_result(reconfig, &result);
    assert_stands(2, fl_ConfigState_CONFIG_WAITING, 0);
    pass(30 * CLOCK_SEC);
    assert_stands(2, fl_ConfigState_CONFIG_ROLLED_BACK, 0);
    assert_int_equal(held.idle, 7); /* not to what was never confirmed */
    assert_int_equal(held.version, 0);
}

static void versions_rise(void **state)
{
    take(5, "{\"limits\": {\"idle_seconds\": 5}}");
    confirm(5, now + 1);
    take(5, "{\"limits\": {\"idle_seconds\": 6}}");
    assert_stands(5, fl_ConfigState_CONFIG_REFUSED, 5);
    assert_error("version 5 is not above 5");
    take(4, "{}");
    assert_stands(4, fl_ConfigState_CONFIG_REFUSED, 5);
    reconfig_result(reconfig, &result); /* a replay leaves no trace */
    assert_stands(5, fl_ConfigState_CONFIG_APPLIED, 5);
    assert_int_equal(held.idle, 5);
    take(6, "{\"limits\": {\"idle_seconds\": 6}}");
    pass(60 * CLOCK_SEC);
    take(6, "{\"limits\": {\"idle_seconds\": 6}}"); /* one that was rolled back neither */
    assert_error("version 6 is not above 6");
    assert_int_equal(held.idle, 5);
}

static void another_start_another_time(void **state)
{
    fl_Config config = order(1, "{\"raw\": \"allowed\"}");

    config.boot[0] ^= 1;
    reconfig_take(reconfig, &config, now, WALL, &result);
    assert_stands(1, fl_ConfigState_CONFIG_REFUSED, 0);
    assert_error("another start");
    config.boot[0] ^= 1;
    reconfig_take(reconfig, &config, now, WALL + 61, &result);
    assert_error("clocks");
    reconfig_take(reconfig, &config, now, WALL - 61, &result);
    assert_error("clocks");
    assert_int_equal(held.times, 0);
    reconfig_take(reconfig, &config, now, WALL + 60, &result);
    assert_stands(1, fl_ConfigState_CONFIG_WAITING, 0); /* nothing of that used up the version */
}

static void refused(uint64_t version, const char *patch, const char *part)
{
    take(version, patch);
    assert_stands(version, fl_ConfigState_CONFIG_REFUSED, 0);
    assert_error(part);
}

static void what_may_not_be_changed(void **state)
{
    refused(1, "{\"listen\": \":2\"}", "\"listen\": cannot be changed");
    refused(2, "{\"identity\": \"/etc/shadow\"}", "\"identity\": cannot be changed");
    refused(3, "{\"ca\": \"x\"}", "\"ca\": cannot be changed");
    refused(4, "{\"sandbox\": \"off\"}", "\"sandbox\": cannot be changed");
    refused(5, "{\"workers\": 1}", "\"workers\": cannot be changed");
    refused(6, "{\"log\": {\"format\": \"json\"}}", "\"log.format\": cannot be changed");
    refused(7, "{\"limits\": {\"idle_second\": 1}}", "did you mean \"idle_seconds\"?");
    refused(8, "{\"limits\": {\"idle_seconds\": -1}}", "\"limits.idle_seconds\": expected");
    refused(9, "{\"limits\": {\"stall_seconds\": 5, \"idle_seconds\": \"x\"}}", "idle_seconds");
    refused(10, "", "not valid JSON");
    refused(11, "[1]", "expected an object");
    refused(12, "{\"a\n\x1b[2J\": 1}", "not valid JSON");
    refused(13, "{\"a\\u001b\": 1}", "unknown key");
    assert_null(strchr(result.error, '\x1b'));
    refused(14, "{\"drain\": {\"alternates\": [\"nohost\"]}}", "drain.alternates");
    assert_int_equal(held.times, 0); /* all or nothing */
    reconfig_result(reconfig, &result);
    assert_stands(14, fl_ConfigState_CONFIG_REFUSED, 0);
}

static void a_long_address_is_refused(void **state)
{
    char patch[400];

    (void)snprintf(patch, sizeof(patch), "{\"drain\": {\"alternates\": [\"%0*d:80\"]}}", 200, 0);
    refused(1, patch, "at most 127 bytes");
}

/* ---- over legs ---- */

static struct rig rig;
static struct identity *alice, *console;
static struct end a, b, c; /* far ends; big, so not on the stack */

static int setup(void **state)
{
    struct proxy_config config;
    char message[256];
    static const char file[] =
        "{\"listen\": \":1\", \"identity\": \"-----BEGIN x\", \"ca\": \"-----BEGIN x\","
        " \"tls_certificate\": \"-----BEGIN x\"}";

    rig_init(&rig, NULL);
    assert_int_equal(proxy_config_parse("f", file, strlen(file), &config, message, sizeof(message)),
                     0);
    assert_int_equal(
        reconfig_new(&config, rig.proxy.boot, proxy_config_apply, &rig.proxy, &rig.proxy.reconfig),
        0);
    proxy_config_done(&config);
    alice = certs_identity(&rig.certs, PARTY_AGENT, 3600);
    console = certs_identity(&rig.certs, PARTY_CONSOLE, 3600);
    a = b = c = (struct end){0};
    return 0;
}

static int teardown(void **state)
{
    struct end *all[] = {&a, &b, &c};

    for (unsigned i = 0; i < 3; i++) {
        if (all[i]->leg)
            leg_close(all[i]->leg, LEG_RESET);
    }
    rig_done(&rig);
    identity_unref(alice);
    identity_unref(console);
    return 0;
}

/* The next CONFIG_RESULT; reports are passed over. */
static void expect_result(struct end *end, uint64_t version, fl_ConfigState state)
{
    do
        assert_int_equal(leg_recv(end->leg, end->buffer, &end->frame), 0);
    while (end->frame.type == FRAME_REPORT || end->frame.type == FRAME_PING);
    assert_string_equal(frame_name(end->frame.type), "CONFIG_RESULT");
    assert_int_equal(message_decode(fl_ConfigResult_fields, &end->frame, &result), 0);
    assert_int_equal(result.version, version);
    assert_int_equal(result.state, state);
    rig_run(end->rig, 3 * RIG_DELAY);
}

static void console_registers(struct end *end, unsigned worker, uint64_t version,
                              fl_ConfigState state)
{
    end_register(end, &rig, worker, console);
    expect_result(end, version, state);
}

static void send_config(struct end *end, uint64_t version, const char *patch)
{
    fl_Config config = {.version = version,
                        .not_before = clock_wall() - 60,
                        .not_after = clock_wall() + 60,
                        .confirm_within = 10};

    memcpy(config.boot, rig.proxy.boot, sizeof(config.boot));
    (void)snprintf(config.patch, sizeof(config.patch), "%s", patch);
    end_send(end, FRAME_CONFIG, fl_Config_fields, &config);
}

static void send_confirm(struct end *end, uint64_t version)
{
    fl_ConfigConfirm message = {.version = version};

    end_send(end, FRAME_CONFIG_CONFIRM, fl_ConfigConfirm_fields, &message);
}

static struct proxy_settings settings_now(void)
{
    struct proxy_settings settings;

    proxy_settings_get(&rig.proxy, &settings);
    return settings;
}

static void confirmed_over_a_new_leg(void **state)
{
    console_registers(&a, 0, 0, fl_ConfigState_CONFIG_NONE);
    send_config(&a, 1, "{\"limits\": {\"sessions\": 3}, \"raw\": \"never\"}");
    expect_result(&a, 1, fl_ConfigState_CONFIG_WAITING);
    assert_int_equal(settings_now().limits.sessions, 3);
    assert_int_equal(settings_now().version, 1);
    send_confirm(&a, 1); /* the same leg */
    expect_result(&a, 1, fl_ConfigState_CONFIG_WAITING);
    assert_error("newer");
    console_registers(&b, 1, 1, fl_ConfigState_CONFIG_WAITING);
    send_confirm(&b, 1);
    expect_result(&b, 1, fl_ConfigState_CONFIG_APPLIED);
    rig_run(&rig, 30 * CLOCK_SEC);
    assert_int_equal(settings_now().limits.sessions, 3);
}

/* A leg that was there before the change, and registers after it, proves nothing. */
static void an_older_connection_does_not_confirm(void **state)
{
    const fl_Register message = fl_Register_init_zero;

    console_registers(&a, 0, 0, fl_ConfigState_CONFIG_NONE);
    end_prove(&b, &rig, 1, console);
    send_config(&a, 1, "{\"raw\": \"never\"}");
    end_send(&b, FRAME_REGISTER, fl_Register_fields, &message);
    end_expect(&b, FRAME_REGISTERED, NULL, NULL);
    expect_result(&b, 1, fl_ConfigState_CONFIG_WAITING);
    send_confirm(&b, 1);
    expect_result(&b, 1, fl_ConfigState_CONFIG_WAITING);
    assert_error("newer");
}

static void rolled_back_and_told(void **state)
{
    console_registers(&a, 0, 0, fl_ConfigState_CONFIG_NONE);
    send_config(&a, 1, "{\"limits\": {\"sessions\": 3}}");
    expect_result(&a, 1, fl_ConfigState_CONFIG_WAITING);
    rig_run(&rig, 11 * CLOCK_SEC);
    expect_result(&a, 1, fl_ConfigState_CONFIG_ROLLED_BACK);
    assert_error("within 10 s");
    assert_int_equal(settings_now().limits.sessions, proxy_settings_default.limits.sessions);
    fl_Report report;
    rig_run(&rig, 6 * CLOCK_SEC);
    end_expect(&a, FRAME_REPORT, fl_Report_fields, &report);
    assert_int_equal(report.config_version, 1);
    assert_int_equal(report.config_state, fl_ConfigState_CONFIG_ROLLED_BACK);
    console_registers(&b, 1, 1, fl_ConfigState_CONFIG_ROLLED_BACK);
}

static void agents_may_not(void **state)
{
    end_register(&a, &rig, 0, alice);
    send_config(&a, 1, "{\"raw\": \"never\"}");
    end_expect_status(&a, CLOSE_ROLE);
    end_register(&b, &rig, 0, alice);
    send_confirm(&b, 1);
    end_expect_status(&b, CLOSE_ROLE);
    assert_int_equal(settings_now().raw, PROXY_RAW_ALLOWED);
}

static void too_big_a_patch(void **state)
{
    static uint8_t body[4200]; /* field 6 with 4150 bytes */
    size_t len = 4150;

    console_registers(&a, 0, 0, fl_ConfigState_CONFIG_NONE);
    memset(body, ' ', sizeof(body));
    body[0] = 6 << 3 | 2;
    body[1] = (uint8_t)(0x80 | (len & 0x7f));
    body[2] = (uint8_t)(len >> 7);
    assert_int_equal(leg_send(a.leg, FRAME_CONFIG, FRAME_CRITICAL, body, len + 3), 0);
    rig_run(&rig, 5 * RIG_DELAY);
    end_expect_status(&a, CLOSE_FRAME);
}

#define OVER_LEGS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ALONE(test)     cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(applied_and_confirmed),
        ALONE(each_patch_starts_from_the_file),
        ALONE(not_confirmed_in_time),
        ALONE(a_shorter_time_is_the_consoles_choice),
        ALONE(an_older_leg_does_not_confirm),
        ALONE(the_next_one_while_one_waits),
        ALONE(versions_rise),
        ALONE(another_start_another_time),
        ALONE(what_may_not_be_changed),
        ALONE(a_long_address_is_refused),
        OVER_LEGS(confirmed_over_a_new_leg),
        OVER_LEGS(an_older_connection_does_not_confirm),
        OVER_LEGS(rolled_back_and_told),
        OVER_LEGS(agents_may_not),
        OVER_LEGS(too_big_a_patch),
    };
    log_setup("test", LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
