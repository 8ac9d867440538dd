#include "agent/blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

uint32_t blocks_size(uint64_t size)
{
    uint32_t block = BLOCKS_SIZE_MIN;

    while (block < BLOCKS_SIZE_MAX && size > (uint64_t)block * BLOCKS_AIM)
        block *= 2;
    return block;
}

uint32_t blocks_count(uint64_t size)
{
    uint32_t block = blocks_size(size);

    return (uint32_t)(size / block + (size % block != 0));
}

uint64_t blocks_offset(uint64_t size, uint32_t block)
{
    return (uint64_t)block * blocks_size(size);
}

uint32_t blocks_length(uint64_t size, uint32_t block)
{
    uint32_t full = blocks_size(size);
    uint64_t rest = size - (uint64_t)block * full;

    return rest < full ? (uint32_t)rest : full;
}

uint64_t blocks_span(uint64_t size, uint32_t first, uint32_t count)
{
    uint64_t full = blocks_size(size);
    uint64_t from = first * full, to = ((uint64_t)first + count) * full;

    return (to < size ? to : size) - from;
}

bool blocks_is_zero(const void *data, size_t len)
{
    const uint8_t *at = data;

    /* Each byte equals the one 16 before it, and the first 16 are zero. */
    for (size_t i = 0; i < len && i < 16; i++) {
        if (at[i] != 0)
            return false;
    }
    return len <= 16 || memcmp(at, at + 16, len - 16) == 0;
}

int blocks_hasher_init(struct blocks_hasher *hasher)
{
    memset(hasher, 0, sizeof(*hasher));
    hasher->buffer = malloc(BLOCKS_PIECE);
    if (!hasher->buffer)
        return -ENOMEM;
    if (gnutls_hash_init(&hasher->hash, GNUTLS_DIG_SHA256) < 0) {
        free(hasher->buffer);
        hasher->buffer = NULL;
        return -FL_ETLS;
    }
    return 0;
}

void blocks_hasher_done(struct blocks_hasher *hasher)
{
    if (!hasher->buffer)
        return;
    gnutls_hash_deinit(hasher->hash, NULL);
    free(hasher->buffer);
    hasher->buffer = NULL;
}

void blocks_hasher_add(struct blocks_hasher *hasher, const void *data, size_t len)
{
    (void)gnutls_hash(hasher->hash, data, len);
}

void blocks_hasher_end(struct blocks_hasher *hasher, uint8_t ret_hash[static BLOCKS_HASH])
{
    gnutls_hash_output(hasher->hash, ret_hash); /* starts anew as well */
}

void blocks_hash_zero(struct blocks_hasher *hasher, uint32_t len,
                      uint8_t ret_hash[static BLOCKS_HASH])
{
    if (hasher->zero_len != len) {
        uint32_t left = len;

        memset(hasher->buffer, 0, BLOCKS_PIECE);
        while (left > 0) {
            uint32_t n = left < BLOCKS_PIECE ? left : BLOCKS_PIECE;

            blocks_hasher_add(hasher, hasher->buffer, n);
            left -= n;
        }
        blocks_hasher_end(hasher, hasher->zero_hash);
        hasher->zero_len = len;
    }
    memcpy(ret_hash, hasher->zero_hash, BLOCKS_HASH);
}

bool blocks_is_hole(int fd, uint64_t offset, uint64_t len)
{
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

    return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + len;
}

int blocks_hash_file(struct blocks_hasher *hasher, int fd, uint64_t offset, uint32_t len,
                     bool sparse, uint8_t ret_hash[static BLOCKS_HASH], bool *ret_zero)
{
    uint32_t done = 0;

    *ret_zero = sparse && blocks_is_hole(fd, offset, len);
    if (*ret_zero) {
        blocks_hash_zero(hasher, len, ret_hash);
        return 0;
    }
    while (done < len) {
        uint32_t want = len - done < BLOCKS_PIECE ? len - done : BLOCKS_PIECE;
        ssize_t n = pread(fd, hasher->buffer, want, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int err = n < 0 ? -errno : -FL_ECHANGED;
            uint8_t dropped[BLOCKS_HASH];

            blocks_hasher_end(hasher, dropped);
            return err;
        }
        blocks_hasher_add(hasher, hasher->buffer, (size_t)n);
        done += (uint32_t)n;
    }
    blocks_hasher_end(hasher, ret_hash);
    return 0;
}
