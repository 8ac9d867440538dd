/* api_audit.h - what an object's GET route gives besides: its entity tag, the check of If-Match
 * (RFC 9110 13.1), and the audit log's before and after. */
#ifndef FL_CONSOLE_API_AUDIT_H
#define FL_CONSOLE_API_AUDIT_H

#include "console/api.h"

/* audit_tag - set ETag on the answer of a GET, or turn it into 304. */
void audit_tag(struct api_call *call);

/* audit_change - run the handler of @route, which changes something, unless If-Match forbids; and
 * log who did what when it was done. */
void audit_change(struct api_call *call, const struct api_route *route);

/* audit_note - log that who asks did @action ("GET …"), though nothing changed by it. */
void audit_note(struct api_call *call, const char *action);

/* audit_make_tag - the ETag of an answer's @text. Returns 0 or a negative code. */
int audit_make_tag(const char *text, char ret_tag[static API_TAG_TEXT]);

#endif
