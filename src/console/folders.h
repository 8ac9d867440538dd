/* folders.h - looks into agents' folders that are under way: a question each, answered, refused or
 * too late. */
#ifndef FL_CONSOLE_FOLDERS_H
#define FL_CONSOLE_FOLDERS_H

#include "base/id.h"
#include "console/control.h"

#define FOLDERS_WAIT_SECONDS 10
#define FOLDERS_MAX          64 /* at once */
#define FOLDERS_EACH         4  /* of one agent, as it takes no more */

struct folders;
struct folder_ask;

/* folder_answer - @answer, or NULL with @why: the agent went away, or says nothing. */
typedef void folder_answer(void *ctx, const fl_FolderAnswer *answer, const char *why);

int folders_new(struct folders **ret_folders);
void folders_free(struct folders *folders); /* open questions are answered with NULL first */

/* folders_ask - what is in @path at the agent of @control, after the name @after. @fn is called
 * once, later; until then folder_ask_drop() forgets it. Returns 0, -FL_EFULL, or what
 * control_send() says. */
int folders_ask(struct folders *folders, struct control *control, const char *path,
                const char *after, uint64_t now, folder_answer *fn, void *ctx,
                struct folder_ask **ret_ask);
void folder_ask_drop(struct folders *folders, struct folder_ask *ask);

/* folders_take - FOLDER_ANSWER came from @agent. Returns 0 or a negative code: not well-formed. One
 * that nobody waits for is nothing. */
int folders_take(struct folders *folders, const struct fl_id *agent, const struct frame *frame);

/* folders_lost - @agent is gone. folders_tick - what is too late. */
void folders_lost(struct folders *folders, const struct fl_id *agent);
void folders_tick(struct folders *folders, uint64_t now);

#endif
