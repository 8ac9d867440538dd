/* seed.c - the parts of the corpus that need keys.
 *
 *     fuzz_seed authority > fuzz_authority.h      a new authority (then everything below is stale)
 *     fuzz_seed corpus DIR                        certificates, requests, tokens and files signed
 * by it
 */
#include <string.h>
#include <time.h>

#include "fuzz.h"
#include "identity/authority.h"
#include "identity/hello.h"
#include "identity/token.h"

#if __has_include("fuzz_authority.h")
#include "fuzz_authority.h"
#else
#define fuzz_ca_key  ""
#define fuzz_ca_cert ""
#endif

static void print_c_text(const char *name, const char *text)
{
    (void)printf("static const char %s[] =", name);
    while (*text) {
        size_t len = strcspn(text, "\n");

        (void)printf("\n    \"%.*s\\n\"", (int)len, text);
        text += len + (text[len] == '\n');
    }
    (void)printf(";\n");
}

static void make_authority(void)
{
    char *key, *cert;

    must(authority_create(&key, &cert) == 0);
    (void)printf(
        "/* fuzz_authority.h - the authority of the fuzz corpus. A key for tests that protects\n"
        " * nothing; made by fuzz_seed. */\n#ifndef FL_TESTS_FUZZ_AUTHORITY_H\n"
        "#define FL_TESTS_FUZZ_AUTHORITY_H\n\n"
        "#define FUZZ_NOW INT64_C(%lld) /* when it was made */\n\n",
        (long long)time(NULL));
    print_c_text("fuzz_ca_key", key);
    print_c_text("fuzz_ca_cert", cert);
    (void)printf("\n#endif\n");
    free(key);
    free(cert);
}

static void write_file(const char *folder, const char *name, int first, const void *data,
                       size_t len)
{
    char path[4096];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "wbe");
    must(file);
    if (first >= 0)
        must(fputc(first, file) == first);
    must(fwrite(data, 1, len, file) == len);
    must(fclose(file) == 0);
}

/* write_hello - a certificate with a proof; right for an exporter of zeros. */
static void write_hello(const char *dir, const char *name, const struct identity *identity)
{
    static const uint8_t exporter[HELLO_EXPORTER_BYTES];
    static uint8_t bytes[FRAME_MAX];
    static fl_Hello hello;
    int n;

    memset(&hello, 0, sizeof(hello));
    must(hello_make(identity, HELLO_DIALLER, exporter, &hello) == 0);
    n = message_encode(FRAME_HELLO, &fl_Hello_msg, &hello, bytes, sizeof(bytes));
    must(n > 0);
    write_file(dir, name, 5, bytes + FRAME_HEADER, (size_t)n - FRAME_HEADER);
}

static void write_party(const char *dir, const struct authority *authority, enum party_role role)
{
    char uri[PARTY_URI_MAX], name[64], hello[64], uri_name[64];
    struct identity *identity;
    char *key, *cert;

    must(identity_make_key(&key) == 0);
    must(authority_issue_key(authority, key, role, INT64_C(3650) * 86400, &cert, NULL) == 0);
    must(identity_new(key, cert, strlen(cert), fuzz_ca_cert, strlen(fuzz_ca_cert), &identity) == 0);
    (void)snprintf(name, sizeof(name), "certificate-%s", party_role_name(role));
    write_file(dir, name, 2, identity_cert(identity)->data, identity_cert(identity)->size);
    (void)snprintf(hello, sizeof(hello), "hello-%s", party_role_name(role));
    write_hello(dir, hello, identity);
    (void)party_uri(trust_domain(identity_trust(identity)), identity_party(identity), uri);
    (void)snprintf(uri_name, sizeof(uri_name), "uri-%s", party_role_name(role));
    write_file(dir, uri_name, 0, uri, strlen(uri));
    if (role == PARTY_ENROL) {
        char *token;

        must(token_make(key, cert, fuzz_ca_cert, &token) == 0);
        write_file(dir, "token", 3, token, strlen(token));
        write_file(dir, "token-cut", 3, token, strlen(token) / 2);
        free(token);
    }
    identity_unref(identity);
    free(key);
    free(cert);
}

static void write_identity(const char *dir, const struct authority *authority)
{
    const gnutls_datum_t *ca = trust_ca(authority_trust(authority));
    uint8_t csr[1024];
    size_t len;
    char *key, *stranger;

    for (enum party_role role = PARTY_AGENT; role <= PARTY_ENROL; role++)
        write_party(dir, authority, role);
    write_file(dir, "authority-der", 1, ca->data, ca->size);
    write_file(dir, "authority-pem", 1, fuzz_ca_cert, strlen(fuzz_ca_cert));
    must(authority_create(&key, &stranger) == 0);
    write_file(dir, "authority-other", 1, stranger, strlen(stranger));
    must(identity_request(key, csr, sizeof(csr), &len) == 0);
    write_file(dir, "request", 4, csr, len);
    csr[len - 1] ^= 1;
    write_file(dir, "request-bad-signature", 4, csr, len);
    free(key);
    free(stranger);
}

int main(int argc, char **argv)
{
    struct authority *authority;
    char dir[4096];

    if (argc == 2 && strcmp(argv[1], "authority") == 0) {
        make_authority();
        return 0;
    }
    if (argc != 3 || strcmp(argv[1], "corpus") != 0) {
        (void)fprintf(stderr, "usage: fuzz_seed authority | corpus DIR\n");
        return 2;
    }
    must(authority_load(fuzz_ca_key, fuzz_ca_cert, &authority) == 0);
    (void)snprintf(dir, sizeof(dir), "%s/identity", argv[2]);
    write_identity(dir, authority);
    authority_free(authority);
    return 0;
}
