#include "proxy/syncthing/st_xdr.h"

#include <string.h>

#include "base/error.h"

#define MAGIC         UINT32_C(0x9E79BC40)
#define RESPONSE_TEXT 40

static uint32_t get_word(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static uint8_t *put_word(uint8_t *out, uint32_t word)
{
    out[0] = (uint8_t)(word >> 24);
    out[1] = (uint8_t)(word >> 16);
    out[2] = (uint8_t)(word >> 8);
    out[3] = (uint8_t)word;
    return out + 4;
}

/* Length, bytes, zeros up to a whole word. */
static uint8_t *put_opaque(uint8_t *out, const void *data, size_t len)
{
    size_t padding = (4 - len % 4) % 4;
    out = put_word(out, (uint32_t)len);
    memcpy(out, data, len);
    memset(out + len, 0, padding);
    return out + len + padding;
}

int st_head_parse(const uint8_t in[static ST_HEADER], struct st_head *ret_head)
{
    uint32_t length = get_word(in + 8); /* signed on the wire: a negative one is a large one here */
    if (get_word(in) != MAGIC || length > ST_PAYLOAD_MAX)
        return -FL_EFRAME;
    *ret_head = (struct st_head){.type = (int32_t)get_word(in + 4), .length = length};
    return 0;
}

int st_get_token(const uint8_t *payload, size_t len, struct st_bytes *ret_token)
{
    if (len == 0) {
        *ret_token = (struct st_bytes){.data = payload, .len = 0};
        return 0;
    }
    if (len < 4 || get_word(payload) > len - 4)
        return -FL_EMESSAGE;
    *ret_token = (struct st_bytes){.data = payload + 4, .len = get_word(payload)};
    return 0;
}

int st_get_opaque(const uint8_t *payload, size_t len, struct st_bytes *ret_bytes)
{
    if (len < 4 || get_word(payload) > ST_OPAQUE_MAX || get_word(payload) > len - 4)
        return -FL_EMESSAGE;
    *ret_bytes = (struct st_bytes){.data = payload + 4, .len = get_word(payload)};
    return 0;
}

/* The header goes in last, when the payload's @end is known. */
static size_t put_head(uint8_t *out, enum st_type type, const uint8_t *end)
{
    size_t size = (size_t)(end - out);
    (void)put_word(put_word(put_word(out, MAGIC), type), (uint32_t)(size - ST_HEADER));
    return size;
}

size_t st_put_plain(uint8_t out[static ST_MESSAGE_MAX], enum st_type type)
{
    return put_head(out, type, out + ST_HEADER);
}

size_t st_put_response(uint8_t out[static ST_MESSAGE_MAX], enum st_code code, const char *text)
{
    uint8_t *at = put_word(out + ST_HEADER, code);
    at = put_opaque(at, text, strnlen(text, RESPONSE_TEXT));
    return put_head(out, ST_RESPONSE, at);
}

size_t st_put_invitation(uint8_t out[static ST_MESSAGE_MAX], const struct st_invitation *invitation)
{
    uint8_t *at = put_opaque(out + ST_HEADER, invitation->from, sizeof(invitation->from));
    at = put_opaque(at, invitation->key, sizeof(invitation->key));
    at = put_opaque(at, invitation->address, invitation->address_len);
    at = put_word(at, invitation->port);
    at = put_word(at, invitation->server);
    return put_head(out, ST_INVITATION, at);
}

const char *st_code_text(enum st_code code)
{
    switch (code) {
    case ST_SUCCESS:
        return "success";
    case ST_NOT_FOUND:
        return "not found";
    case ST_ALREADY_CONNECTED:
        return "already connected";
    case ST_WRONG_TOKEN:
        return "wrong token";
    case ST_UNEXPECTED:
        break;
    }
    return "unexpected message";
}
