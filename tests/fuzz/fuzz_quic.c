/* fuzz_quic.c - datagrams from a stranger to a QUIC endpoint that listens, and that has dialled him
 * and waits for a poke, all from one real socket.
 *
 * The input is a row of datagrams: a byte of flags, two of length, then the bytes. They go out as
 * they are, or as the payload of an Initial packet that is sealed as a client's is (RFC 9001 §5.2),
 * so that the fuzzer comes past the encryption. Flags: 1 sealed, 2 as long as an Initial must be,
 * 4 of another connection, 8 not sealed and with the id that the dialled connection has chosen. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "lab.h"
#include "leg/quic_endpoint.h"

#define LEAST 1200 /* of a datagram with an Initial packet */
#define MOST  1400
#define HEAD  30 /* of our Initial packets: ids of 8 bytes, no token, length of 2, number of 4 */
#define TAG   16
#define ID    16 /* bytes of a connection id of the endpoint's */

static struct identity *identity;

static struct keys {
    uint8_t id[8], key[16], iv[12], hp[16];
} keys[2];

static struct quic_endpoint *endpoint;
static struct quic_stream *dialled;
static uint8_t dialled_id[ID];
static unsigned heard;
static uv_loop_t loop;

/* ---- a client's Initial packets ---- */

static void expand(const uint8_t secret[static 32], const char *label, uint8_t *ret, size_t len)
{
    const gnutls_datum_t key = {(unsigned char *)secret, 32};
    uint8_t text[40] = {0, (uint8_t)len};
    int n = snprintf((char *)text + 3, sizeof(text) - 4, "tls13 %s", label);
    const gnutls_datum_t info = {text, (unsigned)n + 4};

    text[2] = (uint8_t)n;
    must(gnutls_hkdf_expand(GNUTLS_MAC_SHA256, &key, &info, ret, len) == 0);
}

static void derive(struct keys *to, uint8_t first)
{
    static uint8_t salt[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                             0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
    const gnutls_datum_t id = {to->id, sizeof(to->id)}, with = {salt, sizeof(salt)};
    uint8_t initial[32], client[32];

    memset(to->id, first, sizeof(to->id));
    must(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &id, &with, initial) == 0);
    expand(initial, "client in", client, sizeof(client));
    expand(client, "quic key", to->key, sizeof(to->key));
    expand(client, "quic iv", to->iv, sizeof(to->iv));
    expand(client, "quic hp", to->hp, sizeof(to->hp));
}

/* AES of one block is CBC of one block without an IV. */
static void mask_head(const struct keys *from, uint8_t *packet)
{
    const gnutls_datum_t key = {(unsigned char *)from->hp, sizeof(from->hp)};
    uint8_t zero[16] = {0}, mask[16];
    const gnutls_datum_t iv = {zero, sizeof(zero)};
    gnutls_cipher_hd_t handle;

    must(gnutls_cipher_init(&handle, GNUTLS_CIPHER_AES_128_CBC, &key, &iv) == 0);
    must(gnutls_cipher_encrypt2(handle, packet + HEAD, 16, mask, sizeof(mask)) == 0);
    gnutls_cipher_deinit(handle);
    packet[0] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < 4; i++)
        packet[HEAD - 4 + i] ^= mask[1 + i];
}

static size_t seal(const struct keys *from, uint32_t number, const uint8_t *payload, size_t len,
                   uint8_t *out)
{
    const gnutls_datum_t key = {(unsigned char *)from->key, sizeof(from->key)};
    size_t rest = 4 + len + TAG, sealed = len + TAG;
    gnutls_aead_cipher_hd_t handle;
    uint8_t nonce[12];

    memcpy(out, (uint8_t[]){0xc3, 0, 0, 0, 1, 8}, 6);
    memcpy(out + 6, from->id, 8);
    out[14] = 8;
    memset(out + 15, 0x55, 8);
    memcpy(out + 23, (uint8_t[]){0, (uint8_t)(0x40 | rest >> 8), (uint8_t)rest}, 3);
    memcpy(out + HEAD - 4, (uint8_t[]){0, 0, (uint8_t)(number >> 8), (uint8_t)number}, 4);
    memcpy(nonce, from->iv, sizeof(nonce));
    nonce[10] ^= (uint8_t)(number >> 8);
    nonce[11] ^= (uint8_t)number;
    must(gnutls_aead_cipher_init(&handle, GNUTLS_CIPHER_AES_128_GCM, &key) == 0);
    must(gnutls_aead_cipher_encrypt(handle, nonce, sizeof(nonce), out, HEAD, TAG, payload, len,
                                    out + HEAD, &sealed) == 0);
    gnutls_aead_cipher_deinit(handle);
    mask_head(from, out);
    return HEAD + sealed;
}

/* ---- the endpoint ---- */

static void accepted(void *ctx, struct quic_stream *stream)
{
    must(!"a stream without a proof");
}

static void make_identity(void)
{
    if (identity)
        return;
    identity = lab_identity(PARTY_PROXY);
    for (uint8_t i = 0; i < 2; i++)
        derive(&keys[i], (uint8_t)(0xa0 + i));
}

static void turn(void)
{
    for (unsigned i = 0; i < 3; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void on_dialled(void *ctx, struct quic_stream *stream, unsigned events)
{
    must(!(events & LEG_OPENED)); /* nobody here has a certificate */
}

static void on_heard(void *ctx, const char *address)
{
    heard++;
}

/* The endpoint dials the fuzzer's socket @fd, from the one that it answers at. */
static void dial_back(int fd)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    uint8_t first[MOST];
    ssize_t n = -1;

    must(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    must(quic_endpoint_dial_from(endpoint, QUIC_PUNCHED, "127.0.0.1", ntohs(in.sin_port),
                                 on_dialled, NULL, &dialled) == 0);
    for (unsigned i = 0; n < 0 && i < 5000; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        n = recv(fd, first, sizeof(first), 0);
        if (n < 0)
            (void)usleep(i < 100 ? 0 : 1000);
    }
    must(n > 6 && n >= 7 + first[5] + ID && first[6 + first[5]] == ID);
    memcpy(dialled_id, first + 7 + first[5], ID);
}

static int lab_open(void)
{
    const struct quic_endpoint_config config = {
        .loop = &loop, .identity = identity, .handshakes = 2, .accepted = accepted};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    uint16_t port;

    must(uv_loop_init(&loop) == 0);
    must(quic_endpoint_new(&config, &endpoint) == 0);
    must(quic_endpoint_listen(endpoint, "127.0.0.1", 0, &port) == 0);
    in.sin_port = htons(port);
    must(connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
    must(quic_endpoint_expect_poke(endpoint, (const uint8_t[QUIC_POKE_TAG]){0}, on_heard, NULL) ==
         0);
    heard = 0;
    dial_back(fd);
    return fd;
}

static void lab_close(int fd)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(endpoint, &stats);
    must(stats.connections <=
         8 + 1);      /* four times as many as there may be handshakes; the dialled */
    must(heard <= 1); /* there is one address */
    quic_stream_close(dialled, false);
    quic_endpoint_close(endpoint);
    (void)close(fd);
    for (unsigned i = 0; i < 1000 && uv_loop_alive(&loop); i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    must(uv_loop_close(&loop) == 0);
}

/* @packet as one for the dialled connection; it has room. */
static size_t address_it(uint8_t *packet, size_t len)
{
    bool is_long = packet[0] & 0x80;

    if (is_long)
        packet[5] = ID;
    memcpy(packet + (is_long ? 6 : 1), dialled_id, ID);
    return len < 6 + ID ? 6 + ID : len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t payload[MOST], out[HEAD + MOST + TAG];
    struct input input = {data, size};
    uint32_t number = 0;

    make_identity();
    int fd = lab_open();
    for (unsigned n = 0; input.left >= 3 && n < 20; n++) {
        uint8_t flags = take(&input);
        size_t len = (size_t)take(&input) << 8, least = flags & 2 ? LEAST : 21;

        len |= take(&input);
        const uint8_t *bytes = take_bytes(&input, &len);
        size_t used = len < MOST - HEAD - TAG ? len : MOST - HEAD - TAG;
        memset(payload, 0, sizeof(payload));
        memcpy(payload, bytes, used);
        used = used < least ? least : used;
        if (flags & 8)
            (void)send(fd, payload, address_it(payload, used), 0);
        else if (flags & 1)
            (void)send(fd, out, seal(&keys[flags >> 2 & 1], number++, payload, used, out), 0);
        else
            (void)send(fd, payload, used, 0);
        turn();
    }
    lab_close(fd);
    return 0;
}
