/* config_live.c - the keys that may change while a program runs: copied, and written as a patch. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/config.h"

/* ---- copying, one function a type ---- */

static int copy_string(const struct config_key *key, const void *src, void *dst)
{
    const char *text = *(char *const *)src;
    char *copy = text ? strdup(text) : NULL;

    *(char **)dst = copy;
    return text && !copy ? -ENOMEM : 0;
}

static int copy_strings(const struct config_key *key, const void *src, void *dst)
{
    const struct config_strings *from = src;
    struct config_strings *to = dst;

    to->count = 0;
    to->item = calloc(from->count ? from->count : 1, sizeof(*to->item));
    if (!to->item)
        return -ENOMEM;
    for (; to->count < from->count; to->count++) {
        to->item[to->count] = strdup(from->item[to->count]);
        if (!to->item[to->count])
            return -ENOMEM;
    }
    return 0;
}

#define COPY_PLAIN(name, type)                                                                     \
    static int copy_##name(const struct config_key *key, const void *src, void *dst)               \
    {                                                                                              \
        *(type *)dst = *(const type *)src;                                                         \
        return 0;                                                                                  \
    }

COPY_PLAIN(bool, bool)
COPY_PLAIN(int, int64_t)
COPY_PLAIN(enum, int)
COPY_PLAIN(rate, uint64_t)

static int copy_group(const struct config_key *key, const void *src, void *dst)
{
    return config_copy_live(key->keys, src, dst);
}

/* ---- showing, one function a type ---- */

static json_t *show_object(const struct config_key *keys, const void *src);

static json_t *show_string(const struct config_key *key, const void *src)
{
    const char *text = *(char *const *)src;

    return text ? json_string(text) : json_null();
}

static json_t *show_strings(const struct config_key *key, const void *src)
{
    const struct config_strings *strings = src;
    json_t *array = json_array();

    for (size_t i = 0; i < strings->count; i++)
        (void)json_array_append_new(array, json_string(strings->item[i]));
    return array;
}

static json_t *show_bool(const struct config_key *key, const void *src)
{
    return json_boolean(*(const bool *)src);
}

static json_t *show_int(const struct config_key *key, const void *src)
{
    return json_integer(*(const int64_t *)src);
}

static json_t *show_enum(const struct config_key *key, const void *src)
{
    return json_string(key->choices[*(const int *)src]);
}

static json_t *show_rate(const struct config_key *key, const void *src)
{
    return json_integer((json_int_t)(*(const uint64_t *)src / 1024));
}

static json_t *show_group(const struct config_key *key, const void *src)
{
    return show_object(key->keys, src);
}

/* Indexed by enum config_type. */
static const struct {
    int (*copy)(const struct config_key *key, const void *src, void *dst);
    json_t *(*show)(const struct config_key *key, const void *src);
} types[] = {
    [CONFIG_STRING] = {copy_string, show_string},
    [CONFIG_BOOL] = {copy_bool, show_bool},
    [CONFIG_INT] = {copy_int, show_int},
    [CONFIG_ENUM] = {copy_enum, show_enum},
    [CONFIG_STRINGS] = {copy_strings, show_strings},
    [CONFIG_RATE] = {copy_rate, show_rate},
    [CONFIG_GROUP] = {copy_group, show_group},
};

int config_copy_live(const struct config_key *keys, const void *src, void *dst)
{
    for (; keys->name; keys++) {
        int r = 0;

        if (keys->flags & CONFIG_LIVE)
            r = types[keys->type].copy(keys, (const char *)src + keys->offset,
                                       (char *)dst + keys->offset);
        if (r)
            return r;
    }
    return 0;
}

static json_t *show_object(const struct config_key *keys, const void *src)
{
    json_t *object = json_object();

    for (; keys->name; keys++) {
        if (keys->flags & CONFIG_LIVE)
            (void)json_object_set_new(
                object, keys->name, types[keys->type].show(keys, (const char *)src + keys->offset));
    }
    return object;
}

char *config_live_json(const struct config_key *keys, const void *src)
{
    json_t *object = show_object(keys, src);
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    return text;
}
