/* read.h - the source's disk work: wanted blocks into ready frames, and hashes of files. For the
 * thread pool; nothing here knows the loop or the tunnel.
 */
#ifndef FL_AGENT_READ_H
#define FL_AGENT_READ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "agent/blocks.h"
#include "agent/index.h"
#include "agent/scan.h"
#include "wire/frame.h"

#define READ_ITEMS 256          /* blocks (or pieces of one) in a batch */
#define READ_BYTES BLOCKS_PIECE /* of file data in a batch */
#define READ_HEAD  96           /* a frame's header and the block's, at their longest */
#define READ_OUT   (READ_BYTES + READ_ITEMS * (READ_HEAD + FRAME_HEADER) + 128 * FRAME_HEADER)

#define HASH_ITEMS 64
#define HASH_OUT   (64 * 1024)

/* The version of a file that the list told of. Copied, since the loop may learn of a newer one
 * meanwhile. */
struct read_file {
    const char *path; /* relative; lives as long as the list */
    uint16_t path_len;
    uint32_t index;
    uint64_t size;
    int64_t mtime;
    uint32_t mtime_ns;
};

/* One block, or a piece of one longer than BLOCKS_PIECE. */
struct read_item {
    struct read_file file;
    uint64_t serial; /* of the range it belongs to; the loop's */
    uint32_t block;
    uint32_t from; /* first byte within the block; 0: the one that brings the block's head */
    uint32_t len;
    int err;       /* result: 0, -FL_ECHANGED (see @st), or why it cannot be read */
    size_t out_at; /* result: where its frames are */
    size_t out_len;
    uint32_t data_len; /* result: bytes of file data in them; 0 for a hole */
    bool zero;         /* result: the block is a hole; at its head: told so, later: no frames */
    struct stat st;    /* result, when changed */
};

struct read_batch {
    const struct scan_root *root;
    struct read_item item[READ_ITEMS];
    unsigned count;
    uint8_t *out; /* READ_OUT bytes; owned */
    size_t out_len;
    struct blocks_hasher hasher;
};

/* read_batch_new - for files below @root, which must outlive it. Returns 0, -ENOMEM or -FL_ETLS. */
int read_batch_new(const struct scan_root *root, struct read_batch **ret_batch);
void read_batch_free(struct read_batch *batch);

/* read_batch_run - do all items; their data fits by the caller's duty (READ_BYTES). */
void read_batch_run(struct read_batch *batch);

struct hash_item {
    struct read_file file;
    int err; /* result, set when done */
    struct stat st;
    uint32_t next; /* first block not yet told */
    bool done;
};

/* Hashes of whole files, one after another, in steps. */
struct hash_batch {
    const struct scan_root *root;
    struct index *index; /* may be NULL */
    atomic_bool *stop;   /* set by the loop to end a step early */
    struct hash_item item[HASH_ITEMS];
    unsigned count;
    unsigned at; /* item being hashed */
    int fd;      /* of that one, -1: not open */
    bool sparse;
    uint8_t *hashes; /* of that one, to be remembered; NULL: not */
    struct index_key key;
    char *key_path; /* owned */
    uint8_t out[HASH_OUT];
    size_t out_len;
    struct blocks_hasher hasher;
};

int hash_batch_new(const struct scan_root *root, struct index *index, atomic_bool *stop,
                   struct hash_batch **ret_batch);
void hash_batch_free(struct hash_batch *batch);

/* hash_batch_step - go on with the items, at most some 64 MiB; HASHES frames are in out. It stops
 * at an item that failed, so that the caller can tell in order. Finished when at == count. */
void hash_batch_step(struct hash_batch *batch);

#endif
