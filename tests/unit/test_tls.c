#include "certs.h"

#include <stdio.h>

#include "base/error.h"
#include "identity/hello.h"
#include "identity/tls.h"

/* One direction of a wire in memory. */
struct pipe {
    uint8_t data[65536];
    size_t start, end;
};

/* Two sessions and the wires between them. */
struct link {
    gnutls_session_t session[2]; /* client, server */
    struct pipe to[2];           /* what each has yet to read */
    int rc[2];                   /* of the handshake */
    struct wire_end {
        struct pipe *in, *out;
        gnutls_session_t session;
    } end[2];
};

static struct certs home;
static struct identity *alice, *bob;

static ssize_t push(gnutls_transport_ptr_t ptr, const void *data, size_t len)
{
    struct wire_end *end = ptr;
    struct pipe *pipe = end->out;

    assert_true(len <= sizeof(pipe->data) - pipe->end);
    memcpy(pipe->data + pipe->end, data, len);
    pipe->end += len;
    return (ssize_t)len;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *data, size_t len)
{
    struct wire_end *end = ptr;
    struct pipe *pipe = end->in;
    size_t n = pipe->end - pipe->start;

    if (n == 0) {
        gnutls_transport_set_errno(end->session, EAGAIN);
        return -1;
    }
    n = n < len ? n : len;
    memcpy(data, pipe->data + pipe->start, n);
    pipe->start += n;
    return (ssize_t)n;
}

static void link_init(struct link *link, gnutls_session_t client, gnutls_session_t server)
{
    memset(link, 0, sizeof(*link));
    link->session[0] = client;
    link->session[1] = server;
    for (int i = 0; i < 2; i++) {
        link->end[i] = (struct wire_end){
            .in = &link->to[i], .out = &link->to[!i], .session = link->session[i]};
        gnutls_transport_set_ptr(link->session[i], &link->end[i]);
        gnutls_transport_set_push_function(link->session[i], push);
        gnutls_transport_set_pull_function(link->session[i], pull);
        link->rc[i] = GNUTLS_E_AGAIN;
    }
}

static void link_done(struct link *link)
{
    gnutls_deinit(link->session[0]);
    gnutls_deinit(link->session[1]);
}

/* Run both handshakes as far as they go. In TLS 1.3 the client is through before the server has
 * judged it. */
static void link_shake(struct link *link)
{
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 2; i++)
            while (link->rc[i] < 0 && !gnutls_error_is_fatal(link->rc[i])) {
                link->rc[i] = gnutls_handshake(link->session[i]);
                if (link->rc[i] == GNUTLS_E_AGAIN)
                    break;
            }
}

static struct link *inner(struct identity *caller, struct identity *callee)
{
    static struct link link;
    gnutls_session_t client, server;

    assert_int_equal(tls_inner(false, caller, &client), 0);
    assert_int_equal(tls_inner(true, callee, &server), 0);
    link_init(&link, client, server);
    return &link;
}

static void talk(struct link *link, int from)
{
    char buf[16];

    assert_int_equal(gnutls_record_send(link->session[from], "hello", 5), 5);
    assert_int_equal(gnutls_record_recv(link->session[!from], buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "hello", 5);
}

static void inner_good(void **state)
{
    struct link *link = inner(alice, bob);
    struct party party;

    link_shake(link);
    assert_int_equal(link->rc[0], 0);
    assert_int_equal(link->rc[1], 0);
    assert_int_equal(gnutls_protocol_get_version(link->session[0]), GNUTLS_TLS1_3);
    assert_int_equal(tls_inner_peer(link->session[0], alice, clock_wall(), &party), 0);
    assert_true(party_equal(&party, identity_party(bob)));
    assert_int_equal(tls_inner_peer(link->session[1], bob, clock_wall(), &party), 0);
    assert_true(party_equal(&party, identity_party(alice)));
    assert_int_equal(tls_inner_peer(link->session[1], bob, clock_wall() + 86400, &party),
                     -FL_EEXPIRED);
    assert_int_equal(tls_inner_error(link->session[0]), 0);
    assert_int_equal(tls_inner_error(link->session[1]), 0);
    talk(link, 0);
    talk(link, 1);
    assert_int_equal(link->to[0].end - link->to[0].start, 0); /* no tickets */
    link_done(link);
}

/* @link's side @judge must have refused with @code; the other side must not be able to get data
 * through. */
static void refused(struct link *link, int judge, int code)
{
    char buf[16];

    link_shake(link);
    assert_true(gnutls_error_is_fatal(link->rc[judge]));
    assert_int_equal(tls_inner_error(link->session[judge]), code);
    assert_int_equal(tls_inner_error(link->session[!judge]), 0);
    if (link->rc[!judge] ==
        0) /* the client may believe that it is through, until it reads the alert */
        assert_true(gnutls_error_is_fatal(
            (int)gnutls_record_recv(link->session[!judge], buf, sizeof(buf))));
    else
        assert_true(gnutls_error_is_fatal(link->rc[!judge]));
    link_done(link);
}

static void inner_expired(void **state)
{
    struct identity *old = certs_identity(&home, PARTY_AGENT, -60);

    refused(inner(old, bob), 1, -FL_EEXPIRED);
    refused(inner(alice, old), 0, -FL_EEXPIRED);
    identity_unref(old);
}

static void inner_other_authority(void **state)
{
    struct certs other;
    struct identity *stranger;

    certs_init(&other);
    stranger = certs_identity(&other, PARTY_AGENT, 60);
    /* Both sides object; the client sees the server's certificate first. */
    refused(inner(stranger, bob), 0, -FL_ECA);
    refused(inner(alice, stranger), 0, -FL_ECA);
    identity_unref(stranger);
    certs_done(&other);
}

static void inner_denied(void **state)
{
    struct trust *trust = identity_trust(bob);

    assert_int_equal(trust_deny(trust, &identity_party(alice)->id, 1), 0);
    refused(inner(alice, bob), 1, -FL_EDENIED);
    assert_int_equal(trust_deny(trust, NULL, 0), 0);
}

/* A client of the test's own making, with @cred and without ALPN when @alpn is NULL. */
static gnutls_session_t foreign(unsigned role, gnutls_certificate_credentials_t cred,
                                const char *priority, const char *alpn)
{
    gnutls_datum_t proto = {(unsigned char *)alpn, alpn ? (unsigned)strlen(alpn) : 0};
    gnutls_session_t session;

    assert_int_equal(gnutls_init(&session, role | GNUTLS_NONBLOCK), 0);
    assert_int_equal(gnutls_priority_set_direct(session, priority, NULL), 0);
    assert_int_equal(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, cred), 0);
    if (alpn)
        assert_int_equal(gnutls_alpn_set_protocols(session, &proto, 1, 0), 0);
    return session;
}

static struct link *foreign_client(gnutls_certificate_credentials_t cred, const char *priority,
                                   const char *alpn)
{
    static struct link link;
    gnutls_session_t server;

    assert_int_equal(tls_inner(true, bob, &server), 0);
    link_init(&link, foreign(GNUTLS_CLIENT, cred, priority, alpn), server);
    return &link;
}

static void inner_alpn(void **state)
{
    gnutls_certificate_credentials_t cred = identity_credentials(alice);
    struct link *link = foreign_client(cred, "NORMAL", TLS_INNER_ALPN);
    static struct link reversed;
    gnutls_session_t client;

    link_shake(link);
    assert_int_equal(link->rc[1], 0); /* the maker of wrong clients makes a right one too */
    link_done(link);
    refused(foreign_client(cred, "NORMAL", NULL), 1, -FL_EVERSION);
    link = foreign_client(cred, "NORMAL", "h2");
    link_shake(link);
    assert_int_equal(link->rc[1], GNUTLS_E_NO_APPLICATION_PROTOCOL);
    link_done(link);
    /* A server that picks none. */
    assert_int_equal(tls_inner(false, alice, &client), 0);
    link_init(&reversed, client, foreign(GNUTLS_SERVER, identity_credentials(bob), "NORMAL", NULL));
    link_shake(&reversed);
    assert_true(gnutls_error_is_fatal(reversed.rc[0]));
    assert_int_equal(tls_inner_error(client), -FL_EVERSION);
    link_done(&reversed);
}

static void inner_without_certificate(void **state)
{
    gnutls_certificate_credentials_t none;
    struct link *link;

    assert_int_equal(gnutls_certificate_allocate_credentials(&none), 0);
    link = foreign_client(none, "NORMAL", TLS_INNER_ALPN);
    link_shake(link);
    assert_true(gnutls_error_is_fatal(link->rc[1]));
    link_done(link);
    gnutls_certificate_free_credentials(none);
}

static void inner_chain(void **state)
{
    gnutls_datum_t ca = *trust_ca(identity_trust(alice));
    gnutls_certificate_credentials_t cred;
    gnutls_x509_crt_t crts[2];
    gnutls_x509_privkey_t key;
    char *pem, *cert;
    gnutls_datum_t text;

    assert_int_equal(identity_make_key(&pem), 0);
    assert_int_equal(authority_issue_key(home.authority, pem, PARTY_AGENT, 60, &cert, NULL), 0);
    text = (gnutls_datum_t){(unsigned char *)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_import(key, &text, GNUTLS_X509_FMT_PEM), 0);
    text = (gnutls_datum_t){(unsigned char *)cert, (unsigned)strlen(cert)};
    for (int i = 0; i < 2; i++)
        assert_int_equal(gnutls_x509_crt_init(&crts[i]), 0);
    assert_int_equal(gnutls_x509_crt_import(crts[0], &text, GNUTLS_X509_FMT_PEM), 0);
    assert_int_equal(gnutls_x509_crt_import(crts[1], &ca, GNUTLS_X509_FMT_DER), 0);
    assert_int_equal(gnutls_certificate_allocate_credentials(&cred), 0);
    assert_true(gnutls_certificate_set_x509_key(cred, crts, 2, key) >= 0);
    refused(foreign_client(cred, "NORMAL", TLS_INNER_ALPN), 1,
            -FL_ECERT); /* exactly one certificate */
    gnutls_certificate_free_credentials(cred);
    for (int i = 0; i < 2; i++)
        gnutls_x509_crt_deinit(crts[i]);
    gnutls_x509_privkey_deinit(key);
    free(pem);
    free(cert);
}

static void only_tls13(void **state)
{
    struct link *link = foreign_client(identity_credentials(alice), "NORMAL:-VERS-ALL:+VERS-TLS1.2",
                                       TLS_INNER_ALPN);

    link_shake(link);
    assert_true(gnutls_error_is_fatal(link->rc[1]));
    link_done(link);
}

static gnutls_certificate_credentials_t web_cred(void)
{
    static const char *const names[] = {"proxy.example.org"};
    gnutls_certificate_credentials_t cred;
    char *pem;

    assert_int_equal(authority_issue_web(home.authority, names, 1, 1, &pem), 0);
    assert_int_equal(tls_web_credentials(pem, strlen(pem), &cred), 0);
    free(pem);
    return cred;
}

static void outer(void **state)
{
    gnutls_certificate_credentials_t cred = web_cred();
    static struct link link;
    gnutls_session_t client, server;
    uint8_t mine[32], theirs[32], reflected[32];
    char name[64];
    size_t len = sizeof(name);
    unsigned type;

    assert_int_equal(tls_outer(false, NULL, "proxy.example.org", &client), 0);
    assert_int_equal(tls_outer(true, cred, NULL, &server), 0);
    link_init(&link, client, server);
    link_shake(&link);
    assert_int_equal(link.rc[0], 0);
    assert_int_equal(link.rc[1], 0);
    assert_int_equal(gnutls_protocol_get_version(client), GNUTLS_TLS1_3);
    assert_int_equal(gnutls_server_name_get(server, name, &len, &type, 0), 0);
    assert_string_equal(name, "proxy.example.org");
    assert_int_equal(gnutls_certificate_client_get_request_status(client),
                     0); /* a prober learns nothing */
    talk(&link, 0);
    talk(&link, 1);
    assert_int_equal(link.to[0].end - link.to[0].start, 0);
    for (uint8_t context = 0; context < 2; context++) {
        assert_int_equal(tls_exporter(client, HELLO_EXPORTER_LABEL, context, mine), 0);
        assert_int_equal(tls_exporter(server, HELLO_EXPORTER_LABEL, context, theirs), 0);
        assert_memory_equal(mine, theirs, 32);
        if (context)
            assert_memory_not_equal(mine, reflected, 32);
        memcpy(reflected, mine, 32);
    }
    link_done(&link);
    gnutls_certificate_free_credentials(cred);
}

/* Whoever opens the outer TLS in between has two sessions, and two exporters. */
static void outer_in_between(void **state)
{
    gnutls_certificate_credentials_t cred = web_cred();
    static struct link link[2];
    uint8_t out[2][32];

    for (int i = 0; i < 2; i++) {
        gnutls_session_t client, server;

        assert_int_equal(tls_outer(false, NULL, NULL, &client), 0);
        assert_int_equal(tls_outer(true, cred, NULL, &server), 0);
        link_init(&link[i], client, server);
        link_shake(&link[i]);
        assert_int_equal(link[i].rc[1], 0);
        assert_int_equal(tls_exporter(client, HELLO_EXPORTER_LABEL, 0, out[i]), 0);
    }
    assert_memory_not_equal(out[0], out[1], 32);
    link_done(&link[0]);
    link_done(&link[1]);
    gnutls_certificate_free_credentials(cred);
}

static void outer_refuses_tls12(void **state)
{
    gnutls_certificate_credentials_t cred = web_cred(), none;
    static struct link link;
    gnutls_session_t server;

    assert_int_equal(gnutls_certificate_allocate_credentials(&none), 0);
    assert_int_equal(tls_outer(true, cred, NULL, &server), 0);
    link_init(&link, foreign(GNUTLS_CLIENT, none, "NORMAL:-VERS-ALL:+VERS-TLS1.2", NULL), server);
    link_shake(&link);
    assert_true(gnutls_error_is_fatal(link.rc[1]));
    link_done(&link);
    gnutls_certificate_free_credentials(cred);
    gnutls_certificate_free_credentials(none);
}

static void web_text(void **state)
{
    static const char *const names[] = {"proxy.example.org"};
    gnutls_certificate_credentials_t cred;
    char *pem, *other, mixed[8192];

    assert_int_equal(authority_issue_web(home.authority, names, 1, 1, &pem), 0);
    assert_int_equal(authority_issue_web(home.authority, names, 1, 1, &other), 0);
    (void)snprintf(mixed, sizeof(mixed), "%.*s%s", (int)(strstr(pem, "-----BEGIN CERT") - pem), pem,
                   strstr(other, "-----BEGIN CERT"));
    assert_int_equal(tls_web_credentials(mixed, strlen(mixed), &cred),
                     -FL_EKEY); /* another's key */
    free(pem);
    free(other);
    assert_int_equal(tls_web_credentials("x", 1, &cred), -FL_EKEY);
    assert_int_equal(tls_web_credentials("", 0, &cred), -FL_EKEY);
    assert_int_equal(tls_web_credentials(home.ca_pem, strlen(home.ca_pem), &cred),
                     -FL_EKEY); /* no key in it */
}

static int set_up(void **state)
{
    assert_int_equal(tls_global_init(), 0);
    certs_init(&home);
    alice = certs_identity(&home, PARTY_AGENT, 3600);
    bob = certs_identity(&home, PARTY_AGENT, 3600);
    return 0;
}

static int tear_down(void **state)
{
    identity_unref(alice);
    identity_unref(bob);
    certs_done(&home);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inner_good),
        cmocka_unit_test(inner_expired),
        cmocka_unit_test(inner_other_authority),
        cmocka_unit_test(inner_denied),
        cmocka_unit_test(inner_alpn),
        cmocka_unit_test(inner_without_certificate),
        cmocka_unit_test(inner_chain),
        cmocka_unit_test(only_tls13),
        cmocka_unit_test(outer),
        cmocka_unit_test(outer_in_between),
        cmocka_unit_test(outer_refuses_tls12),
        cmocka_unit_test(web_text),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
