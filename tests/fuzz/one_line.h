/* one_line.h - what the message of a refused configuration must be. */
#ifndef FL_TESTS_FUZZ_ONE_LINE_H
#define FL_TESTS_FUZZ_ONE_LINE_H

#include <string.h>

#include "fuzz.h"

static inline void must_be_one_line(const char *message, size_t cap, const char *name)
{
    size_t len = strnlen(message, cap);

    must(len > 0 && len < cap);
    must(strncmp(message, name, strlen(name)) == 0);
    for (size_t i = 0; i < len; i++)
        must((unsigned char)message[i] >= 0x20 && message[i] != 0x7f);
}

#endif
