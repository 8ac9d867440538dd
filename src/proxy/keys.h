/* keys.h - the right to join one side of a session: 32 random bytes, good once. Only their keyed
 * hash is kept. No lock and no clock: who owns a table of them guards it and knows when they end.
 */
#ifndef FL_PROXY_KEYS_H
#define FL_PROXY_KEYS_H

#include <stdint.h>

#include "base/hash.h"

#define KEY_BYTES 32

/* Lies in the session that it belongs to. */
struct key {
    uint8_t hash[32]; /* HMAC of the key; what the table is searched by */
    void *session;
    unsigned side;
    UT_hash_handle hh; /* hh.tbl is NULL once the key is dead */
};

struct keys {
    uint8_t secret[32]; /* of this start, for the keyed hash */
    struct key *alive;
};

/* keys_init - Returns 0, or -FL_EKEY when there are no random numbers. */
int keys_init(struct keys *keys);

/* keys_done - when all keys are dead. */
void keys_done(struct keys *keys);

/* key_make - a fresh one for @side of @session; its bytes go to @ret_key and are not kept. Returns
 * 0, -FL_EKEY or -ENOMEM, and then the key is dead. */
int key_make(struct keys *keys, struct key *key, void *session, unsigned side,
             uint8_t ret_key[static KEY_BYTES]);

/* key_kill - it joins nothing any more. A dead one is fine. */
void key_kill(struct keys *keys, struct key *key);

/* key_take - the key with these bytes, dead from now on, or NULL. The time it takes tells nothing
 * about keys that it is not: the table is searched by the keyed hash, which is then compared as a
 * whole in constant time. */
struct key *key_take(struct keys *keys, const uint8_t bytes[static KEY_BYTES]);

#endif
