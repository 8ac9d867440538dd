/* What the first message of a tunnel may say, and what it may not. */
#include "certs.h"

#include "base/error.h"
#include "tunnel/greeting.h"

static struct party party_of(enum party_role role)
{
    struct party party = {.role = role};

    id_random(&party.id);
    return party;
}

static fl_TunnelHello hello_of(enum _fl_Purpose purpose, enum party_role caller,
                               enum party_role callee)
{
    struct greeting g = {
        .caller = party_of(caller), .callee = party_of(callee), .purpose = purpose};
    fl_TunnelHello hello;

    if (greeting_has_flow(purpose))
        id_random(&g.flow);
    greeting_make(&g, NULL, &hello);
    return hello;
}

static void who_may_open_what(void **state)
{
    static const struct {
        enum _fl_Purpose purpose;
        enum party_role caller, callee;
    } legal[] = {
        {fl_Purpose_PURPOSE_CONTROL, PARTY_AGENT, PARTY_CONSOLE},
        {fl_Purpose_PURPOSE_ENROL, PARTY_ENROL, PARTY_CONSOLE},
        {fl_Purpose_PURPOSE_TRANSFER, PARTY_AGENT, PARTY_AGENT},
        {fl_Purpose_PURPOSE_FORWARD, PARTY_AGENT, PARTY_AGENT},
    };
    size_t found = 0;

    for (unsigned purpose = fl_Purpose_PURPOSE_CONTROL; purpose <= fl_Purpose_PURPOSE_FORWARD;
         purpose++) {
        for (unsigned caller = PARTY_AGENT; caller <= PARTY_ENROL; caller++) {
            for (unsigned callee = PARTY_AGENT; callee <= PARTY_ENROL; callee++) {
                fl_TunnelHello hello = hello_of((enum _fl_Purpose)purpose, (enum party_role)caller,
                                                (enum party_role)callee);
                struct greeting g;
                bool allowed = found < sizeof(legal) / sizeof(legal[0]) &&
                               legal[found].purpose == purpose && legal[found].caller == caller &&
                               legal[found].callee == callee;
                assert_int_equal(greeting_read(&hello, &g), allowed ? 0 : -FL_EROLE);
                found += allowed;
            }
        }
    }
    assert_int_equal(found, sizeof(legal) / sizeof(legal[0]));
}

static void broken_is_refused(void **state)
{
    const fl_TunnelHello good = hello_of(fl_Purpose_PURPOSE_TRANSFER, PARTY_AGENT, PARTY_AGENT);
    const fl_TunnelHello control = hello_of(fl_Purpose_PURPOSE_CONTROL, PARTY_AGENT, PARTY_CONSOLE);
    struct greeting g;
    fl_TunnelHello hello = good;

    assert_int_equal(greeting_read(&hello, &g), 0);
    hello.version = GREETING_VERSION - 1;
    assert_int_equal(greeting_read(&hello, &g), -FL_EVERSION);
    hello = good;
    hello.version = GREETING_VERSION + 1; /* it will speak ours */
    assert_int_equal(greeting_read(&hello, &g), 0);

    static const unsigned unknown[] = {0, 5, 6, 1000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        hello = good;
        hello.purpose = (enum _fl_Purpose)unknown[i];
        assert_int_equal(greeting_read(&hello, &g), -FL_EMESSAGE);
    }

    hello = good;
    hello.has_caller = false;
    assert_int_equal(greeting_read(&hello, &g), -FL_EMESSAGE);
    hello = good;
    hello.has_callee = false;
    assert_int_equal(greeting_read(&hello, &g), -FL_EMESSAGE);

    /* A transfer without a flow, control with one. */
    hello = good;
    memset(hello.flow, 0, sizeof(hello.flow));
    assert_int_equal(greeting_read(&hello, &g), -FL_EMESSAGE);
    hello = control;
    hello.flow[FL_ID_BYTES - 1] = 1;
    assert_int_equal(greeting_read(&hello, &g), -FL_EMESSAGE);
}

/* Both ends compare: any difference counts. */
static void any_difference_counts(void **state)
{
    struct greeting a = {.caller = party_of(PARTY_AGENT),
                         .callee = party_of(PARTY_AGENT),
                         .purpose = fl_Purpose_PURPOSE_TRANSFER};
    struct greeting b;

    id_random(&a.session);
    id_random(&a.flow);
    b = a;
    assert_true(greeting_equal(&a, &b));
    b.session.b[0] ^= 1;
    assert_false(greeting_equal(&a, &b));
    b = a;
    b.flow.b[15] ^= 1;
    assert_false(greeting_equal(&a, &b));
    b = a;
    b.caller.id.b[3] ^= 1;
    assert_false(greeting_equal(&a, &b));
    b = a;
    b.callee.role = PARTY_CONSOLE;
    assert_false(greeting_equal(&a, &b));
    b = a;
    b.purpose = fl_Purpose_PURPOSE_FORWARD;
    assert_false(greeting_equal(&a, &b));
}

/* A proof is for one side, one flow, one connection, and needs the token. */
static void proof_is_bound(void **state)
{
    uint8_t token[GREETING_TOKEN] = {1}, other[GREETING_TOKEN] = {2};
    uint8_t exporter[32] = {3}, elsewhere[32] = {4};
    struct fl_id flow = {{5}}, another = {{6}};
    uint8_t proof[32], changed[32];

    assert_int_equal(greeting_proof(token, GREETING_CALLER, &flow, exporter, proof), 0);
    assert_int_equal(greeting_proof(token, GREETING_CALLER, &flow, exporter, changed), 0);
    assert_memory_equal(proof, changed, 32);
    assert_int_equal(greeting_proof(token, GREETING_CALLEE, &flow, exporter, changed), 0);
    assert_memory_not_equal(proof, changed, 32);
    assert_int_equal(greeting_proof(other, GREETING_CALLER, &flow, exporter, changed), 0);
    assert_memory_not_equal(proof, changed, 32);
    assert_int_equal(greeting_proof(token, GREETING_CALLER, &another, exporter, changed), 0);
    assert_memory_not_equal(proof, changed, 32);
    assert_int_equal(greeting_proof(token, GREETING_CALLER, &flow, elsewhere, changed), 0);
    assert_memory_not_equal(proof, changed, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_open_what),
        cmocka_unit_test(broken_is_refused),
        cmocka_unit_test(any_difference_counts),
        cmocka_unit_test(proof_is_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
