/* st_xdr.h - messages of the Syncthing relay protocol v1 in XDR (RFC 4506) behind a header of three
 * words. Bounded, nothing is allocated. Lenient on receipt as Go's decoder is (what follows a
 * message's fields, and the value of padding, do not matter), strict on sending.
 */
#ifndef FL_PROXY_ST_XDR_H
#define FL_PROXY_ST_XDR_H

#include <stddef.h>
#include <stdint.h>

#define ST_HEADER      12   /* magic, type, length of the payload */
#define ST_PAYLOAD_MAX 1024 /* of any message; CVE-2021-21404 was a length nobody had checked */
#define ST_OPAQUE_MAX  32   /* of keys, device ids and addresses */
#define ST_MESSAGE_MAX 128  /* the longest that we send */

enum st_type {
    ST_PING,
    ST_PONG,
    ST_JOIN_RELAY,   /* a device waits for calls: string token, or nothing in old clients */
    ST_JOIN_SESSION, /* in clear on a connection of its own: opaque key<32> */
    ST_RESPONSE,     /* int32 code, string message */
    ST_CONNECT,      /* a device calls: opaque id<32> */
    ST_INVITATION,   /* to both: struct st_invitation */
    ST_RELAY_FULL,
};

enum st_code {
    ST_SUCCESS = 0,
    ST_NOT_FOUND = 1,
    ST_ALREADY_CONNECTED = 2,
    ST_WRONG_TOKEN = 3,
    ST_UNEXPECTED = 100,
};

struct st_head {
    int32_t type;
    uint32_t length; /* of the payload, at most ST_PAYLOAD_MAX */
};

/* Bytes inside a payload. */
struct st_bytes {
    const uint8_t *data;
    size_t len;
};

struct st_invitation {
    uint8_t from[32];    /* device at the other side */
    uint8_t key[32];     /* for one JOIN_SESSION */
    uint8_t address[16]; /* where to join; */
    uint8_t address_len; /* 0 (as the relay was reached), 4 or 16 */
    uint16_t port;
    uint8_t server; /* 1: who gets this is the server of the inner TLS */
};

/* st_head_parse - Returns 0, or -FL_EFRAME: no such header, or a length that is not allowed. */
int st_head_parse(const uint8_t in[static ST_HEADER], struct st_head *ret_head);

/* Payloads of @len bytes; results point into them. Return 0 or -FL_EMESSAGE. st_get_token - of
 * JOIN_RELAY; an empty payload is an empty token. st_get_opaque - of JOIN_SESSION and CONNECT. */
int st_get_token(const uint8_t *payload, size_t len, struct st_bytes *ret_token);
int st_get_opaque(const uint8_t *payload, size_t len, struct st_bytes *ret_bytes);

/* Whole messages into @out; return their size. st_put_plain - of a type without payload.
 * st_put_response - @text at most 40 bytes. */
size_t st_put_plain(uint8_t out[static ST_MESSAGE_MAX], enum st_type type);
size_t st_put_response(uint8_t out[static ST_MESSAGE_MAX], enum st_code code, const char *text);
size_t st_put_invitation(uint8_t out[static ST_MESSAGE_MAX],
                         const struct st_invitation *invitation);

/* st_code_text - what the reference relay says with @code. */
const char *st_code_text(enum st_code code);

#endif
