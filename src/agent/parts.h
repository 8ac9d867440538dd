/* parts.h - temporary files beside their targets: blocks are verified and written there, and whole
 * files put in place. For the thread pool; one check (parts_check_run), one lane (parts_run) and
 * one commit (parts_commit) of a flow may run at the same time.
 */
#ifndef FL_AGENT_PARTS_H
#define FL_AGENT_PARTS_H

#include <stdbool.h>

#include "agent/blocks.h"
#include "agent/disk.h"
#include "agent/entries.h"
#include "agent/index.h"
#include "agent/names.h"

#define PARTS_HASHES 256                  /* blocks compared by one op */
#define PARTS_WAYS   4                    /* tunnels over which blocks come at once */
#define PARTS_BIG    (UINT64_C(64) << 20) /* such files are synced on their own */

/* One file on its way in. The first group is set by part_init() and never changes; the rest belongs
 * to the lane while it runs, to the commit after that. */
struct part {
    const char *path; /* relative; lives as long as the list */
    uint16_t path_len;
    uint16_t mode;
    uint64_t size;
    int64_t mtime;
    uint32_t mtime_ns;
    char name[NAMES_PART_MAX];

    int fd;         /* of the temporary file; -1: not open */
    int err;        /* it has failed: nothing more is done for it */
    bool recorded;  /* the index knows of the temporary file */
    bool made;      /* there is a temporary file */
    bool fresh;     /* where nothing was written there are holes */
    bool complete;  /* all blocks are verified, mode and time are set */
    uint32_t left;  /* blocks not yet there */
    uint64_t dirty; /* bytes written since writing back was started */
    uint64_t end;   /* size of the temporary file */
};

enum part_op_kind {
    PART_WRITE,   /* a block, or a piece of one */
    PART_COMPARE, /* hashes of the source against what is here */
    PART_EMPTY,   /* a file of no bytes */
    PART_DROP,    /* close; @remove: and remove */
};

struct part_op {
    struct part_op *next;
    struct part *part;
    enum part_op_kind kind;
    /* PART_WRITE */
    uint32_t block;
    uint32_t from; /* of this piece within the block */
    uint32_t len;
    bool last;                 /* the block's last piece */
    uint8_t way;               /* over which it came, below PARTS_WAYS */
    bool zero;                 /* no data: @len zero bytes */
    uint8_t hash[BLOCKS_HASH]; /* of the whole block */
    uint8_t *data;             /* owned */
    bool wrong; /* set by parts_check_run(): with this op the block is not what its hash says */
    /* PART_COMPARE: @count blocks from @block */
    uint32_t count;
    uint8_t *hashes;                   /* owned */
    uint8_t missing[PARTS_HASHES / 8]; /* result: bit set: is wanted */
    /* PART_DROP */
    bool remove;
    /* results */
    int err;        /* -FL_EHASH: this block only; else the file has failed */
    bool completed; /* this op made the part complete */
};

struct parts_lane {
    struct disk *disk;
    struct index *index; /* may be NULL */
    struct fl_id flow;
    struct blocks_hasher hasher; /* what is here already; its buffer */
};

/* What came, against the hashes that came with it. */
struct parts_check {
    struct blocks_hasher whole;              /* blocks in one piece */
    struct blocks_hasher stream[PARTS_WAYS]; /* the block that comes in pieces, of each way */
};

int parts_check_init(struct parts_check *check); /* 0, -ENOMEM, -FL_ETLS */
void parts_check_done(struct parts_check *check);

/* parts_check_run - first of all, in the order in which they came: is the data of @ops right?
 * Touches no part. */
void parts_check_run(struct parts_check *check, struct part_op *ops);

int parts_lane_init(struct parts_lane *lane, struct disk *disk, struct index *index,
                    const struct fl_id *flow);
void parts_lane_done(struct parts_lane *lane);

void part_init(struct part *part, const struct fl_id *flow, const struct entry *entry);

/* parts_run - do @ops, which are checked, in order; results are in them. */
void parts_run(struct parts_lane *lane, struct part_op *ops);
void part_op_free(struct part_op *op);

/* parts_commit - sync the complete @parts and rename them into place; err in each. */
void parts_commit(struct parts_lane *lane, struct part **parts, unsigned count);

#endif
