#include "proxy/background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static int ready = -1; /* write end; its close without a byte means that the child has failed */

int background_fork(void)
{
    int ends[2];
    char byte;

    if (pipe2(ends, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        (void)close(ends[0]);
        ready = ends[1];
        return 0;
    }
    (void)close(ends[1]);
    ssize_t n;
    do {
        n = read(ends[0], &byte, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

void background_ready(void)
{
    if (ready < 0)
        return;
    (void)!write(ready, "", 1);
    (void)close(ready);
    ready = -1;
}
