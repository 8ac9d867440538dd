#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "console/api_handlers.h"
#include "console/view.h"

/* Somebody waits for what is in a folder. */
struct look {
    struct folders *folders;
    struct folder_ask *ask;
    struct http_later *later;
    char *path;
};

static void look_free(struct look *look)
{
    free(look->path);
    free(look);
}

static json_t *view_folder(const char *path, const fl_FolderAnswer *answer)
{
    json_t *items = json_array();

    for (pb_size_t i = 0; i < answer->entries_count; i++) {
        const fl_FolderEntry *entry = &answer->entries[i];

        (void)json_array_append_new(items, json_pack("{s:o, s:s, s:I}", "name",
                                                     view_text(entry->name.bytes, entry->name.size),
                                                     "kind", entry->folder ? "folder" : "file",
                                                     "size", (json_int_t)entry->size));
    }
    return json_pack("{s:o, s:o, s:b}", "path", view_text(path, strlen(path)), "items", items,
                     "more", answer->more);
}

static void on_answer(void *ctx, const fl_FolderAnswer *answer, const char *why)
{
    struct look *look = ctx;
    struct http_reply reply = {0};
    struct api_call call = {.reply = &reply};

    if (!answer)
        api_problem(&call, MHD_HTTP_GATEWAY_TIMEOUT, NULL, "%s", why);
    else if (answer->error[0])
        api_problem(&call, MHD_HTTP_CONFLICT, "path", "%s: %s", look->path, answer->error);
    else
        api_answer(&call, MHD_HTTP_OK, view_folder(look->path, answer));
    api_finish(&call);
    http_later_answer(look->later, &reply);
    look_free(look);
}

static void on_gone(void *ctx)
{
    struct look *look = ctx;

    folder_ask_drop(look->folders, look->ask);
    look_free(look);
}

/* ask - the question is under way, with @look; or the answer that it is not is in @call. */
static bool ask(struct api_call *call, struct fleet_agent *agent, struct look *look,
                const char *after)
{
    int rc = folders_ask(look->folders, agent->control, look->path, after, clock_now(), on_answer,
                         look, &look->ask);

    if (rc == -FL_EFULL)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "too many look into folders now");
    else if (rc)
        api_problem(call, MHD_HTTP_BAD_REQUEST, "path", "%s", error_text(rc));
    if (rc)
        return false;
    look->later = http_later_new(call->request, on_gone, look);
    if (look->later)
        return true;
    folder_ask_drop(look->folders, look->ask);
    api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s", error_text(-ENOMEM));
    return false;
}

void api_list_folder(struct api_call *call)
{
    const char *path = http_query(call->request, "path");
    const char *after = http_query(call->request, "after");
    char error[REF_ERROR_MAX];
    struct fleet_agent *agent = fleet_find_agent(call->api->fleet, call->args[0], error);

    if (!agent) {
        api_problem(call, MHD_HTTP_NOT_FOUND, NULL, "%s", error);
        return;
    }
    if (!path || path[0] != '/') {
        api_problem(call, MHD_HTTP_BAD_REQUEST, "path", "path: expected an absolute path");
        return;
    }
    if (!agent->control) {
        api_problem(call, MHD_HTTP_CONFLICT, NULL, "agent %s is not online", agent->row.name);
        return;
    }
    struct look *look = calloc(1, sizeof(*look));
    if (look) {
        look->folders = fleet_folders(call->api->fleet);
        look->path = strdup(path);
    }
    if (look && look->path && ask(call, agent, look, after ? after : ""))
        return;
    if (!look || !look->path)
        api_problem(call, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, "%s", error_text(-ENOMEM));
    if (look)
        look_free(look);
}
