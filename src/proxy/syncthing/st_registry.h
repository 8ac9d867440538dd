/* st_registry.h - which devices wait for calls, by device id. Shared by the workers under one lock.
 *
 * A device that comes again is not turned away for what may be the corpse of its last connection,
 * nor does a newcomer push out a living one: st_conn.c asks the old one for a sign of life first,
 * and takes its place when there is none.
 */
#ifndef FL_PROXY_ST_REGISTRY_H
#define FL_PROXY_ST_REGISTRY_H

#include "proxy/conn_ref.h"
#include "proxy/syncthing/st_device.h"
#include "wire/close_reason.h"

struct st_registry;

/* st_registry_new - Returns 0 or -ENOMEM. */
int st_registry_new(struct st_registry **ret_registry);
void st_registry_free(struct st_registry *registry);

/* st_registry_add - @ref waits for calls to @device; @max: devices at most. @rival: NULL, or whose
 * place may be taken (it may have gone by now). Returns
 *   CLOSE_DONE        it does; *ret_old is whom it replaced (a reference, the caller's), or NULL;
 *   CLOSE_SUPERSEDED  another than @rival is there: *ret_old, a reference;
 *   CLOSE_FULL, CLOSE_LOCAL. */
enum close_reason st_registry_add(struct st_registry *registry, const struct st_device *device,
                                  struct conn_ref *ref, const struct conn_ref *rival, uint32_t max,
                                  struct conn_ref **ret_old);

/* st_registry_remove - if @ref is the one. */
void st_registry_remove(struct st_registry *registry, const struct st_device *device,
                        const struct conn_ref *ref);

/* st_registry_find - a reference, or NULL. */
struct conn_ref *st_registry_find(struct st_registry *registry, const struct st_device *device);

size_t st_registry_count(struct st_registry *registry);

#endif
