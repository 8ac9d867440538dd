#include "tunnel/punch_count.h"

const char *punch_end_name(unsigned end)
{
    static const char *const names[PUNCH_ENDS] = {
#define PUNCH_END(id, number, name, text) [PUNCH_##id] = (name),
#include "punch_end.def"
#undef PUNCH_END
    };

    return end < PUNCH_ENDS ? names[end] : "other";
}
