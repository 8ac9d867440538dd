/* progress.h - how far a run is: bars on a terminal, now and then a line elsewhere. Goes to stderr.
 */
#ifndef FL_CLI_PROGRESS_H
#define FL_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE 512 /* bytes for one line */

struct progress {
    size_t width;  /* columns of the terminal; 0: none, plain lines */
    size_t height; /* its lines */
    size_t drawn;  /* lines that stand there and are drawn over next time */
    uint64_t last; /* plain lines: when the last was written */
    uint64_t at;   /* speed: time and bytes of the mark from which it is measured */
    uint64_t bytes;
    uint64_t speed; /* bytes per second, smoothed */
};

void progress_init(struct progress *progress);

/* progress_show - the state of @run at @now (microseconds). */
void progress_show(struct progress *progress, const json_t *run, uint64_t now);

/* progress_clear - take the bars away, before something else is printed. */
void progress_clear(struct progress *progress);

/* progress_line - one line on @counters (a run or a flow) named @name in at most @width columns (0:
 * any), with @speed in bytes per second. Pure. Returns @dst. */
char *progress_line(char dst[static PROGRESS_LINE], const char *name, const json_t *counters,
                    uint64_t speed, size_t width);

/* progress_measure - fold @bytes done at @now into the speed. Pure. */
void progress_measure(struct progress *progress, uint64_t bytes, uint64_t now);

/* progress_files - the files on their way in of all @flows, the fastest first: a new array. */
json_t *progress_files(const json_t *flows);

/* progress_file - " 45 %  1.2 GiB of 2.6 GiB  80 MiB/s  …/film.bin" within @width columns. Returns
 * @dst. */
char *progress_file(char dst[static PROGRESS_LINE], const json_t *file, size_t width);

#endif
