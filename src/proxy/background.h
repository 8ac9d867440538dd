/* background.h - a start that returns when it has succeeded: the caller's process waits until its
 * child is the proxy, and tells by its exit status whether it is. For systemd's ExecReload. */
#ifndef FL_PROXY_BACKGROUND_H
#define FL_PROXY_BACKGROUND_H

/* background_fork - before anything is opened and any thread runs. Returns 0 in the child, which
 * goes on; the parent ends within. A negative errno when there is no child. */
int background_fork(void);

/* background_ready - the child has made it: the parent ends well. Without background_fork() nothing
 * happens. */
void background_ready(void);

#endif
