#include "console/revocations.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/error.h"

#define LINE_MAX_BYTES (FL_ID_TEXT + 24)

struct known {
    struct fl_id id;
    UT_hash_handle hh;
};

struct revocations {
    int fd;              /* O_APPEND */
    bool cut;            /* its last line has no end */
    bool unsynced;       /* something was written that may not be on the disk */
    struct known *known; /* owned; in the order of the file */
};

static bool is_known(const struct revocations *revocations, const struct fl_id *id)
{
    struct known *known;

    HASH_FIND(hh, revocations->known, id, sizeof(*id), known);
    return known != NULL;
}

static int know(struct revocations *revocations, const struct fl_id *id)
{
    struct known *known = is_known(revocations, id) ? NULL : calloc(1, sizeof(*known));

    if (!known)
        return is_known(revocations, id) ? 0 : -ENOMEM;
    known->id = *id;
    HASH_ADD(hh, revocations->known, id, sizeof(known->id), known);
    return 0;
}

static int read_lines(struct revocations *revocations, FILE *file)
{
    char line[256], text[FL_ID_TEXT];
    struct fl_id id;
    int rc = 0;

    while (!rc && fgets(line, sizeof(line), file)) {
        revocations->cut = !strchr(line, '\n');
        (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(line, " \n"), line);
        if (!revocations->cut && strcspn(line, " \n") == FL_ID_TEXT - 1 && !id_parse(text, &id))
            rc = know(revocations, &id);
    }
    return rc ? rc : ferror(file) ? -EIO : 0;
}

int revocations_open(const char *path, struct revocations **ret_revocations, char *message,
                     size_t cap)
{
    struct revocations *revocations = calloc(1, sizeof(*revocations));
    int rc = -ENOMEM;

    if (revocations) {
        revocations->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        rc = revocations->fd < 0 ? -errno : 0;
    }
    FILE *file = rc ? NULL : fopen(path, "re");
    if (!rc)
        rc = file ? read_lines(revocations, file) : -errno;
    if (file)
        (void)fclose(file);
    if (rc) {
        (void)snprintf(message, cap, "%s: the list of revocations cannot be used: %s", path,
                       error_text(rc));
        revocations_close(revocations);
        return rc;
    }
    *ret_revocations = revocations;
    return 0;
}

void revocations_close(struct revocations *revocations)
{
    struct known *known, *tmp;

    if (!revocations)
        return;
    HASH_ITER (hh, revocations->known, known, tmp) {
        HASH_DEL(revocations->known, known);
        free(known);
    }
    if (revocations->fd >= 0)
        (void)close(revocations->fd);
    free(revocations);
}

static int append(struct revocations *revocations, const struct fl_id *id, int64_t now)
{
    char line[LINE_MAX_BYTES], text[FL_ID_TEXT];
    int len = snprintf(line, sizeof(line), "%s%s %" PRId64 "\n", revocations->cut ? "\n" : "",
                       id_text(id, text), now);
    ssize_t n = write(revocations->fd, line, (size_t)len);

    if (n < 0)
        return -errno;
    revocations->cut = n < len;
    return n < len ? -ENOSPC : know(revocations, id);
}

int revocations_add(struct revocations *revocations, const struct fl_id *ids, size_t count,
                    int64_t now)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < count; i++) {
        if (is_known(revocations, &ids[i]))
            continue;
        revocations->unsynced = true;
        rc = append(revocations, &ids[i], now);
    }
    if (!revocations->unsynced)
        return rc;
    if (fdatasync(revocations->fd) == 0)
        revocations->unsynced = false;
    else if (!rc)
        rc = -errno;
    return rc;
}

bool revocations_get(const struct revocations *revocations, size_t index, struct fl_id *ret_id)
{
    struct known *known = revocations->known;

    while (known && index-- > 0)
        known = known->hh.next;
    if (known)
        *ret_id = known->id;
    return known != NULL;
}
