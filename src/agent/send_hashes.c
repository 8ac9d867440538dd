/* Hashes of the blocks of files that are asked for, file by file, in the order asked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/send_core.h"
#include "base/error.h"

#define QUEUE_MAX 8192

struct hash_wanted {
    uint32_t index;
    uint8_t version; /* of the entry when it was wanted */
};

static void hash_run(uv_work_t *work)
{
    struct send *send = work->data;

    hash_batch_step(send->hashes.batch);
}

static void hash_after(uv_work_t *work, int status)
{
    struct send *send = work->data;

    send->hashes.running = false;
    if (send_job_ended(send))
        return;
    send->hashes.sent = 0;
    send_pump(send);
}

static void hash_fill(struct send *send)
{
    struct hash_batch *batch = send->hashes.batch;

    batch->count = 0;
    batch->at = 0;
    send->hashes.told = 0;
    while (batch->count < HASH_ITEMS && send->hashes.count > 0) {
        const struct hash_wanted *wanted = &send->hashes.queue[send->hashes.first];
        struct hash_item *item = &batch->item[batch->count];

        memset(item, 0, sizeof(*item));
        send_describe(send, wanted->index, wanted->version, &item->file);
        send->hashes.version[batch->count++] = wanted->version;
        send->hashes.first = (send->hashes.first + 1) % QUEUE_MAX;
        send->hashes.count--;
    }
}

void send_hashes_more(struct send *send)
{
    struct hash_batch *batch = send->hashes.batch;

    if (send->hashes.running ||
        (batch && (send->hashes.sent < batch->out_len || send->hashes.told < batch->at)))
        return;
    if (!batch || batch->at == batch->count) {
        int rc = 0;

        if (send->hashes.count == 0)
            return;
        if (!batch)
            rc = hash_batch_new(&send->root, send->index, &send->stop, &send->hashes.batch);
        if (rc < 0) {
            send_fail(send, rc);
            return;
        }
        hash_fill(send);
    }
    if (send_job(send, &send->hashes.work, send, hash_run, hash_after) < 0)
        send_fail(send, -ENOMEM);
    else
        send->hashes.running = true;
}

bool send_hashes_put(struct send *send)
{
    struct hash_batch *batch = send->hashes.batch;

    if (send->hashes.running || !batch)
        return true;
    if (!send_put_frames(send, batch->out, batch->out_len, &send->hashes.sent))
        return false;
    /* At most the last item of a step failed, so its end comes after all frames. */
    for (; send->hashes.told < batch->at; send->hashes.told++) {
        struct hash_item *item = &batch->item[send->hashes.told];

        if (item->err < 0 &&
            !send_put_failure(send, item->file.index, send->hashes.version[send->hashes.told],
                              item->err, &item->st, true))
            return false;
    }
    return true;
}

int send_hashes_add(struct send *send, uint32_t index, uint8_t version)
{
    if (send->hashes.count == QUEUE_MAX)
        return -FL_EFULL;
    send->hashes.queue[(send->hashes.first + send->hashes.count++) % QUEUE_MAX] =
        (struct hash_wanted){.index = index, .version = version};
    return 0;
}

int send_hashes_init(struct send *send)
{
    send->hashes.queue = calloc(QUEUE_MAX, sizeof(struct hash_wanted));
    return send->hashes.queue ? 0 : -ENOMEM;
}

void send_hashes_done(struct send *send)
{
    hash_batch_free(send->hashes.batch);
    free(send->hashes.queue);
}
