/* descriptors.h - how many files and sockets this process may have open. */
#ifndef FL_BASE_DESCRIPTORS_H
#define FL_BASE_DESCRIPTORS_H

#include <stdint.h>

/* descriptors_raise - as many as we may have: the soft limit becomes the hard one. The former is
 * 1024 in most shells and units, for programs that use select(2); none of ours does. Returns how
 * many that are, 0 when it is not known or more than an int holds. */
uint32_t descriptors_raise(void);

#endif
