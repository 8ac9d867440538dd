/* replay.c - run a fuzz target over its corpus, without libFuzzer: each file whole, and cut short
 * at every length up to PREFIXES. Each input lies at the end of its own allocation, so that
 * sanitizers and valgrind see the first byte read past it.
 *
 *     fuzz_frame DIR|FILE …        exit 0: all survived; 1: nothing to run; an abort is a finding
 */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define PREFIXES 600

static size_t inputs;

static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    must(copy);
    if (size > 0)
        memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *data = NULL;
    size_t size = 0;
    int c;

    if (!file) {
        perror(path);
        return 1;
    }
    while ((c = fgetc(file)) != EOF) {
        if (size % 4096 == 0)
            data = realloc(data, size + 4096);
        must(data);
        data[size++] = (uint8_t)c;
    }
    (void)fclose(file);
    run_one(data, size);
    for (size_t n = 0; n < size && n < PREFIXES; n++)
        run_one(data, n);
    free(data);
    return 0;
}

static int run_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    char file[4096];
    int r = 0;

    if (!folder) {
        perror(path);
        return 1;
    }
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        r |= run_file(file);
    }
    (void)closedir(folder);
    return r;
}

int main(int argc, char **argv)
{
    struct stat st;
    int r = 0;

    for (int i = 1; i < argc; i++) {
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            r |= run_folder(argv[i]);
        else
            r |= run_file(argv[i]);
    }
    (void)printf("%zu inputs\n", inputs);
    if (inputs == 0)
        (void)fprintf(stderr, "%s: no corpus\n", argv[0]);
    return r || inputs == 0;
}
