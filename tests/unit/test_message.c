/* test_message.c - bodies go round, and nothing over a maximum or outside the rules gets in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "wire/message.h"

static uint8_t bytes[FRAME_MAX];

static int decode(const pb_msgdesc_t *fields, const void *body, size_t len, void *dst)
{
    struct frame frame = {.len = (uint16_t)len, .body = body};

    return message_decode(fields, &frame, dst);
}

static void bodies_go_round(void **state)
{
    fl_Invite in = {.session = "0123456789abcde", .has_from = true, .expires = 30};
    fl_Invite out;
    struct frame frame;
    int n;

    in.from.role = fl_Role_ROLE_CONSOLE;
    memset(in.key, 0xab, sizeof(in.key));
    n = message_encode(FRAME_INVITE, &fl_Invite_msg, &in, bytes, sizeof(bytes));
    assert_true(n > FRAME_HEADER);
    assert_int_equal(frame_parse(bytes, (size_t)n, &frame), n);
    assert_int_equal(frame.type, FRAME_INVITE);
    memset(&out, 0x5a, sizeof(out));
    assert_int_equal(message_decode(&fl_Invite_msg, &frame, &out), 0);
    assert_memory_equal(out.session, in.session, 16);
    assert_memory_equal(out.key, in.key, 32);
    assert_int_equal(out.from.role, fl_Role_ROLE_CONSOLE);
    assert_int_equal(out.expires, 30);
}

static void decode_clears_first(void **state)
{
    fl_Status out;

    memset(&out, 0x5a, sizeof(out));
    assert_int_equal(decode(&fl_Status_msg, "", 0, &out), 0);
    assert_int_equal(out.code, 0);
    assert_string_equal(out.text, "");
}

static void room_is_respected(void **state)
{
    fl_Ping ping = {.nonce = 7};

    assert_int_equal(message_encode(FRAME_PING, &fl_Ping_msg, &ping, bytes, 13), 13);
    assert_int_equal(message_encode(FRAME_PING, &fl_Ping_msg, &ping, bytes, 12), -ENOBUFS);
    assert_int_equal(message_encode(FRAME_PING, &fl_Ping_msg, &ping, bytes, 3), -ENOBUFS);
    assert_int_equal(message_encode_delimited(&fl_Ping_msg, &ping, bytes, 10), 10);
    assert_int_equal(message_encode_delimited(&fl_Ping_msg, &ping, bytes, 9), -ENOBUFS);
}

static void own_maxima_are_kept(void **state)
{
    fl_Status status = {.code = 1};
    fl_Denied denied = {.ids_count = 257};

    memset(status.text, 'x', sizeof(status.text)); /* no NUL */
    assert_int_equal(message_encode(FRAME_STATUS, &fl_Status_msg, &status, bytes, FRAME_MAX),
                     -FL_EBUG);
    assert_int_equal(message_encode(FRAME_DENIED, &fl_Denied_msg, &denied, bytes, FRAME_MAX),
                     -FL_EBUG);
}

static void peer_maxima_are_kept(void **state)
{
    uint8_t body[400] = {0x12, 0x80, 0x01}; /* Status.text, 128 bytes: one too many with its NUL */
    fl_Status status;
    fl_Join join;

    memset(body + 3, 'x', 128);
    assert_int_equal(decode(&fl_Status_msg, body, 131, &status), -FL_EMESSAGE);
    body[1] = 0xff; /* 127 bytes fit */
    body[2] = 0x00;
    assert_int_equal(decode(&fl_Status_msg, body, 130, &status), 0);
    assert_int_equal(strlen(status.text), 127);
    /* Fixed length means exactly that. */
    assert_int_equal(decode(&fl_Join_msg,
                            "\x0a\x0f"
                            "0123456789abcde",
                            17, &join),
                     -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Join_msg,
                            "\x0a\x11"
                            "0123456789abcdefg",
                            19, &join),
                     -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Join_msg,
                            "\x0a\x10"
                            "0123456789abcdef",
                            18, &join),
                     0);
}

static void too_many_entries_are_refused(void **state)
{
    static uint8_t body[257 * 18];
    static fl_Denied denied;

    for (size_t i = 0; i < 257; i++) {
        body[i * 18] = 0x22; /* Denied.ids */
        body[i * 18 + 1] = 16;
    }
    assert_int_equal(decode(&fl_Denied_msg, body, 256 * 18, &denied), 0);
    assert_int_equal(denied.ids_count, 256);
    assert_int_equal(decode(&fl_Denied_msg, body, 257 * 18, &denied), -FL_EMESSAGE);
}

static void truncated_bodies_are_refused(void **state)
{
    fl_Status status;
    fl_Ping ping;

    assert_int_equal(decode(&fl_Status_msg, "\x08", 1, &status), -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Status_msg,
                            "\x12\x05"
                            "abc",
                            5, &status),
                     -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Ping_msg, "\x09\x01\x02", 3, &ping), -FL_EMESSAGE);
    /* A length of 4 GiB, a varint that never ends, field number 0. */
    assert_int_equal(decode(&fl_Status_msg,
                            "\x12\xff\xff\xff\xff\x0f"
                            "a",
                            7, &status),
                     -FL_EMESSAGE);
    assert_int_equal(
        decode(&fl_Status_msg, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, &status),
        -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Status_msg, "\x00\x01", 2, &status), -FL_EMESSAGE);
}

static void nul_in_a_string_is_refused(void **state)
{
    fl_Status status;
    fl_AgentHello hello;

    assert_int_equal(decode(&fl_Status_msg,
                            "\x12\x03"
                            "a\0b",
                            5, &status),
                     -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Status_msg,
                            "\x12\x02"
                            "a\0",
                            4, &status),
                     -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Status_msg,
                            "\x12\x03"
                            "a/b",
                            5, &status),
                     0);
    /* In a repeated string, and after a harmless first one. */
    assert_int_equal(decode(&fl_AgentHello_msg,
                            "\x12\x01"
                            "a\x12\x02\0b",
                            7, &hello),
                     -FL_EMESSAGE);
}

static void nul_in_bytes_is_data(void **state)
{
    static fl_FlowError error;

    assert_int_equal(decode(&fl_FlowError_msg,
                            "\x1a\x03"
                            "a\0b",
                            5, &error),
                     0);
    assert_int_equal(error.name.size, 3);
}

static void unknown_enum_values_are_refused(void **state)
{
    fl_Party party;
    fl_Connect request;
    fl_Entry entry;
    static fl_FlowAssign assign;

    assert_int_equal(decode(&fl_Party_msg, "\x08\x04", 2, &party), 0);
    assert_int_equal(decode(&fl_Party_msg, "\x08\x05", 2, &party), -FL_EMESSAGE);
    assert_int_equal(
        decode(&fl_Party_msg, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, &party),
        -FL_EMESSAGE);
    /* Given twice, the last would win and hide the first. */
    assert_int_equal(decode(&fl_Party_msg, "\x08\x09\x08\x01", 4, &party), -FL_EMESSAGE);
    /* Inside a submessage. */
    assert_int_equal(decode(&fl_Connect_msg, "\x12\x02\x08\x01", 4, &request), 0);
    assert_int_equal(decode(&fl_Connect_msg, "\x12\x02\x08\x63", 4, &request), -FL_EMESSAGE);
    assert_int_equal(decode(&fl_Entry_msg, "\x10\x04", 2, &entry), -FL_EMESSAGE);
    assert_int_equal(decode(&fl_FlowAssign_msg, "\x28\x03", 2, &assign), -FL_EMESSAGE);
    assert_int_equal(decode(&fl_FlowAssign_msg, "\x30\x05", 2, &assign), -FL_EMESSAGE);
}

static void fields_of_a_later_version_are_skipped(void **state)
{
    fl_Status status;

    assert_int_equal(decode(&fl_Status_msg, "\xa2\x06\x03xyz\x08\x05", 8, &status), 0);
    assert_int_equal(status.code, 5);
}

static void delimited_messages_follow_each_other(void **state)
{
    fl_Party in = {.role = fl_Role_ROLE_AGENT}, out;
    int first, second;

    memset(in.id, 1, sizeof(in.id));
    first = message_encode_delimited(&fl_Party_msg, &in, bytes, sizeof(bytes));
    in.role = fl_Role_ROLE_CONSOLE;
    second = message_encode_delimited(&fl_Party_msg, &in, bytes + first, 100);
    assert_int_equal(message_decode_delimited(&fl_Party_msg, bytes, (size_t)(first + second), &out),
                     first);
    assert_int_equal(out.role, fl_Role_ROLE_AGENT);
    assert_int_equal(message_decode_delimited(&fl_Party_msg, bytes + first, (size_t)second, &out),
                     second);
    assert_int_equal(out.role, fl_Role_ROLE_CONSOLE);
    for (size_t n = 0; n < (size_t)second; n++)
        assert_int_equal(message_decode_delimited(&fl_Party_msg, bytes + first, n, &out),
                         -FL_EMESSAGE);
    assert_int_equal(
        message_decode_delimited(&fl_Party_msg, (const uint8_t *)"\xff\xff\xff\xff\x0f", 5, &out),
        -FL_EMESSAGE);
}

/* The right descriptor for each type; and the largest messages, by their declared maxima, fit a
 * frame. */
static void descriptors_follow_the_table(void **state)
{
    assert_ptr_equal(message_for(FRAME_HELLO_ACK), &fl_Hello_msg);
    assert_ptr_equal(message_for(FRAME_FLOW_REPORT), &fl_FlowReport_msg);
    assert_null(message_for(FRAME_DATA));
    assert_null(message_for(FRAME_BLOCK));
    assert_null(message_for(0x00));
    assert_null(message_for(0xff));
    assert_true(fl_ProxyList_size <= FRAME_BODY_MAX);
    assert_true(fl_FlowAssign_size <= FRAME_BODY_MAX);
    assert_true(fl_DeniedIds_size <= FRAME_BODY_MAX);
    assert_true(fl_Hashes_size <= FRAME_BODY_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_go_round),
        cmocka_unit_test(decode_clears_first),
        cmocka_unit_test(room_is_respected),
        cmocka_unit_test(own_maxima_are_kept),
        cmocka_unit_test(peer_maxima_are_kept),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(truncated_bodies_are_refused),
        cmocka_unit_test(nul_in_a_string_is_refused),
        cmocka_unit_test(nul_in_bytes_is_data),
        cmocka_unit_test(unknown_enum_values_are_refused),
        cmocka_unit_test(fields_of_a_later_version_are_skipped),
        cmocka_unit_test(delimited_messages_follow_each_other),
        cmocka_unit_test(descriptors_follow_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
