/* st_page.h - one page in plain HTTP: GET and HEAD of one path, one answer a connection. */
#ifndef FL_PROXY_ST_PAGE_H
#define FL_PROXY_ST_PAGE_H

#include <uv.h>

/* st_page_make - the body of an answer: JSON to free(), or NULL. */
typedef char *st_page_make(void *ctx);

struct st_page;

/* st_page_new - listen on @fd, which is bound there and the page's from now on, or if it is -1 at
 * @address ("HOST:PORT"), on @loop, and answer GET @path by @make. Returns 0 or a negative code. */
int st_page_new(uv_loop_t *loop, const char *address, int fd, const char *path, st_page_make *make,
                void *ctx, struct st_page **ret_page);

/* st_page_fd - the listening socket, which stays its own. */
int st_page_fd(const struct st_page *page);

/* st_page_address - as bound. */
const char *st_page_address(const struct st_page *page);

/* st_page_tick - deadlines; several times a second. */
void st_page_tick(struct st_page *page, uint64_t now);

/* st_page_close - no more visitors; freed. NULL is fine. */
void st_page_close(struct st_page *page);

#endif
