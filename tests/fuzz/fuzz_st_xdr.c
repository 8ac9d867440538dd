/* fuzz_st_xdr.c - messages of the Syncthing relay protocol, and device ids, out of any bytes. */
#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "proxy/syncthing/st_device.h"
#include "proxy/syncthing/st_xdr.h"

/* Whatever was taken for a field lies inside the payload. */
static void inside(int rc, const struct st_bytes *bytes, const uint8_t *payload, size_t len)
{
    must(rc == 0 || rc == -FL_EMESSAGE);
    if (rc == 0 && bytes->len > 0) {
        volatile uint8_t last = bytes->data[bytes->len - 1];
        must(bytes->data >= payload && bytes->data + bytes->len <= payload + len);
        (void)last;
    }
}

static void payload(const uint8_t *data, size_t len)
{
    struct st_bytes bytes = {0};
    int rc = st_get_token(data, len, &bytes);
    inside(rc, &bytes, data, len);
    rc = st_get_opaque(data, len, &bytes);
    inside(rc, &bytes, data, len);
    must(rc != 0 || bytes.len <= ST_OPAQUE_MAX);
}

/* An id that is understood is the one that is written. */
static void device(const uint8_t *data, size_t len)
{
    struct st_device parsed, again;
    char text[128], written[ST_DEVICE_TEXT];
    if (len >= sizeof(text))
        len = sizeof(text) - 1;
    memcpy(text, data, len);
    text[len] = '\0';
    if (st_device_parse(text, &parsed))
        return;
    must(st_device_parse(st_device_text(&parsed, written), &again) == 0);
    must(st_device_equal(&parsed, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct st_head head;
    uint8_t *copy;

    device(data, size);
    while (size >= ST_HEADER && st_head_parse(data, &head) == 0) {
        must(head.length <= ST_PAYLOAD_MAX);
        data += ST_HEADER;
        size -= ST_HEADER;
        if (size < head.length)
            break;
        copy = malloc(head.length ? head.length : 1); /* so that a sanitizer sees its end */
        must(copy != NULL);
        memcpy(copy, data, head.length);
        payload(copy, head.length);
        free(copy);
        data += head.length;
        size -= head.length;
    }
    return 0;
}
