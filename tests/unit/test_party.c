#include "certs.h"

#include "base/error.h"

static const char domain_hex[] = "00112233445566778899aabbccddeeff";

static void uri_round_trip(void **state)
{
    struct fl_id domain, back;
    struct party party, again;
    char uri[PARTY_URI_MAX];

    assert_int_equal(id_parse(domain_hex, &domain), 0);
    for (unsigned role = PARTY_AGENT; role <= PARTY_ENROL; role++) {
        party.role = (enum party_role)role;
        id_random(&party.id);
        if (role == PARTY_CONSOLE)
            party.id = domain;
        party_uri(&domain, &party, uri);
        assert_int_equal(party_parse_uri(uri, &back, &again), 0);
        assert_true(party_equal(&party, &again));
        assert_true(id_equal(&domain, &back));
    }
}

static void uri_text(void **state)
{
    struct fl_id domain;
    struct party party = {.role = PARTY_PROXY, .id = {{0xab}}};
    char uri[PARTY_URI_MAX];

    assert_int_equal(id_parse(domain_hex, &domain), 0);
    assert_string_equal(
        party_uri(&domain, &party, uri),
        "fairlead://00112233445566778899aabbccddeeff/proxy/ab000000000000000000000000000000");
    party.role = PARTY_CONSOLE;
    assert_string_equal(party_uri(&domain, &party, uri),
                        "fairlead://00112233445566778899aabbccddeeff/console");
}

static void uri_refused(void **state)
{
#define D "fairlead://00112233445566778899aabbccddeeff"
#define I "ab000000000000000000000000000000"
    static const struct {
        const char *uri;
        int code;
    } bad[] = {
        {"", FL_ECERT},
        {"fairlead:", FL_ECERT},
        {"fairlead://", FL_ECERT},
        {"http://00112233445566778899aabbccddeeff/agent/" I, FL_ECERT},
        {"fairlead://00112233445566778899aabbccddee/agent/" I, FL_ECERT},
        {"fairlead://00112233445566778899AABBCCDDEEFF/agent/" I, FL_ECERT},
        {D, FL_ECERT},
        {D "/", FL_ECERT},
        {D "/agent", FL_ECERT},
        {D "/agent/", FL_ECERT},
        {D "/agent/ab", FL_ECERT},
        {D "/agent/" I "0", FL_ECERT},
        {D "/agent/" I "/", FL_ECERT},
        {D "/agent/AB000000000000000000000000000000", FL_ECERT},
        {D "/agent/00000000000000000000000000000000", FL_ECERT},
        {D "/console/", FL_ECERT},
        {D "/console/" I, FL_ECERT},
        {D "/none/" I, FL_EROLE},
        {D "/agen/" I, FL_EROLE},
        {D "/agents/" I, FL_EROLE},
        {D "/admin/" I, FL_EROLE},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct party party;
        struct fl_id domain;

        assert_int_equal(party_parse_uri(bad[i].uri, &domain, &party), -bad[i].code);
    }
}

static void wire(void **state)
{
    struct party party = {.role = PARTY_ENROL, .id = {{1}}}, back;
    fl_Party message;

    party_to_wire(&party, &message);
    assert_int_equal(message.role, fl_Role_ROLE_ENROL);
    assert_int_equal(party_from_wire(&message, &back), 0);
    assert_true(party_equal(&party, &back));
    back.role = PARTY_AGENT;
    assert_false(party_equal(&party, &back));

    message.role = (fl_Role)0;
    assert_int_equal(party_from_wire(&message, &back), -FL_EMESSAGE);
    message.role = (fl_Role)5;
    assert_int_equal(party_from_wire(&message, &back), -FL_EMESSAGE);
    message.role = (fl_Role)-1;
    assert_int_equal(party_from_wire(&message, &back), -FL_EMESSAGE);
    message = (fl_Party){.role = fl_Role_ROLE_AGENT};
    assert_int_equal(party_from_wire(&message, &back), -FL_EMESSAGE);
}

/* party.h promises that both enums have the same numbers. */
static void role_numbers(void **state)
{
    assert_int_equal(PARTY_AGENT, fl_Role_ROLE_AGENT);
    assert_int_equal(PARTY_PROXY, fl_Role_ROLE_PROXY);
    assert_int_equal(PARTY_CONSOLE, fl_Role_ROLE_CONSOLE);
    assert_int_equal(PARTY_ENROL, fl_Role_ROLE_ENROL);
    assert_string_equal(party_role_name(PARTY_ENROL), "enrol");
    assert_string_equal(party_role_name((enum party_role)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uri_round_trip), cmocka_unit_test(uri_text),
        cmocka_unit_test(uri_refused),    cmocka_unit_test(wire),
        cmocka_unit_test(role_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
