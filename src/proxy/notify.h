/* notify.h - telling systemd how we are: one datagram to $NOTIFY_SOCKET, by the protocol of
 * sd_notify(3). Without that variable nothing happens. */
#ifndef FL_PROXY_NOTIFY_H
#define FL_PROXY_NOTIFY_H

/* notify_open - before the sandbox closes. */
void notify_open(void);

/* notify_send - lines as in sd_notify(3): "READY=1". Best effort; any thread. */
void notify_send(const char *text);

#endif
