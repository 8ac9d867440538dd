/* wrap.h - text for people in lines that fit a terminal. */
#ifndef FL_BASE_WRAP_H
#define FL_BASE_WRAP_H

#include <stdio.h>

#define WRAP_WIDTH 79 /* columns */

/* wrap_print - the words of @text (UTF-8, one blank between two; a tab is a blank within one) to
 * @file, in whose line at hand
 * @column columns are taken; further lines begin with @indent blanks. A newline ends the last. */
void wrap_print(FILE *file, const char *text, int column, int indent);

#endif
