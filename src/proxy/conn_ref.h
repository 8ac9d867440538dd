/* conn_ref.h - a shared handle on a conn of another thread, or on something like it (a struct
 * st_conn): it outlives the conn, whose thread clears it. */
#ifndef FL_PROXY_CONN_REF_H
#define FL_PROXY_CONN_REF_H

struct worker;
struct conn_ref;

/* conn_ref_new - with one reference; @worker is the thread on which @conn lives until it is
 * cleared. NULL without memory. */
struct conn_ref *conn_ref_new(void *conn, struct worker *worker);
struct conn_ref *conn_ref_ref(struct conn_ref *ref);
void conn_ref_unref(struct conn_ref *ref); /* NULL is fine */

struct worker *conn_ref_worker(const struct conn_ref *ref);

/* conn_ref_conn - NULL when it is closed. conn_ref_clear - it closes now. Both on its worker's
 * thread only. */
void *conn_ref_conn(const struct conn_ref *ref);
void conn_ref_clear(struct conn_ref *ref);

#endif
