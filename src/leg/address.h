/* address.h - socket addresses as text for people and logs. */
#ifndef FL_LEG_ADDRESS_H
#define FL_LEG_ADDRESS_H

#include <sys/socket.h>

#include "leg/leg.h"

/* address_text - "1.2.3.4:80" or "[2001:db8::1]:80" into @buf; an IPv4-mapped IPv6 address is shown
 * as the IPv4 address it is, since that is how its owner knows it. "?" for another family. Returns
 * @buf. */
char *address_text(const struct sockaddr *address, char buf[static LEG_ADDRESS_MAX]);

#endif
