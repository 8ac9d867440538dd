/* fuzz_handover.c - datagrams to a process that may hand over, and to one that takes over: what is
 * accepted has fields that fit together, and is the same after a way there and back. */
#include "fuzz.h"

#include <string.h>

#include "proxy/handover.h"

static void check_flow(const fl_HandoverFlow *flow)
{
    must(flow->held <= FRAME_BODY_MAX && !(flow->held && flow->piped));
    must(flow->eof || (!flow->passed && !flow->ended));
    must(!flow->passed || (flow->held == 0 && flow->piped == 0));
}

static void check(const struct handover_message *message, unsigned fds)
{
    switch (message->type) {
    case HANDOVER_SESSION:
        must(message->session.sides_count == 2);
        must(fds == 2 + 2 * handover_pipes(&message->session) && fds <= HANDOVER_FDS);
        check_flow(&message->session.sides[0].flow);
        check_flow(&message->session.sides[1].flow);
        break;
    case HANDOVER_HELD:
        must(message->held.side < 2 && message->held.len > 0);
        break;
    case HANDOVER_SOCKET:
        must(fds == 1 && memchr(message->socket.name, '\0', sizeof(message->socket.name)));
        break;
    default:
        must(fds == 0);
    }
}

/* The first byte says how many descriptors came along. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct handover_message message, again;
    uint8_t bytes[FRAME_MAX];

    if (size == 0 || size > FRAME_MAX)
        return 0;
    unsigned fds = data[0] % (HANDOVER_FDS + 2);
    if (handover_decode(data + 1, size - 1, fds, &message))
        return 0;
    check(&message, fds);
    if (message.type == HANDOVER_HELD)
        return 0;
    int length = handover_encode(message.type, &message.session, bytes, sizeof(bytes));
    must(length > 0 && handover_decode(bytes, (size_t)length, fds, &again) == 0);
    check(&again, fds);
    return 0;
}
