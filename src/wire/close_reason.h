/* close_reason.h - the one table of ends on the relay protocol, spoken by proxies and read by
 * endpoints. */
#ifndef FL_WIRE_CLOSE_REASON_H
#define FL_WIRE_CLOSE_REASON_H

#include <stdint.h>

enum close_blame { BLAME_NOBODY, BLAME_PEER, BLAME_US, BLAME_LIMIT };

enum close_reason {
#define CLOSE_REASON(id, number, blame, name, text) CLOSE_##id = (number),
#include "close_reason.def"
#undef CLOSE_REASON
    CLOSE_REASON_COUNT,
};

/* Names and texts; a number not in the table gives "unknown". */
const char *close_reason_name(uint32_t reason);
const char *close_reason_text(uint32_t reason);
enum close_blame close_reason_blame(uint32_t reason);

/* close_blame_name - "nobody", "peer", "us", "limit". */
const char *close_blame_name(enum close_blame blame);

/* close_reason_of_error - the reason for a negative error code met on a leg (-FL_ECA: AUTHORITY …).
 */
enum close_reason close_reason_of_error(int code);

#endif
