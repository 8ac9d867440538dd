/* test_st_xdr.c - the Syncthing relay protocol on the wire. The vectors were taken from Debian's
 * strelaysrv 1.19.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "proxy/syncthing/st_xdr.h"

/* Bytes from hex digits; blanks are passed over. */
static size_t unhex(const char *text, uint8_t *out)
{
    size_t n = 0;
    for (; *text; text++) {
        unsigned byte;
        if (*text == ' ')
            continue;
        assert_int_equal(sscanf(text, "%2x", &byte), 1);
        out[n++] = (uint8_t)byte;
        text++;
    }
    return n;
}

static void same(const char *hex, const uint8_t *got, size_t len)
{
    uint8_t want[256];
    size_t n = unhex(hex, want);
    assert_int_equal(len, n);
    assert_memory_equal(got, want, n);
}

static void golden_answers(void **state)
{
    static const struct {
        enum st_code code;
        const char *hex;
    } vectors[] = {
        {ST_SUCCESS, "9e79bc40 00000004 00000010 00000000 00000007 73756363657373 00"},
        {ST_NOT_FOUND, "9e79bc40 00000004 00000014 00000001 00000009 6e6f7420666f756e64 000000"},
        {ST_ALREADY_CONNECTED, "9e79bc40 00000004 0000001c 00000002 00000011 "
                               "616c726561647920636f6e6e6563746564 000000"},
        {ST_UNEXPECTED, "9e79bc40 00000004 0000001c 00000064 00000012 "
                        "756e6578706563746564206d657373616765 0000"},
    };
    uint8_t out[ST_MESSAGE_MAX];

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        same(vectors[i].hex, out,
             st_put_response(out, vectors[i].code, st_code_text(vectors[i].code)));
    same("9e79bc40 00000001 00000000", out, st_put_plain(out, ST_PONG));
    same("9e79bc40 00000007 00000000", out, st_put_plain(out, ST_RELAY_FULL));
}

static void golden_invitation(void **state)
{
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    struct st_invitation invitation = {.address_len = 16, .port = 0x989b};
    uint8_t out[ST_MESSAGE_MAX];
    char hex[512];

    memset(invitation.from, 0xab, sizeof(invitation.from));
    memset(invitation.key, 0xcd, sizeof(invitation.key));
    memcpy(invitation.address, mapped, sizeof(mapped));
    (void)snprintf(hex, sizeof(hex),
                   "9e79bc40 00000006 00000064 00000020 %1$s%1$s%1$s%1$s 00000020 "
                   "%2$s%2$s%2$s%2$s 00000010 00000000000000000000ffff7f000001 0000989b 00000000",
                   "abababababababab", "cdcdcdcdcdcdcdcd");
    same(hex, out, st_put_invitation(out, &invitation));
    invitation.address_len = 0;
    invitation.server = 1;
    size_t size = st_put_invitation(out, &invitation);
    assert_int_equal(size, ST_HEADER + 36 + 36 + 4 + 4 + 4);
    same("00000000 0000989b 00000001", out + size - 12, 12);
}

static void heads(void **state)
{
    static const struct {
        const char *hex;
        int rc;
    } vectors[] = {
        {"9e79bc40 00000002 00000000", 0},          {"9e79bc40 00000002 00000400", 0},
        {"9e79bc40 00000002 00000401", -FL_EFRAME}, {"9e79bc40 00000002 ffffffff", -FL_EFRAME},
        {"9e79bc41 00000002 00000000", -FL_EFRAME}, {"474554202f20485454502f31", -FL_EFRAME},
    };
    struct st_head head;
    uint8_t in[64];

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        assert_int_equal(unhex(vectors[i].hex, in), ST_HEADER);
        assert_int_equal(st_head_parse(in, &head), vectors[i].rc);
    }
    (void)unhex("9e79bc40 fffffffe 00000010", in);
    assert_int_equal(st_head_parse(in, &head), 0);
    assert_int_equal(head.type, -2);
    assert_int_equal(head.length, 16);
}

static void tokens(void **state)
{
    struct st_bytes token;
    uint8_t in[64];
    size_t n = unhex("00000003 616263 00", in);

    assert_int_equal(st_get_token(in, 0, &token), 0);
    assert_int_equal(token.len, 0);
    assert_int_equal(st_get_token(in, n, &token), 0);
    assert_int_equal(token.len, 3);
    assert_memory_equal(token.data, "abc", 3);
    assert_int_equal(st_get_token(in, n - 1, &token), 0); /* padding does not matter */
    assert_int_equal(st_get_token(in, n - 2, &token), -FL_EMESSAGE);
    assert_int_equal(st_get_token(in, 3, &token), -FL_EMESSAGE);
    (void)unhex("80000000 61626300", in);
    assert_int_equal(st_get_token(in, 8, &token), -FL_EMESSAGE);
    (void)unhex("ffffffff 61626300", in);
    assert_int_equal(st_get_token(in, 8, &token), -FL_EMESSAGE);
}

static void opaques(void **state)
{
    struct st_bytes bytes;
    uint8_t in[64] = {0, 0, 0, 32};

    assert_int_equal(st_get_opaque(in, 36, &bytes), 0);
    assert_int_equal(bytes.len, 32);
    assert_ptr_equal(bytes.data, in + 4);
    assert_int_equal(st_get_opaque(in, 48, &bytes), 0); /* what follows does not matter */
    assert_int_equal(st_get_opaque(in, 35, &bytes), -FL_EMESSAGE);
    in[3] = 33;
    assert_int_equal(st_get_opaque(in, 64, &bytes), -FL_EMESSAGE);
    in[3] = 5;
    assert_int_equal(st_get_opaque(in, 9, &bytes), 0);
    assert_int_equal(bytes.len, 5);
    assert_int_equal(st_get_opaque(in, 0, &bytes), -FL_EMESSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_answers), cmocka_unit_test(golden_invitation),
        cmocka_unit_test(heads),          cmocka_unit_test(tokens),
        cmocka_unit_test(opaques),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
