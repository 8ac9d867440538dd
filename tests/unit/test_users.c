/* Passwords, the second factor, the brake for who guesses, and sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <liboath/oath.h>

#include "base/error.h"
#include "console/session.h"
#include "console/store_log.h"
#include "console/users.h"
#include "store_rig.h"

#define WALL INT64_C(1800000000)

struct fixture {
    struct store_rig rig;
    struct store *store;
    struct users *users;
    struct store_user alice;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->store = store_rig_up(&f->rig, "users");
    assert_int_equal(users_new(f->store, &f->users), 0);
    f->alice = (struct store_user){.name = "alice", .role = ROLE_OPERATOR, .created = WALL};
    assert_int_equal(users_set_password(&f->alice, "correct horse"), 0);
    assert_int_equal(store_user_put(f->store, &f->alice), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    users_free(f->users);
    store_rig_down(&f->rig, f->store);
    free(f);
    return 0;
}

static enum users_answer login(struct fixture *f, const char *name, const char *password,
                               const char *code, const char *peer, int64_t now, int64_t *ret_wait)
{
    struct store_user user;

    return users_login(f->users, name, password, code, peer, now, WALL + now, &user, ret_wait);
}

static void passwords(void **state)
{
    struct fixture *f = *state;
    struct store_user bob = {.name = "bob", .disabled = true};
    char made[USER_PASSWORD_TEXT], other[USER_PASSWORD_TEXT];
    int64_t wait;

    assert_int_equal(strncmp(f->alice.hash, "$argon2id$", 10), 0);
    assert_int_equal(login(f, "alice", "correct horse", NULL, "192.0.2.1", 0, &wait), USERS_OK);
    assert_int_equal(login(f, "alice", "correct horsf", NULL, "192.0.2.1", 0, &wait), USERS_WRONG);
    assert_int_equal(login(f, "nobody", "correct horse", NULL, "192.0.2.1", 0, &wait), USERS_WRONG);
    assert_int_equal(login(f, "alice' OR 1=1 --", "x", NULL, "192.0.2.1", 0, &wait), USERS_WRONG);
    assert_int_equal(users_set_password(&bob, "correct horse"), 0);
    assert_string_not_equal(bob.hash, f->alice.hash); /* salted */
    assert_int_equal(store_user_put(f->store, &bob), 0);
    assert_int_equal(login(f, "bob", "correct horse", NULL, "192.0.2.1", 0, &wait), USERS_WRONG);
    assert_int_equal(users_make_password(made), 0);
    assert_int_equal(users_make_password(other), 0);
    assert_int_equal(strlen(made), 24);
    assert_string_not_equal(made, other);
}

static void the_brake_holds_who_guesses_and_nobody_else(void **state)
{
    struct fixture *f = *state;
    int64_t wait, now = 1000;

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(login(f, "alice", "wrong", NULL, "192.0.2.66", now, &wait), USERS_WRONG);
    assert_int_equal(login(f, "alice", "correct horse", NULL, "192.0.2.66", now, &wait),
                     USERS_SLOW_DOWN);
    assert_true(wait > 0);
    /* The owner, from elsewhere, is not locked out. */
    assert_int_equal(login(f, "alice", "correct horse", NULL, "192.0.2.7", now, &wait), USERS_OK);
    now += wait + 2;
    assert_int_equal(login(f, "alice", "correct horse", NULL, "192.0.2.66", now, &wait), USERS_OK);
    /* It is longer each time, and bounded. */
    int64_t longest = 0;
    for (unsigned i = 0; i < 40; i++) {
        if (login(f, "alice", "wrong", NULL, "192.0.2.66", now, &wait) == USERS_SLOW_DOWN)
            now += wait;
        longest = wait > longest ? wait : longest;
    }
    assert_in_range(longest, 100, 300);
}

/* Names are changed from the same address: the address itself is braked. */
static void guessing_many_names_is_braked_as_well(void **state)
{
    struct fixture *f = *state;
    int64_t wait;
    unsigned tries = 0;
    char name[16];

    for (; tries < 60; tries++) {
        snprintf(name, sizeof(name), "user%u", tries);
        if (login(f, name, "wrong", NULL, "2001:db8::1", 5, &wait) == USERS_SLOW_DOWN)
            break;
    }
    assert_in_range(tries, 10, 30);
    /* Another address of the same /64 is the same customer, one of another /64 is not. */
    assert_int_equal(login(f, "alice", "correct horse", NULL, "2001:db8::2", 5, &wait),
                     USERS_SLOW_DOWN);
    assert_int_equal(login(f, "alice", "correct horse", NULL, "2001:db8:0:1::2", 5, &wait),
                     USERS_OK);
}

static void code_at(const struct store_user *user, int64_t when, char code[static 7])
{
    assert_int_equal(
        oath_totp_generate((const char *)user->totp, user->totp_len, (time_t)when, 30, 0, 6, code),
        OATH_OK);
}

static void the_second_factor(void **state)
{
    struct fixture *f = *state;
    char code[7], old[7];
    int64_t wait;

    f->alice.totp_len = USER_TOTP_MAX;
    memset(f->alice.totp, 7, USER_TOTP_MAX);
    assert_int_equal(store_user_put(f->store, &f->alice), 0);
    assert_int_equal(login(f, "alice", "correct horse", NULL, "192.0.2.1", 0, &wait), USERS_CODE);
    assert_int_equal(login(f, "alice", "wrong", "123456", "192.0.2.1", 0, &wait), USERS_WRONG);
    code_at(&f->alice, WALL - 90, old);
    assert_int_equal(login(f, "alice", "correct horse", old, "192.0.2.1", 0, &wait), USERS_CODE);
    code_at(&f->alice, WALL, code);
    assert_int_equal(login(f, "alice", "correct horse", code, "192.0.2.1", 0, &wait), USERS_OK);
    /* Seen over a shoulder, it is worth nothing. */
    assert_int_equal(login(f, "alice", "correct horse", code, "192.0.2.1", 1, &wait), USERS_CODE);
    code_at(&f->alice, WALL + 60, code);
    assert_int_equal(login(f, "alice", "correct horse", code, "192.0.2.1", 60, &wait), USERS_OK);
    assert_int_equal(login(f, "alice", "correct horse", "12345", "192.0.2.1", 90, &wait),
                     USERS_CODE);
}

static void sessions_begin_and_end(void **state)
{
    struct fixture *f = *state;
    char cookie[AUTH_TOKEN_TEXT], second[AUTH_TOKEN_TEXT], bad[AUTH_TOKEN_TEXT];
    struct sessions *sessions;

    assert_int_equal(sessions_new(f->store, 0, 1000, &sessions), 0);
    struct session *s = sessions_start(sessions, &f->alice, 0, cookie);
    assert_non_null(s);
    assert_ptr_equal(sessions_find(sessions, cookie, 10), s);
    assert_null(sessions_find(sessions, NULL, 10));
    assert_null(sessions_find(sessions, "", 10));
    strcpy(bad, cookie);
    bad[0] = bad[0] == 'a' ? 'b' : 'a';
    assert_null(sessions_find(sessions, bad, 10));
    assert_string_not_equal(s->csrf, cookie);
    struct session *t = sessions_start(sessions, &f->alice, 10, second);
    sessions_end_all(sessions, "alice", t);
    assert_null(sessions_find(sessions, cookie, 11));
    assert_ptr_equal(sessions_find(sessions, second, 11), t);
    f->alice.role = ROLE_VIEWER;
    sessions_update(sessions, &f->alice);
    assert_int_equal(t->role, ROLE_VIEWER);
    assert_null(sessions_find(sessions, second, 12 + SESSION_IDLE));
    sessions_free(sessions);
}

/* Who is logged in stays so when the console starts again; who was shut out, or is over, does not
 * come back with it. */
static void sessions_outlive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct store_user gone = {.name = "gone", .role = ROLE_ADMIN}, off = {.name = "off"};
    char alices[AUTH_TOKEN_TEXT], ended[AUTH_TOKEN_TEXT], other[2][AUTH_TOKEN_TEXT], csrf[64];
    struct sessions *sessions;

    assert_int_equal(store_user_put(f->store, &gone), 0);
    assert_int_equal(store_user_put(f->store, &off), 0);
    assert_int_equal(sessions_new(f->store, 500, 10000, &sessions), 0);
    struct session *s = sessions_start(sessions, &f->alice, 500, alices);
    assert_non_null(sessions_start(sessions, &gone, 500, other[0]));
    assert_non_null(sessions_start(sessions, &off, 500, other[1]));
    sessions_end(sessions, sessions_start(sessions, &f->alice, 600, ended));
    assert_true(sessions_holds(sessions, s->hash, 600));
    assert_false(sessions_holds(sessions, s->hash, 501 + SESSION_IDLE));
    snprintf(csrf, sizeof(csrf), "%s", s->csrf);
    sessions_free(sessions);
    /* Another machine's clock: it was 0 a minute ago. Meanwhile one's role has changed. */
    f->alice.role = ROLE_VIEWER;
    off.disabled = true;
    assert_int_equal(store_user_put(f->store, &f->alice), 0);
    assert_int_equal(store_user_put(f->store, &off), 0);
    assert_int_equal(store_user_remove(f->store, "gone"), 0);
    assert_int_equal(sessions_new(f->store, 60, 10700, &sessions), 0);
    s = sessions_find(sessions, alices, 60);
    assert_non_null(s);
    assert_int_equal(s->role, ROLE_VIEWER);
    assert_string_not_equal(s->csrf, csrf);
    assert_null(sessions_find(sessions, ended, 60));
    assert_null(sessions_find(sessions, other[0], 60));
    assert_null(sessions_find(sessions, other[1], 60));
    sessions_free(sessions);
    /* Seen at 10700, and then not for longer than a session lasts. */
    assert_int_equal(sessions_new(f->store, 60, 10700 + SESSION_IDLE + 1, &sessions), 0);
    assert_null(sessions_find(sessions, alices, 60));
    sessions_free(sessions);
    assert_int_equal(sessions_new(f->store, 60, 10700, &sessions), 0);
    assert_null(sessions_find(sessions, alices, 60)); /* it was forgotten then */
    sessions_free(sessions);
}

/* Neither one user nor many fill the table for others, and none lasts for ever. */
static void sessions_are_bounded(void **state)
{
    struct fixture *f = *state;
    char first[AUTH_TOKEN_TEXT], cookie[AUTH_TOKEN_TEXT];
    struct store_user other = {.name = "other"};
    struct sessions *sessions;

    assert_int_equal(sessions_new(f->store, 0, 1000, &sessions), 0);
    assert_non_null(sessions_start(sessions, &other, 0, first));
    for (int i = 0; i < 2 * SESSIONS_EACH; i++)
        assert_non_null(sessions_start(sessions, &f->alice, i, cookie));
    assert_non_null(sessions_find(sessions, first, 100));
    assert_non_null(sessions_find(sessions, cookie, 100));
    int64_t now = 100;
    while (sessions_find(sessions, first, now))
        now += SESSION_IDLE / 2;
    assert_in_range(now, SESSION_LONGEST - SESSION_IDLE, SESSION_LONGEST + SESSION_IDLE);
    sessions_free(sessions);
}

static void the_audit_log_is_only_added_to(void **state)
{
    struct fixture *f = *state;
    struct store_audit entry = {.time = 1,
                                .user = "alice",
                                .peer = "192.0.2.1",
                                .action = "x",
                                .subject = "/y",
                                .before = "null",
                                .after = "null"};
    char command[256];

    assert_int_equal(store_audit_add(f->store, &entry), 0);
    assert_int_equal(store_audit_last(f->store), 1);
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof(command),
                 "python3 -c \"import sqlite3; sqlite3.connect('%s/console.db').execute('%s')\" "
                 "2>&1 | grep -q 'only added to'",
                 f->rig.dir, i ? "delete from audit" : "update audit set user = 1");
        assert_int_equal(system(command), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(passwords),
        TEST(the_brake_holds_who_guesses_and_nobody_else),
        TEST(guessing_many_names_is_braked_as_well),
        TEST(the_second_factor),
        TEST(sessions_begin_and_end),
        TEST(sessions_outlive_a_restart),
        TEST(sessions_are_bounded),
        TEST(the_audit_log_is_only_added_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
