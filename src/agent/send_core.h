/* send_core.h - what the files of send share; nobody else includes it.
 *
 * Three outputs share the tunnel in turns: the list (send_list.c), hashes (send_hashes.c), blocks
 * (send_blocks.c). Each has its own job in the thread pool, and none works farther ahead than its
 * own buffer, so a slow target slows the disk and nothing piles up. send_asked.c is what the target
 * says; send.c the life of it all, and whose turn it is.
 *
 *   WAITING --START--> LISTING --list sent----> SERVING
 *      |\---FILES--> OPENING --folder open------^ |
 *      |                |                         |
 *      +----------------+-------- DONE, closed(), send_close() --> CLOSED (freed when the thread
 * pool has let go)
 *
 * A tunnel that begins with FILES is one of several of its flow: it has no list of its own, the
 * target tells which files its indices mean.
 */
#ifndef FL_AGENT_SEND_CORE_H
#define FL_AGENT_SEND_CORE_H

#include <stdatomic.h>

#include "agent/entries.h"
#include "agent/read.h"
#include "agent/scan.h"
#include "agent/send.h"

enum send_state {
    SEND_WAITING,
    SEND_OPENING,
    SEND_LISTING,
    SEND_SERVING,
    SEND_CLOSED,
    SEND_STATES
};

#define SEND_READERS 3 /* batches being read or sent */
#define SEND_CHANGED 1 /* entry flag: the target was told, and has not asked for hashes since */

struct send_list {
    uv_work_t work;
    struct scan *scan; /* owned; its job's while that runs */
    bool running;      /* its job runs */
    bool end;          /* nothing after what is in @out */
    uint32_t count;    /* entries after the last step */
    uint8_t *out;      /* SCAN_OUT bytes; owned */
    size_t len, sent;
};

struct send_hashes {
    uv_work_t work;
    struct hash_batch *batch; /* made at first use; owned */
    bool running;             /* its job runs */
    unsigned told;            /* items whose end is told */
    size_t sent;
    struct hash_wanted *queue; /* ring; owned */
    unsigned first, count;
    uint8_t version[HASH_ITEMS]; /* of the entries of the batch when they were wanted */
};

enum reader_state { READER_FREE, READER_BUSY, READER_READY };

struct send_reader {
    uv_work_t work;
    struct send *send;
    enum reader_state state;
    struct read_batch *batch; /* made at first use; owned */
    uint8_t version[READ_ITEMS];
    unsigned item; /* being sent */
    size_t sent;   /* of that item's frames */
};

struct send_blocks {
    struct send_reader reader[SEND_READERS];
    unsigned turn;       /* the one whose turn to be sent it is */
    struct range *range; /* ring; owned */
    unsigned first, count;
    uint64_t serial;      /* of the last range taken in */
    uint64_t zero_serial; /* range and block that was told to be zero: its later pieces */
    uint32_t zero_block;  /* are not sent, whatever became of them */
    uint64_t dead;        /* range that was answered with an error; the rest of it is dropped */
};

struct send {
    uv_loop_t *loop;
    struct tunnel *tunnel; /* NULL: none yet, or none any more */
    struct index *index;   /* not owned; may be NULL */
    const struct send_ops *ops;
    void *ctx;
    unsigned state;   /* enum send_state */
    unsigned jobs;    /* in the thread pool */
    atomic_bool stop; /* jobs: end early */
    bool attached;    /* its tunnel has called: before that it may still call */
    struct send_stats stats;
    char text[160];
    char *path; /* owned */
    struct scan_root root;
    char *only; /* owned; what the list is limited to; NULL: all */
    size_t only_len;
    struct entries *entries; /* owned */
    uint32_t listed;         /* entries that the loop knows of: wants may name these */
    bool told;               /* the target tells which entries there are, by FILES */
    uv_work_t open_work;
    int open_err; /* result of that */

    struct send_list list;
    struct send_hashes hashes;
    struct send_blocks blocks;
};

/* ---- send.c ---- */

void send_move(struct send *send, enum send_state to);

/* send_pump - give the tunnel what is ready, in turns, and keep the thread pool busy. @send may be
 * over afterwards, and gone if no job holds it. */
void send_pump(struct send *send);

/* send_finish - no tunnel any more; tells the owner when @tell. @send may be gone afterwards.
 * send_fail - the same, and the tunnel is closed: something here broke (@err) that no single file
 * is to blame for. */
void send_finish(struct send *send, enum tunnel_close why, const char *text, bool tell);
void send_fail(struct send *send, int err);

/* send_job - @run in the thread pool with @data, then @after on the loop, which first asks
 * send_job_ended(): true when the send is over and may be gone. Returns 0 or libuv's error. */
int send_job(struct send *send, uv_work_t *work, void *data, uv_work_cb run,
             uv_after_work_cb after);
bool send_job_ended(struct send *send);

/* send_is_stale - was this asked for when the entry had a @version that is known to be gone? */
static inline bool send_is_stale(const struct send *send, uint32_t index, uint8_t version)
{
    const struct entry *entry = entries_at(send->entries, index);

    return version != entry->version || (entry->flags & SEND_CHANGED);
}

/* send_describe - entry @index, wanted as @version, for the thread pool. What is asked of a former
 * version is described as no file is, so that it fails as changed and is answered in its turn. */
void send_describe(const struct send *send, uint32_t index, uint8_t version,
                   struct read_file *ret_file);

/* Frames out. Each returns false when the tunnel has no room.
 * send_put_frames - whole frames from a buffer, @*sent of @len gone already.
 * send_put_failure - why a range or a request for hashes ends early. @version: of the entry when it
 * was asked for; @st: as the file is now, when @err is -FL_ECHANGED. */
bool send_put_frames(struct send *send, const uint8_t *out, size_t len, size_t *sent);
bool send_put_failure(struct send *send, uint32_t index, uint8_t version, int err,
                      const struct stat *st, bool hashes);

/* Of each output: _init makes what it needs at once, 0 or -ENOMEM; _done frees all, after its jobs,
 * also what was never made; _put gives the tunnel what is ready, false: no room; _more queues the
 * next job if one is due, and may end with send_fail(). */

/* ---- send_list.c ---- */

int send_list_init(struct send *send);
void send_list_done(struct send *send);
bool send_list_put(struct send *send);
void send_list_more(struct send *send);

/* send_open - for a tunnel without a list: open the folder, then SERVING. 0 or libuv's error. */
int send_open(struct send *send);

/* ---- send_hashes.c ---- */

int send_hashes_init(struct send *send);
void send_hashes_done(struct send *send);
bool send_hashes_put(struct send *send);
void send_hashes_more(struct send *send);

/* send_hashes_add - those of entry @index are wanted. Returns 0 or -FL_EFULL. */
int send_hashes_add(struct send *send, uint32_t index, uint8_t version);

/* ---- send_blocks.c ---- */

int send_blocks_init(struct send *send);
void send_blocks_done(struct send *send);
bool send_blocks_put(struct send *send);
void send_blocks_more(struct send *send);

/* send_blocks_add - @wanted, checked against the entry, which is at @version. Returns 0 or
 * -FL_EFULL. */
int send_blocks_add(struct send *send, const fl_WantRange *wanted, uint8_t version);

/* ---- send_asked.c ---- */

/* send_on_message - see struct tunnel_ops; @ctx is the struct send. */
int send_on_message(void *ctx, struct tunnel *tunnel, const struct frame *frame);

#endif
