/* sandbox.h - what the kernel refuses the proxy once it has started.
 *
 * Two layers that do not depend on each other. Landlock leaves no path and no TCP connect or bind;
 * seccomp leaves the calls that moving bytes between open sockets needs. Capabilities, core files
 * and new privileges are gone as well. Each call is in one of three classes (sandbox.c):
 *
 *    allowed     what a running proxy was seen to need
 *    killed      what it never does: dial, listen, write to a path, start anything, look into
 *                others; only somebody else's code would, so the process ends
 *    unlisted    refused and counted: a newer C library may try a call that nobody thought of,
 *                and must not bring down a proxy by it
 */
#ifndef FL_PROXY_SANDBOX_H
#define FL_PROXY_SANDBOX_H

#include <stdint.h>

#define SANDBOX_GAPS 256

/* What of it this kernel does not have, for people; empty: nothing is missing. */
struct sandbox_gaps {
    char text[SANDBOX_GAPS];
};

/* sandbox_unsupported - why this build cannot have one (sanitizers open files, start threads and
 * trace themselves), or NULL. The calls below must not be used then. */
const char *sandbox_unsupported(void);

/* sandbox_harden - no core file, no debugger of the same user, no new privileges. First thing in
 * main(), before keys are read. */
void sandbox_harden(void);

/* sandbox_no_rings - io_uring is not there (ENOSYS), for us and all that we start. Before the first
 * loop: libuv 1.45 and newer makes a ring for each, if it can, and enters it later, when the seal
 * ends the process for that; and a ring made before is a way around the seal. Returns 0 or a
 * negative errno: this kernel has no filter, and no seal either. */
int sandbox_no_rings(void);

/* sandbox_enter - Landlock, and all capabilities given up. Both are of a thread and of those that
 * it starts later, so this comes before the first one and after everything was bound and opened.
 * Adds what failed to @gaps. */
void sandbox_enter(struct sandbox_gaps *gaps);

/* sandbox_seal - seccomp, for all threads at once; no more can be started. SIGSYS must not be
 * blocked in any of them: a refusal that is counted comes as that signal. Adds what failed to
 * @gaps. */
void sandbox_seal(struct sandbox_gaps *gaps);

/* sandbox_enter_reader, sandbox_seal_reader - the same for a process that besides opens files for
 * reading, any path; nothing else. It has one thread. */
void sandbox_enter_reader(struct sandbox_gaps *gaps);
void sandbox_seal_reader(struct sandbox_gaps *gaps);

/* sandbox_denied - how often an unlisted call was refused, and the number of the latest. */
uint64_t sandbox_denied(int *ret_call);

#endif
