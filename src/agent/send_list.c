/* The list of the folder, made in the thread pool one buffer at a time; or, for a tunnel without a
 * list of its own, only the folder opened. */
#include <errno.h>
#include <stdlib.h>

#include "agent/send_core.h"

static void open_run(uv_work_t *work)
{
    struct send *send = work->data;

    send->open_err = scan_root_open(send->path, &send->root);
}

static void open_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    if (send_job_ended(send))
        return;
    if (send->open_err < 0) {
        send_fail(send, send->open_err);
        return;
    }
    send_move(send, SEND_SERVING);
    send_pump(send);
}

int send_open(struct send *send)
{
    return send_job(send, &send->open_work, send, open_run, open_after);
}

static void scan_run(uv_work_t *work)
{
    struct send *send = work->data;
    int rc;

    if (!send->list.scan) {
        rc = scan_root_open(send->path, &send->root);
        send->list.scan =
            rc == 0 ? scan_new(&send->root, send->only, send->only_len, send->entries) : NULL;
        if (!send->list.scan) {
            send->list.len = scan_failure(rc < 0 ? rc : -ENOMEM, send->list.out);
            send->list.end = true;
            return;
        }
    }
    send->list.len = scan_step(send->list.scan, send->list.out, &send->list.end);
    send->list.count = send->entries->count;
}

static void scan_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    send->list.running = false;
    if (send_job_ended(send))
        return;
    send->list.sent = 0;
    /* The frames that name them are not sent yet, but wants cannot overtake those. */
    send->listed = send->list.count;
    send->stats.entries = send->listed;
    send_pump(send);
}

void send_list_more(struct send *send)
{
    if (send->state != SEND_LISTING || send->list.running || send->list.sent < send->list.len)
        return;
    if (send->list.end) {
        send_move(send, SEND_SERVING);
        scan_free(send->list.scan);
        send->list.scan = NULL;
        return;
    }
    if (send_job(send, &send->list.work, send, scan_run, scan_after) < 0)
        send_fail(send, -ENOMEM);
    else
        send->list.running = true;
}

bool send_list_put(struct send *send)
{
    if (send->list.running || send->state != SEND_LISTING)
        return true;
    return send_put_frames(send, send->list.out, send->list.len, &send->list.sent);
}

int send_list_init(struct send *send)
{
    send->list.out = malloc(SCAN_OUT);
    return send->list.out ? 0 : -ENOMEM;
}

void send_list_done(struct send *send)
{
    scan_free(send->list.scan);
    free(send->list.out);
}
