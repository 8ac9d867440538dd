/* relay_syncthing.c - two devices at a Syncthing relay (protocol version 1). Blocking: nothing here
 * is measured but the relay. One device waits on its permanent connection, the other one asks for
 * it; both then join the session in clear on connections of their own. */
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "driver.h"

#define MAGIC    0x9E79BC40u
#define KEY      32
#define BODY_MAX 1024
#define TRIES    50

enum { PING, PONG, JOIN_RELAY, JOIN_SESSION, RESPONSE, CONNECT, INVITATION };

static void put32(uint8_t *dst, uint32_t value)
{
    value = htonl(value);
    memcpy(dst, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *src)
{
    uint32_t value;

    memcpy(&value, src, sizeof(value));
    return ntohl(value);
}

static gnutls_session_t dial(const char *dir, const char *name, uint16_t port)
{
    const gnutls_datum_t alpn = {(unsigned char *)"bep-relay", 9};
    char *pem = driver_load(dir, name);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_certificate_credentials_t cred;
    gnutls_session_t tls;
    int fd = driver_socket(port);

    driver_check("credentials", gnutls_certificate_allocate_credentials(&cred));
    driver_check(name,
                 gnutls_certificate_set_x509_key_mem(cred, &text, &text, GNUTLS_X509_FMT_PEM));
    driver_check("TLS", gnutls_init(&tls, GNUTLS_CLIENT));
    driver_check("TLS", gnutls_set_default_priority(tls));
    driver_check("TLS", gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, cred));
    driver_check("TLS", gnutls_alpn_set_protocols(tls, &alpn, 1, 0));
    gnutls_transport_set_int(tls, fd);
    if (gnutls_handshake(tls) < 0)
        driver_die("handshake with the relay", -FL_ETLS);
    free(pem);
    return tls;
}

static void hang_up(gnutls_session_t tls)
{
    (void)close(gnutls_transport_get_int(tls));
    gnutls_deinit(tls);
}

static void device_id(const char *dir, const char *name, uint8_t ret_id[static KEY])
{
    char *pem = driver_load(dir, name);
    gnutls_datum_t text = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crt_t cert;
    gnutls_datum_t der;

    driver_check("certificate", gnutls_x509_crt_init(&cert));
    driver_check(name, gnutls_x509_crt_import(cert, &text, GNUTLS_X509_FMT_PEM));
    driver_check(name, gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_DER, &der));
    driver_check("hash", gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, ret_id));
    gnutls_free(der.data);
    gnutls_x509_crt_deinit(cert);
    free(pem);
}

/* Header, and one opaque of 32 bytes unless @opaque is NULL. Returns the length. */
static size_t message(uint8_t dst[static 64], uint32_t type, const uint8_t *opaque)
{
    put32(dst, MAGIC);
    put32(dst + 4, type);
    put32(dst + 8, opaque ? 4 + KEY : 0);
    if (!opaque)
        return 12;
    put32(dst + 12, KEY);
    memcpy(dst + 16, opaque, KEY);
    return 16 + KEY;
}

static void tls_say(gnutls_session_t tls, uint32_t type, const uint8_t *opaque)
{
    uint8_t text[64];
    size_t len = message(text, type, opaque);

    if (gnutls_record_send(tls, text, len) != (ssize_t)len)
        driver_die("send to the relay", -FL_ETLS);
}

static void tls_read(gnutls_session_t tls, uint8_t *dst, size_t len)
{
    while (len > 0) {
        ssize_t n = gnutls_record_recv(tls, dst, len);
        if (n <= 0)
            driver_die("the relay has gone", -FL_ETLS);
        dst += n;
        len -= (size_t)n;
    }
}

/* The body of the next message, which must be of @type; pings before it are answered. */
static void tls_expect(gnutls_session_t tls, uint32_t type, uint8_t body[static BODY_MAX])
{
    uint8_t head[12];

    for (;;) {
        tls_read(tls, head, sizeof(head));
        uint32_t len = get32(head + 8);
        if (get32(head) != MAGIC || len > BODY_MAX)
            driver_die("the relay's message", -FL_EMESSAGE);
        tls_read(tls, body, len);
        if (get32(head + 4) == type)
            return;
        if (get32(head + 4) != PING)
            driver_die("the relay refuses", 0);
        tls_say(tls, PONG, NULL);
    }
}

/* An invitation: opaque from, opaque key, ... */
static void take_key(const uint8_t *body, uint8_t ret_key[static KEY])
{
    const uint8_t *key = body + 4 + KEY;

    if (get32(body) != KEY || get32(key) != KEY)
        driver_die("invitation", -FL_EMESSAGE);
    memcpy(ret_key, key + 4, KEY);
}

/* Returns the socket of the joined session, or -1: refused. */
static int join_session(uint16_t port, const uint8_t *key)
{
    int fd = driver_socket(port);
    uint8_t text[BODY_MAX];
    size_t len = message(text, JOIN_SESSION, key);

    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        driver_die("join", 0);
    if (recv(fd, text, 12, MSG_WAITALL) != 12 || get32(text + 4) != RESPONSE)
        driver_die("join", -FL_EMESSAGE);
    len = get32(text + 8);
    if (len < 4 || len > sizeof(text) || recv(fd, text, len, MSG_WAITALL) != (ssize_t)len)
        driver_die("join", -FL_EMESSAGE);
    if (get32(text) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* A relay may still hold the connection of the run before, and then refuses this one. */
static gnutls_session_t join_relay(const char *dir, uint16_t port)
{
    uint8_t body[BODY_MAX];

    for (unsigned i = 0; i < TRIES; i++) {
        gnutls_session_t tls = dial(dir, "callee.pem", port);
        tls_say(tls, JOIN_RELAY, NULL);
        tls_expect(tls, RESPONSE, body);
        if (get32(body) == 0)
            return tls;
        hang_up(tls);
        (void)usleep(100 * 1000);
    }
    driver_die("the relay refuses the device", 0);
}

/* Returns false when a join was refused, which strelaysrv does to the second of two at a bad
 * moment. */
static bool open_session(const char *dir, uint16_t port, gnutls_session_t waiting,
                         struct driver_pair *pair)
{
    gnutls_session_t asking = dial(dir, "caller.pem", port);
    uint8_t id[KEY], key[2][KEY], body[BODY_MAX];

    device_id(dir, "callee.pem", id);
    tls_say(asking, CONNECT, id);
    tls_expect(asking, INVITATION, body);
    take_key(body, key[0]);
    tls_expect(waiting, INVITATION, body);
    take_key(body, key[1]);
    hang_up(asking);
    pair->in = join_session(port, key[0]);
    pair->out = pair->in < 0 ? -1 : join_session(port, key[1]);
    if (pair->in >= 0 && pair->out < 0)
        (void)close(pair->in);
    return pair->out >= 0;
}

double relay_syncthing(const char *dir, uint16_t port, unsigned count, uint64_t total)
{
    struct driver_pair pairs[DRIVER_SESSIONS_MAX];
    gnutls_session_t waiting = join_relay(dir, port);

    for (unsigned i = 0; i < count; i++) {
        unsigned tries = 0;
        while (!open_session(dir, port, waiting, &pairs[i]))
            if (++tries == TRIES)
                driver_die("the relay refuses the session", 0);
    }
    return driver_run(pairs, count, total);
}
