#include "console/folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

struct folder_ask {
    struct folder_ask *next;
    struct fl_id agent;
    uint64_t request;
    uint64_t deadline;
    folder_answer *fn;
    void *ctx;
};

struct folders {
    struct folder_ask *asks;
    uint64_t last; /* request number */
};

int folders_new(struct folders **ret_folders)
{
    *ret_folders = calloc(1, sizeof(**ret_folders));
    return *ret_folders ? 0 : -ENOMEM;
}

static void conclude(struct folders *folders, struct folder_ask *ask, const fl_FolderAnswer *answer,
                     const char *why)
{
    LL_DELETE(folders->asks, ask);
    ask->fn(ask->ctx, answer, why);
    free(ask);
}

void folders_free(struct folders *folders)
{
    if (!folders)
        return;
    while (folders->asks)
        conclude(folders, folders->asks, NULL, "the console stops");
    free(folders);
}

static bool has_room(const struct folders *folders, const struct fl_id *agent)
{
    const struct folder_ask *ask;
    size_t all = 0, own = 0;

    LL_FOREACH (folders->asks, ask) {
        all++;
        own += id_equal(&ask->agent, agent);
    }
    return all < FOLDERS_MAX && own < FOLDERS_EACH;
}

static int send_ask(struct control *control, uint64_t request, const char *path, const char *after)
{
    _cleanup_free_ fl_FolderAsk *message = calloc(1, sizeof(*message));
    size_t len = strlen(path), after_len = strlen(after);

    if (!message)
        return -ENOMEM;
    if (len > sizeof(message->path.bytes) || after_len > sizeof(message->after.bytes))
        return -ENAMETOOLONG;
    message->request = request;
    message->path.size = (pb_size_t)len;
    memcpy(message->path.bytes, path, len);
    message->after.size = (pb_size_t)after_len;
    memcpy(message->after.bytes, after, after_len);
    return control_send(control, FRAME_FOLDER_ASK, fl_FolderAsk_fields, message);
}

int folders_ask(struct folders *folders, struct control *control, const char *path,
                const char *after, uint64_t now, folder_answer *fn, void *ctx,
                struct folder_ask **ret_ask)
{
    const struct fl_id *agent = &control_peer(control)->id;

    if (!has_room(folders, agent))
        return -FL_EFULL;
    struct folder_ask *ask = calloc(1, sizeof(*ask));
    if (!ask)
        return -ENOMEM;
    int rc = send_ask(control, folders->last + 1, path, after);
    if (rc) {
        free(ask);
        return rc;
    }
    *ask = (struct folder_ask){.agent = *agent,
                               .request = ++folders->last,
                               .deadline = now + FOLDERS_WAIT_SECONDS * CLOCK_SEC,
                               .fn = fn,
                               .ctx = ctx};
    LL_APPEND(folders->asks, ask);
    *ret_ask = ask;
    return 0;
}

void folder_ask_drop(struct folders *folders, struct folder_ask *ask)
{
    LL_DELETE(folders->asks, ask);
    free(ask);
}

int folders_take(struct folders *folders, const struct fl_id *agent, const struct frame *frame)
{
    _cleanup_free_ fl_FolderAnswer *answer = calloc(1, sizeof(*answer));
    struct folder_ask *ask;

    if (!answer)
        return -ENOMEM;
    int rc = message_decode(fl_FolderAnswer_fields, frame, answer);
    if (rc)
        return rc;
    LL_FOREACH (folders->asks, ask) {
        if (ask->request == answer->request && id_equal(&ask->agent, agent)) {
            conclude(folders, ask, answer, NULL);
            return 0;
        }
    }
    return 0;
}

void folders_lost(struct folders *folders, const struct fl_id *agent)
{
    struct folder_ask *ask, *next;

    LL_FOREACH_SAFE (folders->asks, ask, next)
        if (id_equal(&ask->agent, agent))
            conclude(folders, ask, NULL, "the agent went away");
}

void folders_tick(struct folders *folders, uint64_t now)
{
    struct folder_ask *ask, *next;

    LL_FOREACH_SAFE (folders->asks, ask, next)
        if (now >= ask->deadline)
            conclude(folders, ask, NULL, "the agent does not answer");
}
