/* When a stream gets a new connection. QUIC_FAR_US is 1 here: loopback is a long line. */
#include "leg/quic_wear.h"
#include "quic_rig.h"

#define MIB (UINT64_C(1) << 20)

static uint8_t block[FRAME_BODY_MAX];

static unsigned connections(struct rig *rig)
{
    struct quic_endpoint_stats stats;

    quic_endpoint_stats(rig->server, &stats);
    return (unsigned)stats.connections;
}

static void transfer(struct rig *rig, struct end *from, struct end *to, uint64_t bytes)
{
    uint64_t left = bytes, before = to->bytes;

    UNTIL(rig, (left = rig_push(from, block, left, NULL)) == 0);
    UNTIL(rig, to->bytes - before == bytes);
}

static void much_in_a_second_wears(void **state)
{
    struct quic_wear wear = {0};

    for (uint64_t second = 5; second < 50; second++) {
        quic_wear_note(&wear, second * CLOCK_SEC, MIB / 2);
        quic_wear_note(&wear, second * CLOCK_SEC + CLOCK_SEC / 2, MIB / 4);
    }
    assert_false(quic_wear_worn(&wear, 1)); /* however long it goes on */
    quic_wear_note(&wear, 60 * CLOCK_SEC, MIB - 1);
    assert_false(quic_wear_worn(&wear, 1));
    quic_wear_note(&wear, 61 * CLOCK_SEC - 1, 1);
    assert_true(quic_wear_worn(&wear, 1));
    quic_wear_note(&wear, 90 * CLOCK_SEC, 1);
    assert_true(quic_wear_worn(&wear, 1));  /* and that is for good */
    assert_false(quic_wear_worn(&wear, 0)); /* but not where all is near */
}

/* The one that came meanwhile stays where it is, and goes on. */
static void a_worn_connection_is_joined_no_more(void **state)
{
    struct rig rig;
    struct end *first, *beside, *next, *other, *ignored;

    rig_init(&rig, false);
    first = rig_open(&rig, &other);
    beside = rig_open(&rig, &ignored);
    assert_int_equal(connections(&rig), 1);
    transfer(&rig, first, other, 2 * MIB);
    next = rig_open(&rig, &ignored);
    assert_int_equal(connections(&rig), 2);
    (void)rig_open(&rig, &ignored); /* that one is fresh */
    assert_int_equal(connections(&rig), 2);
    transfer(&rig, first, other, MIB);
    assert_int_equal(first->fails + beside->fails + next->fails, 0);
    rig_done(&rig);
}

/* What is received wears as well: the one who sends may be at the other end. */
static void receiving_wears(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    transfer(&rig, other, end, 2 * MIB);
    (void)rig_open(&rig, &other);
    assert_int_equal(connections(&rig), 2);
    rig_done(&rig);
}

static void four_are_the_most(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    for (unsigned i = 1; i <= 6; i++) {
        end = rig_open(&rig, &other);
        transfer(&rig, end, other, 2 * MIB);
        assert_int_equal(connections(&rig), i < 4 ? i : 4);
    }
    rig_done(&rig);
}

/* A worn one without streams is lonely like any other. */
static void it_goes_when_its_streams_have_gone(void **state)
{
    struct rig rig;
    struct end *end, *other;

    rig_init(&rig, false);
    end = rig_open(&rig, &other);
    transfer(&rig, end, other, 2 * MIB);
    (void)rig_open(&rig, &(struct end *){NULL});
    assert_int_equal(connections(&rig), 2);
    leg_close(end->leg, LEG_RESET);
    leg_close(other->leg, LEG_RESET);
    end->leg = other->leg = NULL;
    UNTIL(&rig, connections(&rig) == 1);
    assert_true(quic_endpoint_reaches(rig.client, "127.0.0.1", rig.port));
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(much_in_a_second_wears),
        cmocka_unit_test(a_worn_connection_is_joined_no_more),
        cmocka_unit_test(receiving_wears),
        cmocka_unit_test(four_are_the_most),
        cmocka_unit_test(it_goes_when_its_streams_have_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
