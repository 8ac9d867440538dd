/* api_backup.c - GET /api/v1/backup: the file is made first, then sent. */
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "console/api_audit.h"
#include "console/api_handlers.h"
#include "console/backup.h"
#include "console/event.h"

/* Somebody waits for a backup. */
struct wait {
    struct backup *backup;
    struct http_later *later;
};

/* file_name - with the day, so that several lie beside each other. */
static void file_name(char *buf, size_t cap)
{
    time_t now = (time_t)clock_wall();
    struct tm tm;
    char day[32] = "";

    if (gmtime_r(&now, &tm))
        (void)strftime(day, sizeof(day), "-%Y%m%d-%H%M%S", &tm);
    snprintf(buf, cap, "attachment; filename=\"fairlead-console%s.backup\"", day);
}

static void on_done(void *ctx, int fd, uint64_t len)
{
    struct wait *wait = ctx;
    struct http_reply reply = {0};
    struct api_call call = {.reply = &reply};
    char name[96];

    if (fd < 0) {
        api_problem(&call,
                    fd == -ENOSPC ? MHD_HTTP_INSUFFICIENT_STORAGE : MHD_HTTP_SERVICE_UNAVAILABLE,
                    NULL, "the backup could not be made: %s", error_text(fd));
        api_finish(&call);
    } else {
        file_name(name, sizeof(name));
        http_reply_header(&reply, MHD_HTTP_HEADER_CONTENT_DISPOSITION, name);
        reply.status = MHD_HTTP_OK;
        reply.type = "application/vnd.sqlite3";
        http_reply_file(&reply, fd, len);
    }
    http_later_answer(wait->later, &reply);
    free(wait);
}

static void on_gone(void *ctx)
{
    struct wait *wait = ctx;

    backup_drop(wait->backup);
    free(wait);
}

void api_backup(struct api_call *call)
{
    struct wait *wait = calloc(1, sizeof(*wait));
    struct backup *backup = call->api->backup;
    int rc = wait ? backup_start(backup, on_done, wait) : -ENOMEM;

    if (!rc) {
        wait->backup = backup;
        wait->later = http_later_new(call->request, on_gone, wait);
        if (!wait->later) {
            backup_drop(backup);
            rc = -ENOMEM;
        }
    }
    if (rc) {
        free(wait);
        api_problem(call,
                    rc == -EBUSY    ? MHD_HTTP_CONFLICT
                    : rc == -ENOSPC ? MHD_HTTP_INSUFFICIENT_STORAGE
                                    : MHD_HTTP_SERVICE_UNAVAILABLE,
                    NULL, "%s",
                    rc == -EBUSY ? "a backup is being made already; ask again in a moment"
                                 : error_text(rc));
        return;
    }
    /* Nothing is changed, but who has the file is the console. */
    audit_note(call, "GET a backup of everything");
    event_add(call->api->store, EVENT_INFO, "backup.made", NULL, "%s took a backup",
              call->who.name);
}
