/* fuzz_reconfig.c - the patch of a CONFIG, as the console sends it: taken or refused as a whole,
 * and never more than it may be. */
#include <string.h>

#include "base/clock.h"
#include "fuzz.h"
#include "proxy/reconfig.h"

#define WALL 1700000000

static void check_line(const char *text, size_t cap)
{
    size_t len = strnlen(text, cap);

    must(len > 0 && len < cap);
    for (size_t i = 0; i < len; i++)
        must((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

static unsigned applied;

static void on_apply(void *ctx, const struct proxy_config *live, uint64_t version, uint64_t now)
{
    struct proxy_settings settings;
    struct drain_order order;

    must(!live->identity && !live->ca && !live->tls_certificate && live->listen.count == 0);
    proxy_config_settings(live, &settings);
    proxy_config_drain(live, &order);
    applied++;
}

static struct reconfig *make(const uint8_t boot[static 16])
{
    struct proxy_config file;
    struct reconfig *reconfig;
    char message[300];

    (void)proxy_config_parse("f", "{}", 2, &file, message, sizeof(message));
    must(reconfig_new(&file, boot, on_apply, NULL, &reconfig) == 0);
    proxy_config_done(&file);
    return reconfig;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t boot[16] = "boot";
    struct reconfig *reconfig = make(boot);
    fl_Config config = {.version = 1, .not_before = WALL, .not_after = WALL};
    fl_ConfigResult result;

    applied = 0;
    memcpy(config.boot, boot, sizeof(boot));
    if (size >= sizeof(config.patch) || memchr(data, '\0', size))
        size = 0; /* neither gets through message_decode() */
    if (size)
        memcpy(config.patch, data, size);
    reconfig_take(reconfig, &config, CLOCK_SEC, WALL, &result);
    if (result.state == fl_ConfigState_CONFIG_REFUSED) {
        must(applied == 0);
        check_line(result.error, sizeof(result.error));
    } else {
        must(applied == 1 && result.state == fl_ConfigState_CONFIG_WAITING);
        reconfig_tick(reconfig, CLOCK_SEC + RECONFIG_CONFIRM_MAX * CLOCK_SEC);
        reconfig_result(reconfig, &result);
        must(applied == 2 && result.state == fl_ConfigState_CONFIG_ROLLED_BACK);
    }
    reconfig_free(reconfig);
    return 0;
}
