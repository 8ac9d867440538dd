/* discover.c - the datagram and the table:
 *
 *   "FLLN"  version 1  flags  port    nonce     tag
 *   4       1          1      2 (BE)  16        32 = HMAC-SHA256(key, label | port | nonce | id)
 */
#include "agent/discover.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define VERSION  1
#define FLAG_ASK 1
#define AT_NONCE 8
#define AT_TAG   (AT_NONCE + DISCOVER_NONCE)

static const char magic[4] = {'F', 'L', 'L', 'N'};

int discover_key(const char *fingerprint, uint8_t ret_key[static DISCOVER_KEY])
{
    static const char label[] = "fairlead v1 lan key";
    int rc = gnutls_hmac_fast(GNUTLS_MAC_SHA256, fingerprint, strlen(fingerprint), label,
                              sizeof(label), ret_key);

    return rc < 0 ? -FL_ETLS : 0;
}

static int make_tag(const uint8_t *key, const struct fl_id *id, uint16_t port, const uint8_t *nonce,
                    uint8_t *ret_tag)
{
    static const char label[] = "fairlead v1 lan"; /* its NUL is part of the text */
    uint8_t text[sizeof(label) + 2 + DISCOVER_NONCE + FL_ID_BYTES];
    uint8_t *p = text;

    memcpy(p, label, sizeof(label));
    p += sizeof(label);
    *p++ = (uint8_t)(port >> 8);
    *p++ = (uint8_t)port;
    memcpy(p, nonce, DISCOVER_NONCE);
    memcpy(p + DISCOVER_NONCE, id->b, FL_ID_BYTES);
    int rc = gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, DISCOVER_KEY, text, sizeof(text), ret_tag);
    return rc < 0 ? -FL_ETLS : 0;
}

int discover_make(const uint8_t key[static DISCOVER_KEY], const struct fl_id *id, uint16_t port,
                  bool ask, const uint8_t nonce[static DISCOVER_NONCE],
                  uint8_t ret_bytes[static DISCOVER_BYTES])
{
    memcpy(ret_bytes, magic, sizeof(magic));
    ret_bytes[4] = VERSION;
    ret_bytes[5] = ask ? FLAG_ASK : 0;
    ret_bytes[6] = (uint8_t)(port >> 8);
    ret_bytes[7] = (uint8_t)port;
    memcpy(ret_bytes + AT_NONCE, nonce, DISCOVER_NONCE);
    return make_tag(key, id, port, nonce, ret_bytes + AT_TAG);
}

int discover_parse(const void *bytes, size_t len, struct discover_said *ret_said)
{
    const uint8_t *p = bytes;

    if (len != DISCOVER_BYTES || memcmp(p, magic, sizeof(magic)) != 0 || p[4] != VERSION ||
        (p[5] & ~FLAG_ASK))
        return -FL_EMESSAGE;
    ret_said->ask = p[5] & FLAG_ASK;
    ret_said->port = (uint16_t)(p[6] << 8 | p[7]);
    memcpy(ret_said->nonce, p + AT_NONCE, DISCOVER_NONCE);
    memcpy(ret_said->tag, p + AT_TAG, DISCOVER_TAG);
    return 0;
}

/* ---- the table ---- */

static bool is_fresh(const struct discover_heard *heard, uint64_t now)
{
    return heard->at && clock_since(now, heard->at) < DISCOVER_KEPT;
}

static bool same_place(const struct discover_place *a, const struct discover_place *b)
{
    return a->family == b->family && a->scope == b->scope && !memcmp(a->ip, b->ip, sizeof(a->ip));
}

void discover_keep(struct discover_table *table, const struct discover_said *said,
                   const struct discover_place *from, uint64_t now)
{
    struct discover_heard *same = NULL, *oldest = &table->heard[0], *oldest_there = NULL;
    size_t there = 0;

    if (!said->port)
        return;
    for (size_t i = 0; i < DISCOVER_HEARD; i++) {
        struct discover_heard *heard = &table->heard[i];

        if (!is_fresh(heard, now))
            heard->at = 0;
        if (heard->at < oldest->at)
            oldest = heard;
        if (!heard->at || !same_place(&heard->from, from))
            continue;
        there++;
        if (heard->said.port == said->port)
            same = heard;
        if (!oldest_there || heard->at < oldest_there->at)
            oldest_there = heard;
    }
    if (!same)
        same = there >= DISCOVER_PER_HOST ? oldest_there : oldest;
    *same = (struct discover_heard){.said = *said, .from = *from, .at = now};
}

static void write_address(const struct discover_heard *heard, char buf[static LEG_ADDRESS_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    (void)inet_ntop(heard->from.family, heard->from.ip, host, sizeof(host));
    if (heard->from.family == AF_INET)
        (void)snprintf(buf, LEG_ADDRESS_MAX, "%s:%u", host, (unsigned)heard->said.port);
    else if (heard->from.scope)
        (void)snprintf(buf, LEG_ADDRESS_MAX, "[%s%%%u]:%u", host, (unsigned)heard->from.scope,
                       (unsigned)heard->said.port);
    else
        (void)snprintf(buf, LEG_ADDRESS_MAX, "[%s]:%u", host, (unsigned)heard->said.port);
}

static bool is_of(const struct discover_heard *heard, const uint8_t *key, const struct fl_id *peer)
{
    uint8_t tag[DISCOVER_TAG];

    return !make_tag(key, peer, heard->said.port, heard->said.nonce, tag) &&
           !memcmp(tag, heard->said.tag, sizeof(tag));
}

size_t discover_find(const struct discover_table *table, const uint8_t key[static DISCOVER_KEY],
                     const struct fl_id *peer, uint64_t now, char (*ret)[LEG_ADDRESS_MAX],
                     size_t max)
{
    const struct discover_heard *found[DISCOVER_FOUND];
    size_t count = 0;

    if (max > DISCOVER_FOUND)
        max = DISCOVER_FOUND;
    for (size_t i = 0; i < DISCOVER_HEARD && max; i++) {
        const struct discover_heard *heard = &table->heard[i];
        size_t at = count;

        if (!is_fresh(heard, now) || !is_of(heard, key, peer))
            continue;
        while (at > 0 && found[at - 1]->at < heard->at)
            at--;
        if (at == max)
            continue;
        count += count < max;
        memmove(&found[at + 1], &found[at], (count - 1 - at) * sizeof(found[0]));
        found[at] = heard;
    }
    for (size_t i = 0; i < count; i++)
        write_address(found[i], ret[i]);
    return count;
}
