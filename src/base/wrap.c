#include "base/wrap.h"

#include <stdbool.h>
#include <string.h>

static int columns(const char *text, size_t len)
{
    int count = 0;

    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80; /* the first byte of a character */
    return count;
}

void wrap_print(FILE *file, const char *text, int column, int indent)
{
    for (bool first = true; *text; first = false) {
        size_t len = strcspn(text, " ");
        int width = columns(text, len);

        if (!first && column + 1 + width > WRAP_WIDTH)
            column = fprintf(file, "\n%*s", indent, "") - 1;
        else if (!first)
            column += fprintf(file, " ");
        for (size_t i = 0; i < len; i++)
            (void)fputc(text[i] == '\t' ? ' ' : text[i], file);
        column += width;
        text += len + (text[len] == ' ');
    }
    (void)fputc('\n', file);
}
