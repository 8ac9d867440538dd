/* Secrets at rest: what is sealed opens with the same key and name, and with nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "console/vault.h"

static struct vault *make(uint8_t first)
{
    uint8_t key[VAULT_KEY] = {first};
    struct vault *vault = NULL;

    assert_int_equal(vault_new(key, &vault), 0);
    return vault;
}

static void what_is_sealed_opens(void **state)
{
    struct vault *vault = make(1);
    uint8_t sealed[64], again[64], out[64];

    for (size_t len = 0; len <= 32; len += 8) {
        assert_int_equal(vault_seal(vault, "name", "0123456789abcdef0123456789abcdef", len, sealed),
                         0);
        assert_int_equal(vault_unseal(vault, "name", sealed, len + VAULT_EXTRA, out), 0);
        assert_memory_equal(out, "0123456789abcdef0123456789abcdef", len);
    }
    /* No two look alike. */
    assert_int_equal(vault_seal(vault, "name", "same", 4, sealed), 0);
    assert_int_equal(vault_seal(vault, "name", "same", 4, again), 0);
    assert_memory_not_equal(sealed, again, 4 + VAULT_EXTRA);
    assert_null(memmem(sealed, 4 + VAULT_EXTRA, "same", 4));
    vault_free(vault);
    vault_free(NULL);
}

static void nothing_else_opens_it(void **state)
{
    struct vault *vault = make(1), *other = make(2);
    uint8_t sealed[64], out[64];

    assert_int_equal(vault_seal(vault, "name", "secret", 6, sealed), 0);
    assert_int_equal(vault_unseal(other, "name", sealed, 6 + VAULT_EXTRA, out), -FL_EHASH);
    assert_int_equal(vault_unseal(vault, "nane", sealed, 6 + VAULT_EXTRA, out), -FL_EHASH);
    assert_int_equal(vault_unseal(vault, "", sealed, 6 + VAULT_EXTRA, out), -FL_EHASH);
    for (size_t len = 0; len < 6 + VAULT_EXTRA; len++)
        assert_int_equal(vault_unseal(vault, "name", sealed, len, out), -FL_EHASH);
    for (size_t i = 0; i < 6 + VAULT_EXTRA; i++) {
        sealed[i] ^= 1;
        assert_int_equal(vault_unseal(vault, "name", sealed, 6 + VAULT_EXTRA, out), -FL_EHASH);
        sealed[i] ^= 1;
    }
    assert_int_equal(vault_unseal(vault, "name", sealed, 6 + VAULT_EXTRA, out), 0);
    vault_free(vault);
    vault_free(other);
}

static void a_passphrase_makes_a_key(void **state)
{
    uint8_t salt[VAULT_SALT] = {7}, a[VAULT_KEY], b[VAULT_KEY];

    assert_int_equal(vault_derive("passphrase", salt, a), 0);
    assert_int_equal(vault_derive("passphrase", salt, b), 0);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(vault_derive("passphrasf", salt, b), 0);
    assert_memory_not_equal(a, b, sizeof(a));
    salt[0] = 8;
    assert_int_equal(vault_derive("passphrase", salt, b), 0);
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_opens),
        cmocka_unit_test(nothing_else_opens_it),
        cmocka_unit_test(a_passphrase_makes_a_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
