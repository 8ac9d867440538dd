/* fuzz_config.c - configuration files against a table with every type and flag. */
#include "base/config.h"
#include "base/error.h"
#include "one_line.h"

struct inner {
    int64_t number;
    char *text;
};

struct outer {
    char *text, *secret, *address, *base64, *pem;
    bool flag;
    int64_t number;
    int word;
    struct config_strings list, addresses;
    uint64_t rate;
    struct inner group;
};

static const char *const words[] = {"never", "allowed", "required", NULL};

static const struct config_key inner_keys[] = {
    {"number", CONFIG_INT, offsetof(struct inner, number), 0, -5, 5, NULL, NULL, "number"},
    {"text", CONFIG_STRING, offsetof(struct inner, text), CONFIG_REQUIRED, 0, 0, NULL, NULL,
     "text"},
    {NULL},
};

#define KEY(name, type, field, flags)                                                              \
    {                                                                                              \
        name, type, offsetof(struct outer, field), flags, 0, 0, words, inner_keys, name            \
    }

static const struct config_key keys[] = {
    KEY("text", CONFIG_STRING, text, CONFIG_REQUIRED),
    KEY("secret", CONFIG_STRING, secret, CONFIG_SECRET),
    KEY("address", CONFIG_STRING, address, CONFIG_ADDRESS),
    KEY("base64", CONFIG_STRING, base64, CONFIG_BASE64 | CONFIG_SECRET),
    KEY("pem", CONFIG_STRING, pem, CONFIG_PEM),
    KEY("flag", CONFIG_BOOL, flag, 0),
    KEY("number", CONFIG_INT, number, 0),
    KEY("word", CONFIG_ENUM, word, 0),
    KEY("list", CONFIG_STRINGS, list, 0),
    KEY("addresses", CONFIG_STRINGS, addresses, CONFIG_ADDRESS),
    KEY("rate", CONFIG_RATE, rate, 0),
    KEY("group", CONFIG_GROUP, group, 0),
    {NULL},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outer outer = {0};
    char message[300];
    int r =
        config_parse("f.json", (const char *)data, size, keys, &outer, message, sizeof(message));

    if (r)
        must_be_one_line(message, sizeof(message), "f.json");
    else
        must(outer.text && outer.text[0] && outer.word >= 0 && outer.word < 3);
    must(r == 0 || r == -FL_ECONFIG || r == -ENOMEM);
    config_done(keys, &outer);
    must(!outer.text && !outer.list.item && !outer.group.text);
    return 0;
}
