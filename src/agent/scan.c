#include "agent/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/blocks.h"
#include "agent/file_error.h"
#include "agent/names.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "wire/message.h"

#define FOLDERS_OPEN 48   /* descriptors kept on the way down; others are opened again */
#define ERROR_WIRE   4400 /* one LIST_ERROR frame at its longest */
#define STEP_ENTRIES 2000 /* looked at in one step, also when none of them is listed */

/* A folder being walked: its names, sorted, and how far we are. */
struct level {
    struct level *up;
    int fd;           /* -1: closed to save descriptors */
    size_t path_len;  /* of the folder's path in scan->path */
    char *names;      /* NUL-terminated, one after another; owned */
    uint32_t *sorted; /* offsets into names; owned */
    uint32_t count;
    uint32_t next;
};

struct scan {
    const struct scan_root *root;
    const char *only; /* see scan_new() */
    size_t only_len;
    struct entries *entries;
    struct level *top;
    unsigned depth;
    bool started;
    uint64_t files, bytes;           /* for LIST_END */
    char path[NAMES_PATH_MAX + 300]; /* of the entry at hand */
    uint8_t *out;                    /* of this step */
    size_t len;                      /* finished frames in it */
    size_t list_len;                 /* body of the LIST frame being filled after them */
    fl_Entry entry;
    fl_ListError error;
};

static int open_beneath(int fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)flags | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long rc = syscall(SYS_openat2, fd, path, &how, sizeof(how));

    return rc < 0 ? -errno : (int)rc;
}

/* root_open_single - the file's folder is what gets opened, so that its name is resolved as any
 * other. */
static int root_open_single(const char *path, struct scan_root *root)
{
    _cleanup_free_ char *copy = strdup(path);
    char *slash = copy ? strrchr(copy, '/') : NULL;

    if (!copy)
        return -ENOMEM;
    if (!slash || strlen(slash + 1) == 0 || strlen(slash + 1) > NAMES_LEAF_MAX)
        return -EINVAL;
    (void)snprintf(root->leaf, sizeof(root->leaf), "%s", slash + 1);
    *slash = 0;
    root->fd = open(slash == copy ? "/" : copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0)
        return -errno;
    root->single = true;
    root->path = take_ptr(copy);
    return 0;
}

int scan_root_open(const char *path, struct scan_root *ret_root)
{
    struct scan_root root = {.fd = -1};
    int rc;

    root.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root.fd >= 0) {
        root.path = strdup(path);
        rc = root.path ? 0 : -ENOMEM;
    } else if (errno == ENOTDIR) {
        rc = root_open_single(path, &root);
    } else {
        rc = -errno;
    }
    if (rc < 0) {
        if (root.fd >= 0)
            (void)close(root.fd);
        root.fd = -1;
    }
    *ret_root = root;
    return rc;
}

void scan_root_close(struct scan_root *root)
{
    if (root->fd >= 0)
        (void)close(root->fd);
    root->fd = -1;
    free(root->path);
    root->path = NULL;
}

int scan_open_file(const struct scan_root *root, const char *path, size_t len)
{
    char text[NAMES_PATH_MAX + 1];

    if (len > NAMES_PATH_MAX)
        return -ENAMETOOLONG;
    if (root->single && (len != strlen(root->leaf) || memcmp(path, root->leaf, len) != 0))
        return -ENOENT; /* what lies beside the one file was not offered */
    memcpy(text, path, len);
    text[len] = 0;
    return open_beneath(root->fd, text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

struct scan *scan_new(const struct scan_root *root, const char *only, size_t only_len,
                      struct entries *entries)
{
    struct scan *scan = calloc(1, sizeof(*scan));

    if (!scan)
        return NULL;
    scan->root = root;
    scan->only = only;
    scan->only_len = only_len;
    scan->entries = entries;
    return scan;
}

static void level_pop(struct scan *scan)
{
    struct level *level = scan->top;

    scan->top = level->up;
    scan->depth--;
    if (level->fd >= 0)
        (void)close(level->fd);
    free(level->names);
    free(level->sorted);
    free(level);
}

void scan_free(struct scan *scan)
{
    if (!scan)
        return;
    while (scan->top)
        level_pop(scan);
    free(scan);
}

/* Frames. A LIST frame is filled entry by entry after the finished ones; whatever else comes closes
 * it first. */

static void list_flush(struct scan *scan)
{
    if (scan->list_len == 0)
        return;
    frame_put(scan->out + scan->len, FRAME_LIST, 0, scan->list_len);
    scan->len += FRAME_HEADER + scan->list_len;
    scan->list_len = 0;
}

static void list_entry(struct scan *scan)
{
    uint8_t *body = scan->out + scan->len + FRAME_HEADER;
    int n = message_encode_delimited(fl_Entry_fields, &scan->entry, body + scan->list_len,
                                     FRAME_BODY_MAX - scan->list_len);

    if (n < 0) {
        list_flush(scan);
        body = scan->out + scan->len + FRAME_HEADER;
        n = message_encode_delimited(fl_Entry_fields, &scan->entry, body, FRAME_BODY_MAX);
    }
    if (n > 0)
        scan->list_len += (size_t)n;
}

static void list_error(struct scan *scan, size_t path_len, int err, const char *code,
                       const char *text)
{
    int n;

    list_flush(scan);
    memset(&scan->error, 0, sizeof(scan->error));
    if (path_len > NAMES_PATH_MAX)
        path_len = NAMES_PATH_MAX;
    scan->error.path.size = (pb_size_t)path_len;
    memcpy(scan->error.path.bytes, scan->path, path_len);
    (void)snprintf(scan->error.code, sizeof(scan->error.code), "%s",
                   code ? code : file_error_code(err));
    (void)snprintf(scan->error.text, sizeof(scan->error.text), "%s",
                   text ? text : file_error_text(err));
    n = message_encode(FRAME_LIST_ERROR, fl_ListError_fields, &scan->error, scan->out + scan->len,
                       SCAN_OUT - scan->len);
    if (n > 0)
        scan->len += (size_t)n;
}

static void list_end(struct scan *scan)
{
    fl_ListEnd end = {.entries = scan->entries->count, .files = scan->files, .bytes = scan->bytes};
    int n;

    list_flush(scan);
    n = message_encode(FRAME_LIST_END, fl_ListEnd_fields, &end, scan->out + scan->len,
                       SCAN_OUT - scan->len);
    if (n > 0)
        scan->len += (size_t)n;
}

size_t scan_failure(int err, uint8_t *out)
{
    struct entries none = {0};
    struct scan scan = {.entries = &none, .out = out};

    list_error(&scan, 0, err, NULL, err == -ENOENT ? "there is no such file or folder" : NULL);
    list_end(&scan);
    return scan.len;
}

/* Folders. */

static int compare_names(const void *a, const void *b, void *names)
{
    return strcmp((const char *)names + *(const uint32_t *)a,
                  (const char *)names + *(const uint32_t *)b);
}

static int level_add(struct level *level, const char *name, size_t *used, size_t *cap)
{
    size_t len = strlen(name) + 1;

    if (*used + len > *cap) {
        size_t grown = *cap * 2 > *used + len ? *cap * 2 : 4096;
        char *names = grown <= UINT32_MAX ? realloc(level->names, grown) : NULL;

        if (!names)
            return -ENOMEM;
        level->names = names;
        *cap = grown;
    }
    memcpy(level->names + *used, name, len);
    *used += len;
    level->count++;
    return 0;
}

static int level_sort(struct level *level)
{
    uint32_t at = 0;

    level->sorted = malloc((level->count ? level->count : 1) * sizeof(uint32_t));
    if (!level->sorted)
        return -ENOMEM;
    for (uint32_t i = 0; i < level->count; i++) {
        level->sorted[i] = at;
        at += (uint32_t)strlen(level->names + at) + 1;
    }
    qsort_r(level->sorted, level->count, sizeof(uint32_t), compare_names, level->names);
    return 0;
}

/* level_read - all names of the folder @fd. */
static int level_read(struct level *level, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    size_t used = 0, cap = 0;
    struct dirent *found;
    int rc = 0;

    if (!dir) {
        rc = -errno;
        if (copy >= 0)
            (void)close(copy);
        return rc;
    }
    while (rc == 0 && (errno = 0, found = readdir(dir))) {
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0 ||
            names_is_part(found->d_name, strlen(found->d_name)))
            continue;
        rc = level->count >= ENTRIES_MAX ? -FL_EFULL : level_add(level, found->d_name, &used, &cap);
    }
    if (rc == 0 && errno != 0)
        rc = -errno;
    (void)closedir(dir);
    return rc < 0 ? rc : level_sort(level);
}

/* level_rest - the folder FOLDERS_OPEN levels up gives its descriptor back. */
static void level_rest(struct scan *scan)
{
    struct level *level = scan->top;

    for (unsigned i = 0; level && i < FOLDERS_OPEN; i++)
        level = level->up;
    if (level && level->fd >= 0) {
        (void)close(level->fd);
        level->fd = -1;
    }
}

static int level_open(struct scan *scan, size_t path_len)
{
    char text[NAMES_PATH_MAX + 1];

    memcpy(text, scan->path, path_len);
    text[path_len] = 0;
    return open_beneath(scan->root->fd, path_len ? text : ".", O_RDONLY | O_DIRECTORY);
}

/* level_push - walk into the folder whose path is the first @path_len bytes of scan->path. */
static void level_push(struct scan *scan, size_t path_len)
{
    struct level *level = calloc(1, sizeof(*level));
    int rc;

    if (!level) {
        list_error(scan, path_len, -ENOMEM, NULL, NULL);
        return;
    }
    level->path_len = path_len;
    level->up = scan->top;
    scan->top = level;
    scan->depth++;
    level->fd = level_open(scan, path_len);
    rc = level->fd < 0 ? level->fd : level_read(level, level->fd);
    if (rc < 0) {
        list_error(scan, path_len, rc, NULL, NULL);
        level_pop(scan);
        return;
    }
    level_rest(scan);
}

/* Entries. */

static int add_entry(struct scan *scan, size_t path_len, const struct stat *st, fl_EntryType type,
                     const char *target, size_t target_len)
{
    fl_Entry *wire = &scan->entry;
    struct entry *entry;
    int rc = entries_append(scan->entries, scan->path, path_len, target, target_len, &entry);

    if (rc < 0)
        return rc;
    entry->type = (uint8_t)type;
    entry->size = type == fl_EntryType_ENTRY_FILE ? (uint64_t)st->st_size : 0;
    entry->mtime = st->st_mtim.tv_sec;
    entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    entry->mode = (uint16_t)(st->st_mode & 07777);
    wire->index = scan->entries->count - 1;
    wire->type = type;
    wire->path.size = (pb_size_t)path_len;
    memcpy(wire->path.bytes, scan->path, path_len);
    wire->size = entry->size;
    wire->mtime = entry->mtime;
    wire->mtime_ns = entry->mtime_ns;
    wire->mode = entry->mode;
    wire->target.size = (pb_size_t)target_len;
    if (target_len > 0)
        memcpy(wire->target.bytes, target, target_len);
    list_entry(scan);
    if (type == fl_EntryType_ENTRY_FILE) {
        scan->files++;
        scan->bytes += entry->size;
    }
    return 0;
}

static int visit_link(struct scan *scan, int fd, const char *name, size_t path_len,
                      const struct stat *st)
{
    char target[NAMES_PATH_MAX + 1];
    ssize_t n = readlinkat(fd, name, target, sizeof(target));

    if (n < 0)
        return -errno;
    if (n == 0 || n > NAMES_PATH_MAX)
        return -ENAMETOOLONG;
    return add_entry(scan, path_len, st, fl_EntryType_ENTRY_LINK, target, (size_t)n);
}

static int visit_folder(struct scan *scan, size_t path_len, const struct stat *st)
{
    int rc = add_entry(scan, path_len, st, fl_EntryType_ENTRY_FOLDER, NULL, 0);

    if (rc == 0)
        level_push(scan, path_len);
    return rc;
}

/* visit - one name in the folder @fd; its path is in scan->path. */
static int visit(struct scan *scan, int fd, const char *name, size_t path_len)
{
    struct stat st;

    if (path_len > NAMES_PATH_MAX) {
        list_error(scan, path_len, -ENAMETOOLONG, NULL, "its path has more than 4095 bytes");
        return 0;
    }
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* removed since the folder was read: not there */
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        if ((uint64_t)st.st_size > BLOCKS_FILE_MAX)
            return -EFBIG;
        return add_entry(scan, path_len, &st, fl_EntryType_ENTRY_FILE, NULL, 0);
    case S_IFDIR:
        return visit_folder(scan, path_len, &st);
    case S_IFLNK:
        return visit_link(scan, fd, name, path_len, &st);
    default:
        list_error(scan, path_len, 0, "special", "a device, socket or pipe, which is not moved");
        return 0;
    }
}

/* fatal - errors after which listing on makes no sense: the flow fails as a whole (empty path). */
static bool fatal(int err)
{
    return err == -FL_EFULL || err == -ENOMEM;
}

/* is_wanted - is the path in scan->path one of those that the list is limited to, in one of them,
 * or on the way to one? */
static bool is_wanted(const struct scan *scan, size_t path_len)
{
    const char *one = scan->only, *end = scan->only + scan->only_len;

    if (!scan->only_len)
        return true;
    for (size_t len; one < end; one += len + 1) {
        len = strnlen(one, (size_t)(end - one));
        size_t least = len < path_len ? len : path_len;

        if (memcmp(one, scan->path, least) != 0)
            continue;
        if (len == path_len || (len < path_len && scan->path[len] == '/') ||
            (len > path_len && one[path_len] == '/'))
            return true;
    }
    return false;
}

/* turn - one name, or the end of a folder. Returns 0, or a fatal code. */
static int turn(struct scan *scan)
{
    struct level *level = scan->top;
    const char *name;
    size_t len, at;
    int rc;

    if (level->next == level->count) {
        level_pop(scan);
        return 0;
    }
    if (level->fd < 0)
        level->fd = level_open(scan, level->path_len);
    name = level->names + level->sorted[level->next++];
    len = strlen(name);
    at = level->path_len;
    if (at > 0)
        scan->path[at++] = '/';
    memcpy(scan->path + at, name, len);
    if (!is_wanted(scan, at + len))
        return 0;
    rc = level->fd < 0 ? level->fd : visit(scan, level->fd, name, at + len);
    if (rc < 0 && !fatal(rc))
        list_error(scan, at + len, rc, NULL, NULL);
    return fatal(rc) ? rc : 0;
}

static int start(struct scan *scan)
{
    size_t len = strlen(scan->root->leaf);
    int rc;

    scan->started = true;
    if (!scan->root->single) {
        level_push(scan, 0);
        return 0;
    }
    memcpy(scan->path, scan->root->leaf, len);
    rc = visit(scan, scan->root->fd, scan->root->leaf, len);
    if (rc < 0)
        list_error(scan, 0, rc, NULL, NULL);
    return 0;
}

size_t scan_step(struct scan *scan, uint8_t *out, bool *ret_end)
{
    int rc = 0;

    scan->out = out;
    scan->len = 0;
    scan->list_len = 0;
    if (!scan->started)
        rc = start(scan);
    for (unsigned n = 0; rc == 0 && scan->top && n < STEP_ENTRIES; n++) {
        /* Room for a LIST frame begun and not closed, one more, an error and the end. */
        if (scan->len + 2 * FRAME_MAX + ERROR_WIRE + 64 > SCAN_OUT)
            break;
        rc = turn(scan);
    }
    if (rc < 0)
        list_error(scan, 0, rc, NULL, NULL);
    *ret_end = rc < 0 || !scan->top;
    if (*ret_end)
        list_end(scan);
    else
        list_flush(scan);
    return scan->len;
}
