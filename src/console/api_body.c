/* api_body.c - what a request brings is checked against its route's fields before a handler looks.
 */
#include <microhttpd.h>
#include <string.h>

#include "base/config.h"
#include "console/api.h"

#define FIELDS_MAX 16

static bool check_range(struct api_call *call, const struct api_field *field, int64_t n,
                        const char *what)
{
    if (n >= field->min && n <= field->max)
        return true;
    api_problem(call, MHD_HTTP_BAD_REQUEST, field->name,
                "\"%s\": %s must be from %lld to %lld, not %lld", field->name, what,
                (long long)field->min, (long long)field->max, (long long)n);
    return false;
}

static bool check_strings(struct api_call *call, const struct api_field *field, json_t *value)
{
    json_t *item;
    size_t i;

    if (!check_range(call, field, (int64_t)json_array_size(value), "the number of items"))
        return false;
    json_array_foreach(value, i, item) if (!json_is_string(item) || json_string_length(item) == 0)
    {
        api_problem(call, MHD_HTTP_BAD_REQUEST, field->name, "\"%s\": item %zu must be a text",
                    field->name, i + 1);
        return false;
    }
    return true;
}

static bool check_value(struct api_call *call, const struct api_field *field, json_t *value)
{
    static const char *const expected[] = {[API_STRING] = "a text",
                                           [API_STRINGS] = "a list of texts",
                                           [API_BOOL] = "true or false",
                                           [API_INT] = "a number"};
    bool fits = field->type == API_STRING    ? json_is_string(value)
                : field->type == API_STRINGS ? json_is_array(value)
                : field->type == API_BOOL    ? json_is_boolean(value)
                                             : json_is_integer(value);

    if (!fits) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, field->name, "\"%s\": expected %s", field->name,
                    expected[field->type]);
        return false;
    }
    switch (field->type) {
    case API_STRING:
        return check_range(call, field, (int64_t)json_string_length(value), "the length");
    case API_STRINGS:
        return check_strings(call, field, value);
    case API_INT:
        return check_range(call, field, json_integer_value(value), "the value");
    default:
        return true;
    }
}

static const struct api_field *field_named(const struct api_field *fields, const char *name)
{
    for (; fields->name; fields++)
        if (!strcmp(fields->name, name))
            return fields;
    return NULL;
}

static void unknown_field(struct api_call *call, const struct api_field *fields, const char *name)
{
    const char *names[FIELDS_MAX + 1] = {NULL};

    for (size_t n = 0; fields[n].name && n < FIELDS_MAX; n++)
        names[n] = fields[n].name;
    const char *near = config_nearest(name, names);
    if (near)
        api_problem(call, MHD_HTTP_BAD_REQUEST, name,
                    "\"%.100s\": unknown field (did you mean \"%s\"?)", name, near);
    else
        api_problem(call, MHD_HTTP_BAD_REQUEST, name, "\"%.100s\": unknown field", name);
}

static bool check_body(struct api_call *call, const struct api_field *fields)
{
    const char *name;
    json_t *value;

    json_object_foreach(call->body, name, value)
    {
        const struct api_field *field = field_named(fields, name);

        if (!strcmp(fields->name ? fields->name : "", "*"))
            return true;
        if (!field) {
            unknown_field(call, fields, name);
            return false;
        }
        if (!check_value(call, field, value))
            return false;
    }
    for (; fields->name; fields++)
        if (fields->required && !json_object_get(call->body, fields->name)) {
            api_problem(call, MHD_HTTP_BAD_REQUEST, fields->name, "\"%s\" is missing: %s",
                        fields->name, fields->help);
            return false;
        }
    return true;
}

static bool has_required(const struct api_field *fields)
{
    for (; fields && fields->name; fields++)
        if (fields->required || !strcmp(fields->name, "*"))
            return true;
    return false;
}

bool api_parse_body(struct api_call *call, const struct api_field *fields)
{
    static const struct api_field none[] = {{0}};
    json_error_t error;

    if (call->request->len == 0 && !has_required(fields)) {
        call->body = fields ? json_object() : NULL;
        return true;
    }
    call->body =
        json_loadb(call->request->body, call->request->len, JSON_REJECT_DUPLICATES, &error);
    if (!call->body) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, NULL,
                    "the body is not valid JSON: line %d column %d: %s", error.line, error.column,
                    error.text);
        return false;
    }
    if (!json_is_object(call->body)) {
        api_problem(call, MHD_HTTP_BAD_REQUEST, NULL, "the body must be a JSON object");
        return false;
    }
    return check_body(call, fields ? fields : none);
}
