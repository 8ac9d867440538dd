/* report.h - the proxy's counts: for the console every few seconds, and as one log line on SIGUSR1.
 */
#ifndef FL_PROXY_REPORT_H
#define FL_PROXY_REPORT_H

#include "proxy/proxy.h"
#include "wire/message.h"

/* report_fill - @now on the workers' clock. Any thread. */
void report_fill(const struct proxy *proxy, uint64_t now, fl_Report *ret_report);

/* report_log - every counter that is not zero in one record. */
void report_log(const struct proxy *proxy, uint64_t now);

/* report_memory - resident bytes; 0 when that cannot be read. */
uint64_t report_memory(const struct proxy *proxy);

#endif
