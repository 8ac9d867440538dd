/* registry.h - who is registered: control legs by identity. Shared by the workers under one lock,
 * off the data path.
 *
 * The newest registration of an identity wins, since it has proved itself and the old leg may be
 * half dead. More than three such swaps in a minute between different addresses mean two machines
 * with one key: then both are put off for a minute.
 */
#ifndef FL_PROXY_REGISTRY_H
#define FL_PROXY_REGISTRY_H

#include <stddef.h>

#include "identity/party.h"
#include "proxy/conn_ref.h"
#include "wire/close_reason.h"

#define REGISTRY_SWAPS_MAX   3  /* in REGISTRY_SWAP_WINDOW, between different addresses */
#define REGISTRY_SWAP_WINDOW 60 /* seconds */
#define REGISTRY_HOLD        60 /* seconds */

struct registry;

/* registry_new - for at most @max registered endpoints. Returns 0 or -ENOMEM. */
int registry_new(uint32_t max, struct registry **ret_registry);
void registry_free(struct registry *registry); /* drops the references it holds */

/* registry_set_max - from now on; those registered already stay. */
void registry_set_max(struct registry *registry, uint32_t max);

/* registry_add - @ref (a reference is taken) registers as @party from @address ("host:port"). An
 * enrol identity is counted but never found. @caps: HELLO_CAP_… that it offered. Returns
 * CLOSE_DONE, or why not: FLAPPING, FULL, LOCAL. *ret_old is the handle that loses its place, with
 * its reference, or NULL: it is to be closed as superseded (flapping, when that is what is
 * returned). */
enum close_reason registry_add(struct registry *registry, const struct party *party,
                               const char *address, uint32_t caps, struct conn_ref *ref,
                               uint64_t now, struct conn_ref **ret_old);

/* registry_remove - @ref is gone; a no-op for the index when another has its place by now. */
void registry_remove(struct registry *registry, const struct party *party, struct conn_ref *ref);

/* registry_find - a new reference and what it offered, or NULL. */
struct conn_ref *registry_find(struct registry *registry, const struct party *party,
                               uint32_t *ret_caps);

/* registry_count - control legs registered, enrol identities included. */
size_t registry_count(struct registry *registry);

/* registry_sweep - forget what is held no longer. Every few seconds. */
void registry_sweep(struct registry *registry, uint64_t now);

#endif
