/* fuzz_authority.h - the authority of the fuzz corpus. A key for tests that protects
 * nothing; made by fuzz_seed. */
#ifndef FL_TESTS_FUZZ_AUTHORITY_H
#define FL_TESTS_FUZZ_AUTHORITY_H

#define FUZZ_NOW INT64_C(1795529101) /* when it was made */

static const char fuzz_ca_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEID6ziKJnvZ0I9K8q2cirISnBNf6V8NtZzImPpe6eZ0NJ\n"
    "-----END PRIVATE KEY-----\n";
static const char fuzz_ca_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBpzCCAVmgAwIBAgIQQgu6lVhiaVA6rQ5BvwymgDAFBgMrZXAwUjERMA8GA1UE\n"
    "ChMIRmFpcmxlYWQxEjAQBgNVBAsTCWF1dGhvcml0eTEpMCcGA1UEAxMgZTE5MzE1\n"
    "NGQ3MmY5OWE0Mjg4NmVkZTlmMWNkYzA3NWIwHhcNMjYxMTI0MTMwNTAxWhcNMzYx\n"
    "MTIxMTQwNTAxWjBSMREwDwYDVQQKEwhGYWlybGVhZDESMBAGA1UECxMJYXV0aG9y\n"
    "aXR5MSkwJwYDVQQDEyBlMTkzMTU0ZDcyZjk5YTQyODg2ZWRlOWYxY2RjMDc1YjAq\n"
    "MAUGAytlcAMhAE9fWBn0O8HySwCuUSbSIwshBvs/olc3nGjnEEupBUano0UwQzAd\n"
    "BgNVHQ4EFgQUSxF5LzUatqwvnFJkkvrIVdCS26swEgYDVR0TAQH/BAgwBgEB/wIB\n"
    "ADAOBgNVHQ8BAf8EBAMCAQYwBQYDK2VwA0EA2XrOxUzzwKzcNB9RtnJwjXSs7TT+\n"
    "Bi8FCkVI5mMF5hTmGv1uSXyN8O509NIWGsvAlOZiei/Movyu00sW8eKdCQ==\n"
    "-----END CERTIFICATE-----\n";

#endif
