#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proxy/pair.h"
#include "proxy/settings.h"

static const struct party alice = {PARTY_AGENT, {{1}}};
static const struct party bob = {PARTY_AGENT, {{2}}};
static const struct party console = {PARTY_CONSOLE, {{3}}};
static const struct party newcomer = {PARTY_ENROL, {{4}}};
static const struct party proxy = {PARTY_PROXY, {{5}}};

#define NOW (1000 * CLOCK_SEC)

/* Stand-ins: pair only compares these pointers with NULL. */
static struct conn *const conn_a = (struct conn *)"a";
static struct conn *const conn_b = (struct conn *)"b";
static struct worker *const home = (struct worker *)"w";

static struct accounts *accounts;

static struct pair *pair_of(uint32_t sessions, uint32_t per_agent)
{
    const struct proxy_limits limits = {.sessions_per_agent = per_agent};
    struct pair *pair;
    assert_int_equal(accounts_new(&limits, &accounts), 0);
    assert_int_equal(pair_new(sessions, accounts, &pair), 0);
    return pair;
}

static void pair_done(struct pair *pair)
{
    pair_free(pair);
    assert_int_equal(accounts_count(accounts), 0);
    accounts_free(accounts);
}

/* place->waiting is only good for a comparison with NULL afterwards. */
static enum close_reason join_with(struct pair *pair, const struct party *party,
                                   const struct pair_offer *offer, unsigned side, uint64_t now,
                                   struct worker *fixed, bool udp, struct pair_place *place)
{
    struct conn_ref *ref = conn_ref_new(side ? conn_b : conn_a, home);
    const struct pair_comer comer = {side ? conn_b : conn_a, ref, fixed, home, udp};

    enum close_reason reason =
        pair_join(pair, party, &offer->session, offer->key[side], &comer, now, place);
    conn_ref_unref(ref);
    if (reason == CLOSE_DONE)
        conn_ref_unref(place->waiting);
    return reason;
}

static enum close_reason join(struct pair *pair, const struct party *party,
                              const struct pair_offer *offer, unsigned side, uint64_t now,
                              struct pair_place *place)
{
    return join_with(pair, party, offer, side, now, NULL, false, place);
}

static void roles(void **state)
{
    assert_int_equal(pair_allowed(&alice, &bob), CLOSE_DONE);
    assert_int_equal(pair_allowed(&alice, &alice), CLOSE_DONE);
    assert_int_equal(pair_allowed(&alice, &console), CLOSE_DONE);
    assert_int_equal(pair_allowed(&console, &alice), CLOSE_DONE);
    assert_int_equal(pair_allowed(&newcomer, &console), CLOSE_DONE);
    assert_int_equal(pair_allowed(&newcomer, &alice), CLOSE_REFUSED);
    assert_int_equal(pair_allowed(&newcomer, &newcomer), CLOSE_REFUSED);
    assert_int_equal(pair_allowed(&alice, &newcomer), CLOSE_REFUSED);
    assert_int_equal(pair_allowed(&alice, &proxy), CLOSE_REFUSED);
    assert_int_equal(pair_allowed(&proxy, &alice), CLOSE_REFUSED);
}

static void both_join(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer offer;
    struct pair_place a, b;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_memory_not_equal(offer.key[0], offer.key[1], KEY_BYTES);
    assert_int_equal(join(pair, &bob, &offer, 1, NOW, &b), CLOSE_DONE);
    assert_int_equal(b.side, 1);
    assert_int_equal(pair_live(pair), 0);
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &a), CLOSE_DONE);
    assert_int_equal(a.side, 0);
    assert_ptr_equal(a.session, b.session);
    assert_ptr_equal(a.session->home, home);
    assert_int_equal(pair_live(pair), 1);
    pair_end(pair, a.session);
    assert_int_equal(pair_count(pair), 0);
    pair_done(pair);
}

/* Where the session lives when the leg of @first, then that of @second, cannot move. */
static struct worker *home_of(struct pair *pair, struct worker *first, struct worker *second)
{
    struct pair_offer offer;
    struct pair_place a, b;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join_with(pair, &alice, &offer, 0, NOW, first, false, &a), CLOSE_DONE);
    assert_null(a.waiting);
    assert_null(a.session->home);
    assert_int_equal(join_with(pair, &bob, &offer, 1, NOW, second, false, &b), CLOSE_DONE);
    assert_non_null(b.waiting);
    struct worker *where = b.session->home;
    pair_end(pair, b.session);
    return where;
}

/* A meeting is one of two who come by UDP; else the key is spent and the place kept for the rest.
 */
static void a_meeting_is_by_udp(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct worker *quic = (struct worker *)"q";
    struct pair_offer offer;
    struct pair_place a, b;

    assert_int_equal(pair_connect(pair, &alice, &bob, true, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &a), CLOSE_NO_UDP);
    assert_int_equal(join_with(pair, &alice, &offer, 0, NOW, quic, true, &a), CLOSE_KEY_UNKNOWN);
    pair_sweep(pair, NOW + PAIR_KEY_SECONDS * CLOCK_SEC);
    assert_int_equal(pair_count(pair), 0);

    assert_int_equal(pair_connect(pair, &alice, &bob, true, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join_with(pair, &alice, &offer, 0, NOW, quic, true, &a), CLOSE_DONE);
    assert_int_equal(join_with(pair, &bob, &offer, 1, NOW, quic, true, &b), CLOSE_DONE);
    assert_true(b.session->meet);
    assert_ptr_equal(b.session->home, quic);
    pair_end(pair, b.session);
    pair_done(pair);
}

static void home_is_where_both_can_be(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct worker *quic = (struct worker *)"q";
    assert_ptr_equal(home_of(pair, NULL, NULL), home);
    assert_ptr_equal(home_of(pair, quic, NULL), quic);
    assert_ptr_equal(home_of(pair, NULL, quic), quic);
    assert_ptr_equal(home_of(pair, quic, quic), quic);
    pair_done(pair);
}

static void key_is_good_once(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer offer;
    struct pair_place place, again;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &place), CLOSE_DONE);
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &again), CLOSE_KEY_UNKNOWN);
    pair_leave(pair, place.session, 0);
    assert_int_equal(pair_count(pair), 0);
    assert_int_equal(join(pair, &bob, &offer, 1, NOW, &again), CLOSE_KEY_UNKNOWN);
    pair_done(pair);
}

static void anothers_key_dies(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer offer;
    struct pair_place place;
    struct party console_as_agent = {PARTY_AGENT, console.id},
                 alice_as_enrol = {PARTY_ENROL, alice.id};
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join(pair, &console_as_agent, &offer, 1, NOW, &place), CLOSE_KEY_OWNER);
    assert_int_equal(join(pair, &bob, &offer, 1, NOW, &place), CLOSE_KEY_UNKNOWN);
    assert_int_equal(join(pair, &alice_as_enrol, &offer, 0, NOW, &place), CLOSE_KEY_OWNER);
    pair_done(pair);
}

static void late_key(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer offer;
    struct pair_place place;
    uint64_t last = NOW + PAIR_KEY_SECONDS * CLOCK_SEC;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    pair_sweep(pair, last - 1);
    assert_int_equal(pair_count(pair), 1);
    assert_int_equal(join(pair, &alice, &offer, 0, last, &place), CLOSE_KEY_UNKNOWN);
    pair_sweep(pair, last);
    assert_int_equal(pair_count(pair), 0);
    pair_done(pair);
}

static void wrong_session(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer one, two;
    struct pair_place place;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &one), CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &two), CLOSE_DONE);
    struct fl_id right = one.session;
    one.session = two.session;
    assert_int_equal(join(pair, &alice, &one, 0, NOW, &place), CLOSE_KEY_UNKNOWN);
    one.session = right;
    assert_int_equal(join(pair, &alice, &one, 0, NOW, &place), CLOSE_KEY_UNKNOWN);
    assert_int_equal(join(pair, &alice, &two, 0, NOW, &place), CLOSE_DONE);
    pair_leave(pair, place.session, 0);
    pair_done(pair);
}

static void guessed_key(void **state)
{
    struct pair *pair = pair_of(10, 10);
    struct pair_offer offer;
    struct pair_place place;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    offer.key[0][31] ^= 1;
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &place), CLOSE_KEY_UNKNOWN);
    offer.key[0][31] ^= 1;
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &place), CLOSE_DONE);
    pair_leave(pair, place.session, 0);
    pair_done(pair);
}

static void limits(void **state)
{
    struct pair *pair = pair_of(3, 2);
    struct pair_offer offer;
    struct pair_place place;
    struct party carol = {PARTY_AGENT, {{9}}};
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &console, &alice, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &alice, &carol, false, NOW, &offer),
                     CLOSE_FULL); /* alice has 2 */
    assert_int_equal(pair_connect(pair, &carol, &alice, false, NOW, &offer), CLOSE_FULL);
    assert_int_equal(pair_connect(pair, &console, &console, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &carol, &carol, false, NOW, &offer),
                     CLOSE_FULL); /* 3 in all */
    assert_int_equal(pair_count(pair), 3);
    assert_int_equal(join(pair, &console, &offer, 0, NOW, &place), CLOSE_DONE);
    pair_leave(pair, place.session, 0);
    assert_int_equal(pair_connect(pair, &carol, &carol, false, NOW, &offer),
                     CLOSE_DONE); /* both sides count */
    pair_sweep(pair, NOW + 100 * CLOCK_SEC);
    assert_int_equal(pair_count(pair), 0);
    assert_int_equal(pair_connect(pair, &alice, &carol, false, NOW, &offer), CLOSE_DONE);
    pair_done(pair);
}

static void room_for_the_console(void **state)
{
    struct pair *pair = pair_of(2, 100);
    struct pair_offer offer;

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_FULL);
    assert_int_equal(pair_connect(pair, &newcomer, &console, false, NOW, &offer), CLOSE_FULL);
    for (unsigned i = 0; i < PAIR_KEPT(2); i++)
        assert_int_equal(i % 2 ? pair_connect(pair, &console, &alice, false, NOW, &offer)
                               : pair_connect(pair, &alice, &console, false, NOW, &offer),
                         CLOSE_DONE);
    assert_int_equal(pair_connect(pair, &console, &alice, false, NOW, &offer), CLOSE_FULL);
    pair_done(pair);
}

static void half_is_the_conns_to_end(void **state)
{
    struct pair *pair = pair_of(3, 2);
    struct pair_offer offer;
    struct pair_place a, b;
    assert_int_equal(pair_connect(pair, &alice, &bob, false, NOW, &offer), CLOSE_DONE);
    assert_int_equal(join(pair, &alice, &offer, 0, NOW, &a), CLOSE_DONE);
    pair_sweep(pair, NOW + 100 * CLOCK_SEC); /* a conn refers to it: it stays */
    assert_int_equal(pair_count(pair), 1);
    assert_int_equal(join(pair, &bob, &offer, 1, NOW, &b), CLOSE_DONE);
    pair_leave(pair, a.session, 0); /* the first dies while the second is on its way */
    assert_null(b.session->conn[0]);
    assert_int_equal(pair_count(pair), 1);
    pair_leave(pair, b.session, 1);
    assert_int_equal(pair_count(pair), 0);
    assert_int_equal(pair_live(pair), 0);
    pair_done(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles),
        cmocka_unit_test(both_join),
        cmocka_unit_test(home_is_where_both_can_be),
        cmocka_unit_test(a_meeting_is_by_udp),
        cmocka_unit_test(key_is_good_once),
        cmocka_unit_test(anothers_key_dies),
        cmocka_unit_test(late_key),
        cmocka_unit_test(wrong_session),
        cmocka_unit_test(guessed_key),
        cmocka_unit_test(limits),
        cmocka_unit_test(room_for_the_console),
        cmocka_unit_test(half_is_the_conns_to_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
