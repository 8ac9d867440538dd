#include "memo.h"

#include <string.h>

#include "base/error.h"
#include "fuzz.h"
#include "identity/hello.h"

#define SLOTS 2048

/* What a proof is of, and what was found. Zeroed before it is filled: it is compared as bytes. */
struct key {
    const void *who; /* an identity or a trust; they are never freed here */
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    unsigned side;
    fl_Hello hello; /* checked */
};

struct entry {
    struct key key;
    bool used;
    fl_Hello hello; /* made */
    struct party party;
};

static struct entry made[SLOTS], checked[SLOTS];
static uint64_t id_state;

void memo_begin(void)
{
    id_state = 1;
}

static uint64_t hash(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

/* The place of @key, whose signature and exporter say enough of it. */
static struct entry *place(struct entry *table, const struct key *key)
{
    uint64_t sum = hash(14695981039346656037u, &key->who, sizeof(key->who));

    sum = hash(sum, key->exporter, sizeof(key->exporter));
    sum = hash(sum, &key->side, sizeof(key->side));
    sum = hash(sum, key->hello.signature, sizeof(key->hello.signature));
    return &table[sum % SLOTS];
}

static bool is_known(const struct entry *entry, const struct key *key)
{
    return entry->used && memcmp(&entry->key, key, sizeof(*key)) == 0;
}

/* ---- in place of the functions of that name ---- */

int __real_hello_make(const struct identity *identity, enum hello_side side,
                      const uint8_t *exporter, fl_Hello *hello);
int __wrap_hello_make(const struct identity *identity, enum hello_side side,
                      const uint8_t *exporter, fl_Hello *hello);
int __real_hello_check(struct trust *trust, const fl_Hello *hello, enum hello_side side,
                       const uint8_t *exporter, int64_t now, struct party *ret_party);
int __wrap_hello_check(struct trust *trust, const fl_Hello *hello, enum hello_side side,
                       const uint8_t *exporter, int64_t now, struct party *ret_party);
bool __real_hello_is_certified(const struct trust *trust, const fl_Hello *hello);
bool __wrap_hello_is_certified(const struct trust *trust, const fl_Hello *hello);
void __wrap_id_random(struct fl_id *id);

int __wrap_hello_make(const struct identity *identity, enum hello_side side,
                      const uint8_t *exporter, fl_Hello *hello)
{
    static struct key key;
    struct entry *entry;

    memset(&key, 0, sizeof(key));
    key.who = identity;
    key.side = side;
    memcpy(key.exporter, exporter, sizeof(key.exporter));
    entry = place(made, &key);
    if (!is_known(entry, &key)) {
        int rc = __real_hello_make(identity, side, exporter, hello);
        if (rc)
            return rc;
        entry->key = key;
        entry->used = true;
        entry->hello = *hello;
    }
    *hello = entry->hello;
    return 0;
}

/* What is good is remembered; what is not is rare, or another one each time. */
int __wrap_hello_check(struct trust *trust, const fl_Hello *hello, enum hello_side side,
                       const uint8_t *exporter, int64_t now, struct party *ret_party)
{
    static struct key key;
    struct entry *entry;

    memset(&key, 0, sizeof(key));
    key.who = trust;
    key.side = side;
    memcpy(key.exporter, exporter, sizeof(key.exporter));
    memcpy(&key.hello, hello, sizeof(*hello));
    entry = place(checked, &key);
    if (is_known(entry, &key)) {
        if (trust_is_denied(trust, &entry->party.id))
            return -FL_EDENIED;
        *ret_party = entry->party;
        return 0;
    }
    int rc = __real_hello_check(trust, hello, side, exporter, now, ret_party);
    if (rc)
        return rc;
    entry->key = key;
    entry->used = true;
    entry->party = *ret_party;
    return 0;
}

/* The last few that were. */
bool __wrap_hello_is_certified(const struct trust *trust, const fl_Hello *hello)
{
    static struct {
        const struct trust *trust;
        size_t size;
        uint8_t bytes[sizeof(hello->certificate.bytes)];
    } good[8];
    static unsigned next;

    for (unsigned i = 0; i < 8; i++) {
        if (good[i].trust == trust && good[i].size == hello->certificate.size &&
            memcmp(good[i].bytes, hello->certificate.bytes, good[i].size) == 0)
            return true;
    }
    if (!__real_hello_is_certified(trust, hello))
        return false;
    good[next].trust = trust;
    good[next].size = hello->certificate.size;
    memcpy(good[next].bytes, hello->certificate.bytes, good[next].size);
    next = (next + 1) % 8;
    return true;
}

void __wrap_id_random(struct fl_id *id)
{
    for (unsigned i = 0; i < sizeof(id->b); i++) {
        id_state = id_state * 6364136223846793005u + 1442695040888963407u;
        id->b[i] = (uint8_t)(id_state >> 33);
    }
}
