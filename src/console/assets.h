/* assets.h - what the console serves to browsers. */
#ifndef FL_CONSOLE_ASSETS_H
#define FL_CONSOLE_ASSETS_H

extern const char assets_page[]; /* HTML */

#endif
