#include "proxy/conn_ref.h"

#include <stdatomic.h>
#include <stdlib.h>

struct conn_ref {
    atomic_uint refs;
    struct worker *worker; /* constant */
    void *conn;            /* of @worker's thread */
};

struct conn_ref *conn_ref_new(void *conn, struct worker *worker)
{
    struct conn_ref *ref = malloc(sizeof(*ref));
    if (!ref)
        return NULL;
    atomic_init(&ref->refs, 1);
    ref->worker = worker;
    ref->conn = conn;
    return ref;
}

struct conn_ref *conn_ref_ref(struct conn_ref *ref)
{
    atomic_fetch_add_explicit(&ref->refs, 1, memory_order_relaxed);
    return ref;
}

void conn_ref_unref(struct conn_ref *ref)
{
    if (ref && atomic_fetch_sub_explicit(&ref->refs, 1, memory_order_acq_rel) == 1)
        free(ref);
}

struct worker *conn_ref_worker(const struct conn_ref *ref)
{
    return ref->worker;
}

void *conn_ref_conn(const struct conn_ref *ref)
{
    return ref->conn;
}

void conn_ref_clear(struct conn_ref *ref)
{
    ref->conn = NULL;
}
