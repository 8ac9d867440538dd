/* message.c - bounded decode and encode of protobuf bodies by nanopb.
 *
 * nanopb bounds lengths and counts, but lets pass what our rules forbid: a NUL inside a string (the
 * rest would be invisible to C) and enum values that no code here knows. Both are found by a second
 * walk over the same bytes, after nanopb has accepted them.
 */
#include "wire/message.h"

#include <pb_common.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Enum fields, which a nanopb descriptor does not tell from integers, and their highest value. */
static const struct {
    const pb_msgdesc_t *message;
    uint32_t tag;
    uint64_t max;
} enum_fields[] = {
    {&fl_Party_msg, fl_Party_role_tag, _fl_Role_MAX},
    {&fl_TunnelHello_msg, fl_TunnelHello_purpose_tag, _fl_Purpose_MAX},
    {&fl_EnrolReply_msg, fl_EnrolReply_status_tag, _fl_EnrolStatus_MAX},
    {&fl_FlowAssign_msg, fl_FlowAssign_side_tag, _fl_FlowSide_MAX},
    {&fl_FlowAssign_msg, fl_FlowAssign_action_tag, _fl_FlowAction_MAX},
    {&fl_FlowReport_msg, fl_FlowReport_state_tag, _fl_FlowState_MAX},
    {&fl_FlowHave_msg, fl_FlowHave_state_tag, _fl_FlowState_MAX},
    {&fl_Report_msg, fl_Report_config_state_tag, _fl_ConfigState_MAX},
    {&fl_ConfigResult_msg, fl_ConfigResult_state_tag, _fl_ConfigState_MAX},
    {&fl_Entry_msg, fl_Entry_type_tag, _fl_EntryType_MAX},
};

/* Stands in the table for frames without a protobuf body. */
static const pb_msgdesc_t fl_none_msg;

static const pb_msgdesc_t *const by_type[256] = {
#define FRAME(name, number, message, phases) [number] = &fl_##message##_msg,
#include "frame.def"
#undef FRAME
};

const pb_msgdesc_t *message_for(uint8_t type)
{
    return by_type[type] == &fl_none_msg ? NULL : by_type[type];
}

static bool enum_ok(const pb_msgdesc_t *message, uint32_t tag, uint64_t value)
{
    for (size_t i = 0; i < ARRAY_SIZE(enum_fields); i++) {
        if (enum_fields[i].message == message && enum_fields[i].tag == tag)
            return value <= enum_fields[i].max;
    }
    return true;
}

static bool check_fields(pb_istream_t *stream, const pb_msgdesc_t *message);

/* check_inner - the content of a length-delimited field. Recursion is as deep as the schema nests
 * messages, which is fixed (no message contains itself), not as deep as the peer wishes. */
static bool check_inner(pb_istream_t *stream, const pb_field_iter_t *field)
{
    pb_istream_t inner;
    bool ok = true;

    if (!pb_make_string_substream(stream, &inner))
        return false;
    if (PB_LTYPE(field->type) == PB_LTYPE_STRING)
        ok = inner.bytes_left == 0 || !memchr(inner.state, '\0', inner.bytes_left);
    else if (PB_LTYPE_IS_SUBMSG(field->type))
        ok = check_fields(&inner, field->submsg_desc);
    return pb_close_string_substream(stream, &inner) && ok;
}

static bool check_fields(pb_istream_t *stream, const pb_msgdesc_t *message)
{
    pb_field_iter_t field;
    pb_wire_type_t wire_type;
    uint32_t tag;
    bool eof;
    bool any = pb_field_iter_begin_const(&field, message, NULL);

    while (pb_decode_tag(stream, &wire_type, &tag, &eof)) {
        bool known = any && pb_field_iter_find(&field, tag);
        uint64_t value;

        if (known && wire_type == PB_WT_STRING) {
            if (!check_inner(stream, &field))
                return false;
        } else if (known && wire_type == PB_WT_VARINT) {
            if (!pb_decode_varint(stream, &value) || !enum_ok(message, tag, value))
                return false;
        } else if (!pb_skip_field(stream, wire_type)) {
            return false;
        }
    }
    return eof;
}

static int decode(const pb_msgdesc_t *fields, const uint8_t *src, size_t len, void *dst)
{
    pb_istream_t stream = pb_istream_from_buffer(src, len);
    pb_istream_t again = stream;

    if (!pb_decode(&stream, fields, dst) || !check_fields(&again, fields))
        return -FL_EMESSAGE;
    return 0;
}

int message_decode(const pb_msgdesc_t *fields, const struct frame *frame, void *dst)
{
    return decode(fields, frame->body, frame->len, dst);
}

int message_decode_delimited(const pb_msgdesc_t *fields, const uint8_t *src, size_t len, void *dst)
{
    pb_istream_t stream = pb_istream_from_buffer(src, len);
    uint32_t size;
    size_t head;

    if (!pb_decode_varint32(&stream, &size) || size > stream.bytes_left || size > FRAME_BODY_MAX)
        return -FL_EMESSAGE;
    head = len - stream.bytes_left;
    if (decode(fields, src + head, size, dst))
        return -FL_EMESSAGE;
    return (int)(head + size);
}

/* why_not - what kept @src from being encoded: its own content, or the room. */
static int why_not(const pb_msgdesc_t *fields, const void *src)
{
    size_t size;

    if (!pb_get_encoded_size(&size, fields, src) || size > FRAME_BODY_MAX)
        return -FL_EBUG;
    return -ENOBUFS;
}

int message_encode(uint8_t type, const pb_msgdesc_t *fields, const void *src, uint8_t *dst,
                   size_t cap)
{
    pb_ostream_t stream;
    size_t room = cap < FRAME_MAX ? cap : FRAME_MAX;

    if (room < FRAME_HEADER)
        return -ENOBUFS;
    stream = pb_ostream_from_buffer(dst + FRAME_HEADER, room - FRAME_HEADER);
    if (!pb_encode(&stream, fields, src))
        return why_not(fields, src);
    frame_put(dst, type, 0, stream.bytes_written);
    return (int)(FRAME_HEADER + stream.bytes_written);
}

int message_encode_delimited(const pb_msgdesc_t *fields, const void *src, uint8_t *dst, size_t cap)
{
    pb_ostream_t stream = pb_ostream_from_buffer(dst, cap < FRAME_MAX ? cap : FRAME_MAX);

    if (!pb_encode_ex(&stream, fields, src, PB_ENCODE_DELIMITED))
        return why_not(fields, src);
    return (int)stream.bytes_written;
}
