#include "certs.h"

#include "base/error.h"
#include "identity/token.h"

static struct certs home;
static char fingerprint[IDENTITY_FINGERPRINT];

static int set_up(void **state)
{
    certs_init(&home);
    trust_fingerprint(authority_trust(home.authority), fingerprint);
    return 0;
}

static int tear_down(void **state)
{
    certs_done(&home);
    return 0;
}

static char *make(enum party_role role, int64_t seconds)
{
    char *key, *cert, *text;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(home.authority, key, role, seconds, &cert, NULL), 0);
    assert_int_equal(token_make(key, cert, home.ca_pem, &text), 0);
    free(key);
    free(cert);
    return text;
}

static void round_trip(void **state)
{
    struct identity *identity;
    char *text = make(PARTY_ENROL, 3600), *folded;
    size_t n = 0;

    assert_null(strpbrk(text, " \n\r\t"));
    assert_int_equal(token_open(text, fingerprint, &identity), 0);
    assert_int_equal(identity_party(identity)->role, PARTY_ENROL);
    assert_true(id_equal(trust_domain(identity_trust(identity)),
                         trust_domain(authority_trust(home.authority))));
    identity_unref(identity);

    folded = calloc(2, strlen(text) + 1);
    for (size_t i = 0; text[i]; i++) {
        folded[n++] = text[i];
        if (i % 64 == 63)
            folded[n++] = '\n';
    }
    assert_int_equal(token_open(folded, fingerprint, &identity), 0);
    identity_unref(identity);
    free(folded);
    free(text);
}

static void expired_opens(void **state)
{
    struct identity *identity;
    char *text = make(PARTY_ENROL, -60);

    /* So that the agent can say what is wrong, rather than "malformed". */
    assert_int_equal(token_open(text, fingerprint, &identity), 0);
    assert_true(identity_expires(identity) < clock_wall());
    identity_unref(identity);
    free(text);
}

static void other_fingerprint(void **state)
{
    struct identity *identity;
    char *text = make(PARTY_ENROL, 3600);
    char wrong[IDENTITY_FINGERPRINT];

    memcpy(wrong, fingerprint, sizeof(wrong));
    wrong[10] = wrong[10] == '0' ? '1' : '0';
    assert_int_equal(token_open(text, wrong, &identity), -FL_ECA);
    assert_int_equal(token_open(text, "", &identity), -FL_ECA);
    free(text);
}

static void other_role(void **state)
{
    struct identity *identity;
    char *text = make(PARTY_AGENT, 3600);

    assert_int_equal(token_open(text, fingerprint, &identity), -FL_EROLE);
    free(text);
}

static void other_key(void **state)
{
    char *key, *wrong, *cert, *text;
    struct identity *identity;

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(identity_make_key(&wrong), 0);
    assert_int_equal(authority_issue_key(home.authority, key, PARTY_ENROL, 60, &cert, NULL), 0);
    assert_int_equal(token_make(wrong, cert, home.ca_pem, &text), 0);
    assert_int_equal(token_open(text, fingerprint, &identity), -FL_EKEY);
    free(key);
    free(wrong);
    free(cert);
    free(text);
}

static void corrupted(void **state)
{
    struct identity *identity;
    char *text = make(PARTY_ENROL, 3600), *copy;
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i += 13) {
        int rc;

        copy = strdup(text);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        rc = token_open(copy, fingerprint, &identity);
        free(copy);
        /* Armour lines and padding may be hurt without harm; the content may not. */
        if (rc == 0)
            identity_unref(identity);
        else
            assert_true(rc == -FL_EKEY || rc == -FL_ECA);
    }
    for (size_t n = 0; n < len - 4; n += 37) {
        copy = strndup(text, n);
        assert_int_equal(token_open(copy, fingerprint, &identity), -FL_EKEY);
        free(copy);
    }
    free(text);
    assert_int_equal(token_open("", fingerprint, &identity), -FL_EKEY);
    assert_int_equal(token_open(" \n", fingerprint, &identity), -FL_EKEY);
    assert_int_equal(token_open("!!!", fingerprint, &identity), -FL_EKEY);
    copy = calloc(1, 40000);
    memset(copy, 'A', 39999);
    assert_int_equal(token_open(copy, fingerprint, &identity), -FL_EKEY);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),        cmocka_unit_test(expired_opens),
        cmocka_unit_test(other_fingerprint), cmocka_unit_test(other_role),
        cmocka_unit_test(other_key),         cmocka_unit_test(corrupted),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
