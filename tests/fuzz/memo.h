/* memo.h - proofs of identity that are made and checked once, for targets whose inputs all begin
 * with the same ones; and ids that are the same in every run of an input.
 *
 * A proof is a signature over a secret of its leg (identity/hello.h), and a target of which half
 * the time is Ed25519 tries half as many inputs. Signing and checking are functions of their
 * arguments alone, but for the set of denied ids, which is asked each time. Linked with -Wl,--wrap:
 * see meson.build. */
#ifndef FL_TESTS_FUZZ_MEMO_H
#define FL_TESTS_FUZZ_MEMO_H

/* memo_begin - an input begins: id_random() starts from the beginning, and so legs in memory have
 * the secrets that they had before. */
void memo_begin(void);

#endif
