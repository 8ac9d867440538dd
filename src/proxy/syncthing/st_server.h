/* st_server.h - the Syncthing relay of one proxy process: its configuration, TLS and listeners
 * around st_relay.h. main.c's side of it. */
#ifndef FL_PROXY_ST_SERVER_H
#define FL_PROXY_ST_SERVER_H

#include "proxy/proxy_config.h"
#include "proxy/syncthing/st_relay.h"
#include "proxy/upgrade.h"
#include "proxy/worker_uv.h"

struct st_server;

/* st_server_new - out of @config, which was read from @path and must live longer; NULL when it asks
 * for no relay. Returns 0, or a negative code with the line to show in @message. */
int st_server_new(const struct proxy_config *config, const char *path,
                  struct st_server **ret_server, char *message, size_t cap);

/* st_server_open - listen, on each of the @count workers, which do not run yet; on sockets that
 * @upgrade has, else on new ones. Returns 0, or a negative code and in *ret_failed the address;
 * st_server_free() in any case. NULL: nothing to do. */
int st_server_open(struct st_server *server, struct proxy *proxy, struct worker_uv *shells,
                   unsigned count, struct upgrade *upgrade, const char **ret_failed);

/* st_server_adopt - worker number @i goes on with a session of devices that another process had;
 * @image's descriptors are taken. One that may not be here (NULL: none may) is let go. Returns 0,
 * or a negative code, and then the process has to end. Before the workers run. */
int st_server_adopt(struct st_server *server, unsigned i, const struct session_image *image);

/* st_server_announce - log where devices find the relay: its URI. NULL is fine. */
void st_server_announce(const struct st_server *server);

/* st_server_free - after all workers are done, before proxy_done(). NULL is fine. */
void st_server_free(struct st_server *server);

/* st_server_apply - the list of devices that @live has holds from now on. Any thread; NULL is fine.
 */
void st_server_apply(struct st_server *server, const struct proxy_config *live);

#endif
