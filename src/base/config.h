/* config.h - JSON configuration files by tables of keys.
 *
 * One table per file feeds the parser, `--help`, the man page and docs. What is wrong is told once:
 * file, line, the offending text, what was expected, and for a misspelt key the nearest known one.
 * The result is a plain struct of the program's own, immutable after load.
 */
#ifndef FL_BASE_CONFIG_H
#define FL_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
    CONFIG_STRING,  /* char *; owned by the struct */
    CONFIG_BOOL,    /* bool */
    CONFIG_INT,     /* int64_t, min..max */
    CONFIG_ENUM,    /* int: index into @choices */
    CONFIG_STRINGS, /* struct config_strings; one string is taken as a list of one */
    CONFIG_RATE,    /* uint64_t bytes per second, 0 = no limit: number of KiB/s, as the original's
                       files */
    CONFIG_GROUP,   /* an object with keys of its own: @keys; @offset is added to theirs */
};

enum config_flags {
    CONFIG_REQUIRED = 1, /* an error when missing */
    CONFIG_SECRET = 2,   /* its value is never shown, not in errors either */
    CONFIG_ADDRESS = 4,  /* string(s) of the form HOST:PORT, [v6]:PORT or :PORT */
    CONFIG_BASE64 = 8,   /* string: base64 text, white space allowed */
    CONFIG_PEM = 16,  /* string: PEM text, or the path of a file of it (no "-----"; relative to the
                         configuration file's folder), which the text then replaces */
    CONFIG_LIVE = 32, /* config_patch() may change it while the program runs; a group and its keys
                         each say so. Never with CONFIG_PEM or CONFIG_SECRET */
};

struct config_strings {
    char **item; /* owned */
    size_t count;
};

struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;                 /* into the program's struct */
    unsigned flags;                /* enum config_flags */
    int64_t min, max;              /* CONFIG_INT, CONFIG_RATE: range; CONFIG_STRINGS: count */
    const char *const *choices;    /* CONFIG_ENUM: NULL-terminated */
    const struct config_key *keys; /* CONFIG_GROUP: NULL-name-terminated */
    const char *help;              /* one line */
};

/* config_load - read @path into @dst, which holds the defaults beforehand (strings from malloc, or
 * NULL). Returns 0; or -FL_ECONFIG, or a negative errno when the file cannot be read, and then
 * @message (capacity @cap) has the one line to show. On failure @dst may be partly filled:
 * config_done() it. */
int config_load(const char *path, const struct config_key *keys, void *dst, char *message,
                size_t cap);

/* config_parse - the same from memory; @name stands for the path in messages. For tests and
 * fuzzers. */
int config_parse(const char *name, const char *text, size_t len, const struct config_key *keys,
                 void *dst, char *message, size_t cap);

/* config_patch - change @dst, which holds valid values, by the JSON object @text: only keys with
 * CONFIG_LIVE are taken, and what is left out stays. The text may come from a peer. Returns 0; else
 * -FL_ECONFIG or -ENOMEM with the one line in @message, without file and line ("\"group.key\": what
 * is wrong"), and @dst partly changed. */
int config_patch(const char *text, size_t len, const struct config_key *keys, void *dst,
                 char *message, size_t cap);

/* config_copy_live - the values of all keys with CONFIG_LIVE from @src to @dst, which must have
 * none there yet; config_done() it. Returns 0 or -ENOMEM. */
int config_copy_live(const struct config_key *keys, const void *src, void *dst);

/* config_live_json - the values of all keys with CONFIG_LIVE as JSON, in the shape of a patch.
 * Malloc'd; NULL without memory. */
char *config_live_json(const struct config_key *keys, const void *src);

/* config_blame - the one line for a value that is wrong in a way that a table cannot say: as
 * config_load() words it, with file, line and @key ("group.key"). The file is read again for the
 * line, which is left out when that fails. Returns -FL_ECONFIG. */
int config_blame(const char *path, const char *key, char *message, size_t cap, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));

/* config_is_exposed - may every user of this machine read the file @path? For files with keys or
 * tokens in them. */
bool config_is_exposed(const char *path);

/* config_done - free what config_load() allocated inside @dst and clear those fields. */
void config_done(const struct config_key *keys, void *dst);

/* config_nearest - the entry of the NULL-terminated @names nearest to @word (edit distance at most
 * a third of its length, at least 1), or NULL. Also for CLI commands and flags. */
const char *config_nearest(const char *word, const char *const *names);

/* config_split_address - "host:port", "[::1]:80", ":80" into host (without brackets, may be empty)
 * and port 0..65535. @host has @cap bytes. Returns 0 or -EINVAL. */
int config_split_address(const char *text, char *host, size_t cap, uint16_t *ret_port);

/* config_help - print the table for people, with defaults taken from none: name, type, help, and
 * "(live)" for CONFIG_LIVE. */
void config_help(const struct config_key *keys, int indent);

#endif
