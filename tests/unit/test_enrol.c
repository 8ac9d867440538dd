/* Enrolment: who gets a certificate, who waits, who is refused; names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "console/enrol.h"
#include "store_rig.h"

#define AGENTS_MAX 8

/* A fleet of a few agents in memory. */
struct fixture {
    struct store_rig rig;
    struct store *store;
    struct authority *authority;
    struct store_agent agent[AGENTS_MAX];
    size_t count;
    int put_error;
    struct enrol_fleet view;
    struct store_token token;
};

static const struct store_agent *find(void *ctx, const struct fl_id *id)
{
    struct fixture *f = ctx;

    for (size_t i = 0; i < f->count; i++)
        if (id_equal(&f->agent[i].id, id))
            return &f->agent[i];
    return NULL;
}

static const struct store_agent *find_name(void *ctx, const char *name)
{
    struct fixture *f = ctx;

    for (size_t i = 0; i < f->count; i++)
        if (!strcmp(f->agent[i].name, name))
            return &f->agent[i];
    return NULL;
}

static size_t pending(void *ctx)
{
    struct fixture *f = ctx;
    size_t n = 0;

    for (size_t i = 0; i < f->count; i++)
        n += f->agent[i].state == AGENT_PENDING;
    return n;
}

static int put(void *ctx, const struct store_agent *agent, bool is_new)
{
    struct fixture *f = ctx;
    struct store_agent *there = (struct store_agent *)(uintptr_t)find(f, &agent->id);

    if (f->put_error)
        return f->put_error;
    assert_int_equal(is_new, there == NULL);
    if (!there) {
        assert_true(f->count < AGENTS_MAX);
        there = &f->agent[f->count++];
    }
    *there = *agent;
    return 0;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char *key = NULL, *cert = NULL;

    f->store = store_rig_up(&f->rig, "enrol");
    assert_int_equal(authority_create(&key, &cert), 0);
    assert_int_equal(authority_load(key, cert, &f->authority), 0);
    free(key);
    free(cert);
    f->view = (struct enrol_fleet){f, find, find_name, pending, put};
    id_random(&f->token.id);
    f->token.created = clock_wall();
    f->token.expires = f->token.created + 3600;
    assert_true(store_list_add(&f->token.tags, "from-token"));
    assert_int_equal(store_token_add(f->store, &f->token), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    store_rig_down(&f->rig, f->store);
    authority_free(f->authority);
    free(f);
    return 0;
}

static char *new_key(void)
{
    char *key = NULL;

    assert_int_equal(identity_make_key(&key), 0);
    return key;
}

static fl_EnrolRequest request_of(const char *key, const char *name)
{
    fl_EnrolRequest request = {0};
    size_t len = 0;

    assert_int_equal(identity_request(key, request.csr.bytes, sizeof(request.csr.bytes), &len), 0);
    request.csr.size = (pb_size_t)len;
    snprintf(request.device_name, sizeof(request.device_name), "%s", name);
    return request;
}

static fl_EnrolReply ask(struct fixture *f, const fl_EnrolRequest *request)
{
    fl_EnrolReply reply;

    enrol_answer(f->store, f->authority, &f->view, &f->token, request, clock_wall(), &reply);
    return reply;
}

static void a_certificate_is_issued(void **state)
{
    struct fixture *f = *state;
    char *key = new_key();
    fl_EnrolRequest request = request_of(key, "laptop");
    fl_EnrolReply reply = ask(f, &request);
    struct store_token token;
    struct party party;
    struct identity *identity;

    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_ISSUED);
    assert_int_equal(f->count, 1);
    assert_int_equal(trust_check(authority_trust(f->authority), reply.certificate.bytes,
                                 reply.certificate.size, clock_wall(), &party, NULL),
                     0);
    assert_int_equal(party.role, PARTY_AGENT);
    assert_true(id_equal(&party.id, &f->agent[0].id));
    assert_int_equal(identity_new(key, reply.certificate.bytes, reply.certificate.size,
                                  reply.ca.bytes, reply.ca.size, &identity),
                     0);
    identity_unref(identity);
    assert_string_equal(f->agent[0].name, "laptop");
    assert_string_equal(f->agent[0].tags.item[0], "from-token");
    assert_int_equal(store_token_get(f->store, &f->token.id, &token), 0);
    assert_int_equal(token.uses, 1);

    /* The same key again: the same identity, not another use. */
    reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_ISSUED);
    assert_int_equal(f->count, 1);
    assert_int_equal(store_token_get(f->store, &f->token.id, &token), 0);
    assert_int_equal(token.uses, 1);
    free(key);
}

static void an_agent_waits_for_approval(void **state)
{
    struct fixture *f = *state;
    char *key = new_key();
    fl_EnrolRequest request = request_of(key, "laptop");

    f->token.approval = true;
    for (int i = 0; i < 3; i++) {
        fl_EnrolReply reply = ask(f, &request);

        assert_int_equal(reply.status, fl_EnrolStatus_ENROL_PENDING);
        assert_int_equal(reply.certificate.size, 0);
        assert_true(reply.retry > 0);
    }
    assert_int_equal(f->count, 1);
    f->agent[0].state = AGENT_ACTIVE;
    fl_EnrolReply reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_ISSUED);
    free(key);
}

static void a_revoked_agent_stays_out(void **state)
{
    struct fixture *f = *state;
    char *key = new_key();
    fl_EnrolRequest request = request_of(key, "laptop");

    (void)ask(f, &request);
    f->agent[0].state = AGENT_REVOKED;
    fl_EnrolReply reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_REFUSED);
    assert_int_equal(reply.certificate.size, 0);
    free(key);
}

static void a_bad_request_is_refused(void **state)
{
    struct fixture *f = *state;
    char *key = new_key();
    fl_EnrolRequest request = request_of(key, "x"), broken = {0};
    fl_EnrolReply reply = ask(f, &broken);

    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_REFUSED);
    request.csr.bytes[request.csr.size - 1] ^= 1; /* in the signature */
    reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_REFUSED);
    assert_int_equal(f->count, 0);
    free(key);
}

/* A full disk must not look like a refusal, on which an agent would give up. */
static void a_failing_store_means_later(void **state)
{
    struct fixture *f = *state;
    char *key = new_key();
    fl_EnrolRequest request = request_of(key, "x");

    f->put_error = -ENOSPC;
    fl_EnrolReply reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_PENDING);
    assert_int_equal(reply.certificate.size, 0);
    f->put_error = 0;
    reply = ask(f, &request);
    assert_int_equal(reply.status, fl_EnrolStatus_ENROL_ISSUED);
    free(key);
}

static void tokens_are_checked(void **state)
{
    struct fixture *f = *state;
    struct store_token token;
    struct fl_id other;

    id_random(&other);
    assert_int_equal(enrol_token_ok(f->store, &f->token.id, f->token.created, &token), 0);
    assert_int_equal(enrol_token_ok(f->store, &f->token.id, f->token.expires + 1, &token),
                     -FL_EEXPIRED);
    assert_int_equal(enrol_token_ok(f->store, &other, f->token.created, &token), -FL_ENOTFOUND);
    assert_int_equal(store_token_revoke(f->store, &f->token.id), 0);
    assert_int_equal(enrol_token_ok(f->store, &f->token.id, f->token.created, &token), -FL_EDENIED);
}

static void names_are_clean_and_unique(void **state)
{
    struct fixture *f = *state;
    char long_name[80], name[STORE_NAME_MAX];
    struct fl_id id = {.b = {0xab, 0xcd}}, other = {.b = {1}};

    enrol_name(&f->view, "a b:c/d\n", &id, name);
    assert_string_equal(name, "a-b-c-d");
    enrol_name(&f->view, "", &id, name);
    assert_string_equal(name, "agent-abcd0000");
    enrol_name(&f->view, "..", &id, name);
    assert_string_equal(name, "agent-abcd0000");
    enrol_name(&f->view, "caf\xc3\xa9", &id, name);
    assert_string_equal(name, "caf\xc3\xa9");
    enrol_name(&f->view, "caf\xff", &id, name); /* no valid UTF-8 */
    assert_string_equal(name, "caf");
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    enrol_name(&f->view, long_name, &id, name);
    assert_true(strlen(name) < STORE_NAME_MAX - 5);

    f->agent[0].id = other;
    strcpy(f->agent[0].name, "laptop");
    f->agent[1].id = other;
    strcpy(f->agent[1].name, "laptop-2");
    f->count = 2;
    enrol_name(&f->view, "laptop", &id, name);
    assert_string_equal(name, "laptop-3");
    enrol_name(&f->view, "laptop", &other, name); /* its own */
    assert_string_equal(name, "laptop");
}

static void a_renewal_keeps_the_key(void **state)
{
    struct fixture *f = *state;
    char *key = new_key(), *other = new_key();
    fl_EnrolRequest first = request_of(key, "x"), second = request_of(other, "x");
    fl_RenewRequest request = {0};
    fl_RenewReply reply;
    struct fl_id id;

    assert_int_equal(identity_key_id(key, &id), 0);
    memcpy(&request.csr, &first.csr, sizeof(first.csr));
    enrol_renew(f->authority, &id, &request, &reply);
    assert_true(reply.certificate.size > 0);
    memcpy(&request.csr, &second.csr, sizeof(second.csr));
    enrol_renew(f->authority, &id, &request, &reply);
    assert_int_equal(reply.certificate.size, 0);
    assert_true(reply.text[0]);
    free(key);
    free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_certificate_is_issued),     TEST(an_agent_waits_for_approval),
        TEST(a_revoked_agent_stays_out),   TEST(a_bad_request_is_refused),
        TEST(a_failing_store_means_later), TEST(tokens_are_checked),
        TEST(names_are_clean_and_unique),  TEST(a_renewal_keeps_the_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
