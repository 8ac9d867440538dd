#include "console/flow_errors.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/error.h"
#include "base/log.h"

struct flow_error {
    struct flow_error *next;
    struct fl_id run;
    struct store_flow_error row; /* points into what follows */
    char code[64];
    char text[STORE_TEXT_MAX];
    uint8_t name[];
};

int flow_errors_add(struct flow_errors *errors, const struct fl_id *run, const struct fl_id *flow,
                    const fl_FlowError *message)
{
    if (errors->count >= FLOW_ERRORS_MAX)
        return -FL_EFULL;
    struct flow_error *e = calloc(1, sizeof(*e) + message->name.size);
    if (!e)
        return -ENOMEM;
    e->run = *run;
    memcpy(e->name, message->name.bytes, message->name.size);
    e->row = (struct store_flow_error){
        .flow = *flow,
        .number = message->number,
        .source = message->source,
        .name = e->name,
        .name_len = message->name.size,
        .code = log_escape(e->code, sizeof(e->code), message->code, strlen(message->code)),
        .text = log_escape(e->text, sizeof(e->text), message->text, strlen(message->text)),
    };
    LL_PREPEND(errors->newest, e);
    errors->count++;
    return 0;
}

static struct flow_error *reversed(struct flow_error *list)
{
    struct flow_error *e, *tmp, *result = NULL;

    LL_FOREACH_SAFE (list, e, tmp)
        LL_PREPEND(result, e);
    return result;
}

int flow_errors_write(struct flow_errors *errors, struct store *store)
{
    struct flow_error *oldest = reversed(errors->newest), *e;
    int rc = 0;

    LL_FOREACH (oldest, e) {
        rc = store_flow_error_add(store, &e->run, &e->row);
        if (rc)
            break;
    }
    errors->newest = reversed(oldest);
    return rc;
}

void flow_errors_forget(struct flow_errors *errors)
{
    struct flow_error *e, *tmp;

    LL_FOREACH_SAFE (errors->newest, e, tmp)
        free(e);
    errors->newest = NULL;
    errors->count = 0;
}
