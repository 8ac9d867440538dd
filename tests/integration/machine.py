"""What a machine may do to a program: a disk that is full, a clock that is set."""

import contextlib
import subprocess

# Calls for the time of day are answered with so many seconds more as the file says at that moment.
SHIFT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void)
{
    FILE *file = fopen(getenv("CLOCK_FILE"), "re");
    long by = 0;
    if (!file || fscanf(file, "%ld", &by) != 1) by = 0;
    if (file) fclose(file);
    return by;
}
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, ts);
    if (!r && id == CLOCK_REALTIME) ts->tv_sec += shift();
    return r;
}
time_t time(time_t *t)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (t) *t = ts.tv_sec;
    return ts.tv_sec;
}
"""


class Clock:
    """One that programs started with @env go by; it may be set while they run."""

    def __init__(self, world):
        library = world.path("clock.so")
        self.file = world.write("clock", "0")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, world.write("clock.c", SHIFT)], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self.file)}

    def set(self, days):
        """So far from the true time."""
        self.file.write_text(str(days * 86400))


@contextlib.contextmanager
def small_disk(folder, size="256k"):
    """A file system of few bytes. It is visible to this test's programs and gone at the end."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
