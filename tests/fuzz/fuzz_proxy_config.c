/* fuzz_proxy_config.c - proxy.json, down to the keys and certificates in it. */
#include "identity/identity.h"
#include "one_line.h"
#include "proxy/proxy_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_config config;
    struct proxy_settings settings;
    struct identity *identity;
    struct web *web;
    char message[300];

    if (proxy_config_parse("proxy.json", (const char *)data, size, &config, message,
                           sizeof(message))) {
        must_be_one_line(message, sizeof(message), "proxy.json");
    } else {
        proxy_config_settings(&config, &settings);
        if (proxy_config_open(&config, "proxy.json", &identity, &web, message, sizeof(message))) {
            must_be_one_line(message, sizeof(message), "proxy.json");
        } else {
            web_unref(web);
            identity_unref(identity);
        }
    }
    proxy_config_done(&config);
    return 0;
}
