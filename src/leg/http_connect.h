/* http_connect.h - TCP connections through an HTTP proxy, as closed networks have one: CONNECT
 * (RFC 9110 section 9.3.6) with Basic or Digest authentication (RFC 7617, RFC 7616), by libcurl.
 *
 * A library of its own beside the legs, so that programs without it do not carry libcurl.
 */
#ifndef FL_LEG_HTTP_CONNECT_H
#define FL_LEG_HTTP_CONNECT_H

#include "leg/connector.h"

#define HTTP_PROXY_FORM "http://[USER:PASSWORD@]HOST:PORT"

struct http_proxy;

/* http_proxy_new - from a URL of HTTP_PROXY_FORM, with %XX for what would not fit into one. Nothing
 * is dialled. Returns 0, -EINVAL: it has another form, or -ENOMEM. */
int http_proxy_new(const char *url, struct http_proxy **ret_proxy);

/* http_proxy_free - after all that was dialled through it has been connected or cancelled. NULL is
 * fine. */
void http_proxy_free(struct http_proxy *proxy);

/* http_proxy_name - "HOST:PORT", for people. */
const char *http_proxy_name(const struct http_proxy *proxy);

/* http_proxy_dialler - dials through @proxy, whose it is. Besides the codes of connector_done:
 * -FL_EVIA: it cannot be reached or does not answer within 8 s; -FL_EVIAUSER: it wants another user
 * or password; -FL_EVIADENIED: it does not let us go there, or cannot. */
const struct dialler *http_proxy_dialler(const struct http_proxy *proxy);

#endif
