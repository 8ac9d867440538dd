/* blocks.h - how a file is cut into blocks, and their hashes. */
#ifndef FL_AGENT_BLOCKS_H
#define FL_AGENT_BLOCKS_H

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCKS_SIZE_MIN (UINT32_C(128) << 10)
#define BLOCKS_SIZE_MAX (UINT32_C(16) << 20)
#define BLOCKS_AIM      2000                /* at most so many, while blocks can still grow */
#define BLOCKS_FILE_MAX (UINT64_C(1) << 54) /* bytes; keeps block numbers below 2^30 */
#define BLOCKS_HASH     32                  /* SHA-256 */
#define BLOCKS_PIECE    (UINT32_C(1) << 20) /* bytes handled at a time; bounds every buffer */

/* blocks_size - bytes of a block in a file of @size bytes: 128 KiB, doubled up to 16 MiB until 2000
 * suffice. */
uint32_t blocks_size(uint64_t size);

/* blocks_count - blocks of a file of @size bytes, at most BLOCKS_FILE_MAX; none for an empty file.
 */
uint32_t blocks_count(uint64_t size);

/* blocks_offset, blocks_length - of block @block (below blocks_count()) in a file of @size bytes.
 */
uint64_t blocks_offset(uint64_t size, uint32_t block);
uint32_t blocks_length(uint64_t size, uint32_t block);

/* blocks_span - bytes of @count blocks from @first. */
uint64_t blocks_span(uint64_t size, uint32_t first, uint32_t count);

/* blocks_is_zero - are all @len bytes 0? */
bool blocks_is_zero(const void *data, size_t len);

/* A hasher that one thread at a time uses; made once, since making one costs more than hashing a
 * small file. */
struct blocks_hasher {
    gnutls_hash_hd_t hash;
    uint8_t *buffer;   /* BLOCKS_PIECE bytes to read into; owned */
    uint32_t zero_len; /* length of which zero_hash is the hash; 0: none yet */
    uint8_t zero_hash[BLOCKS_HASH];
};

/* blocks_hasher_init - 0, -ENOMEM or -FL_ETLS. */
int blocks_hasher_init(struct blocks_hasher *hasher);
void blocks_hasher_done(struct blocks_hasher *hasher);
void blocks_hasher_add(struct blocks_hasher *hasher, const void *data, size_t len);
/* blocks_hasher_end - the hash of all added since the last end. */
void blocks_hasher_end(struct blocks_hasher *hasher, uint8_t ret_hash[static BLOCKS_HASH]);

/* blocks_hash_zero - the hash of @len zero bytes; the last one is remembered. */
void blocks_hash_zero(struct blocks_hasher *hasher, uint32_t len,
                      uint8_t ret_hash[static BLOCKS_HASH]);

/* blocks_hash_file - the hash of @len bytes of @fd at @offset, read in pieces. @sparse: look for
 * holes first. *ret_zero: all of it is a hole. Returns 0, a negative errno, or -FL_ECHANGED when
 * the file is shorter. */
int blocks_hash_file(struct blocks_hasher *hasher, int fd, uint64_t offset, uint32_t len,
                     bool sparse, uint8_t ret_hash[static BLOCKS_HASH], bool *ret_zero);

/* blocks_is_hole - does the file system say that there is no data in this range? */
bool blocks_is_hole(int fd, uint64_t offset, uint64_t len);

#endif
