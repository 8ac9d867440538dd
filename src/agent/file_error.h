/* file_error.h - why one entry of a flow could not be moved, in words that are the same everywhere.
 */
#ifndef FL_AGENT_FILE_ERROR_H
#define FL_AGENT_FILE_ERROR_H

/* file_error_code - the short constant word for a negative errno or code of ours ("no space",
 * "denied", …). */
const char *file_error_code(int err);

/* file_error_text - a sentence for people; static storage, thread-local for an errno. */
const char *file_error_text(int err);

#endif
