/* source.h - connections over loopback that come from other addresses than 127.0.0.1, so that a
 * proxy can tell its endpoints apart as it could anywhere else. */
#ifndef FL_BENCH_SOURCE_H
#define FL_BENCH_SOURCE_H

#include "leg/connector.h"

/* source_dialler - for leg_tcp_dial_by() to 127.0.0.1: connections come from @count addresses in
 * turn, number @first and those after it, 200 to a network. The latest call holds for all. */
const struct dialler *source_dialler(unsigned first, unsigned count);

#endif
