/* store_rig.h - a console's store in a folder of its own. */
#ifndef FL_STORE_RIG_H
#define FL_STORE_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console/store.h"

struct store_rig {
    char dir[64];
    char path[96]; /* of the file */
};

static struct store *store_rig_open(const char *path)
{
    struct store *store = NULL;
    char message[512] = "";
    int rc = store_open(path, &store, message, sizeof(message));

    if (rc)
        print_error("%s\n", message);
    assert_int_equal(rc, 0);
    return store;
}

/* store_rig_up - a new folder "/tmp/fl-NAME-…", and the store in it. */
static struct store *store_rig_up(struct store_rig *rig, const char *name)
{
    snprintf(rig->dir, sizeof(rig->dir), "/tmp/fl-%s-XXXXXX", name);
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->path, sizeof(rig->path), "%s/console.db", rig->dir);
    return store_rig_open(rig->path);
}

static void store_rig_down(struct store_rig *rig, struct store *store)
{
    char command[128];

    store_close(store);
    snprintf(command, sizeof(command), "rm -rf '%s'", rig->dir);
    assert_int_equal(system(command), 0);
}

#endif
