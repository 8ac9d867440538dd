/* tls.h - the kinds of TLS session, one place for their settings.
 *
 * Outer: hides a leg; TLS 1.3 only on the dialler's side, server certificate of the web kind, which
 * the dialler does not check (the pinned identity is proved in HELLO_ACK), no client certificate,
 * no tickets. Inner: end to end; TLS 1.3, both certificates checked against the trust, ALPN
 * "fairlead-e2e/1", no tickets, no 0-RTT. Both: own push and pull functions are the caller's duty
 * (kernel TLS is never used).
 */
#ifndef FL_IDENTITY_TLS_H
#define FL_IDENTITY_TLS_H

#include "identity/identity.h"

#define TLS_INNER_ALPN "fairlead-e2e/1"

/* tls_global_init - once per process; refuses a GnuTLS older than 3.7. Returns 0 or -FL_ETLS. */
int tls_global_init(void);

/* Credentials of the answering side of outer TLS, from PEM text with key and certificate chain. */
int tls_web_credentials(const char *pem, size_t len, gnutls_certificate_credentials_t *ret_cred);

/* tls_outer - a session ready for gnutls_handshake() once transport functions are set. @cred: the
 * web credentials when @server, ignored else; @server_name: SNI for the dialler, or NULL.
 * gnutls_deinit() it. Returns 0 or -FL_ETLS, -ENOMEM. */
int tls_outer(bool server, gnutls_certificate_credentials_t cred, const char *server_name,
              gnutls_session_t *ret_session);

/* tls_inner - @server: the callee. The handshake fails unless the peer's certificate passes
 * trust_check(); whom it named is then told by tls_inner_peer(). @identity must outlive the
 * session, whose gnutls_session_set_ptr() slot is taken by this module (gnutls_transport_set_ptr()
 * is the caller's). Validity is judged by the wall clock. */
int tls_inner(bool server, struct identity *identity, gnutls_session_t *ret_session);

/* tls_inner_error - after a failed handshake: why the peer's certificate was refused
 * (trust_check()'s codes; -FL_EVERSION: no common ALPN), or 0 when that was not the reason. */
int tls_inner_error(gnutls_session_t session);

/* tls_inner_peer - after the handshake: who is there. Returns 0 or trust_check()'s codes. Also to
 * be called from the verify step: a failed check ends the handshake with a proper alert, and
 * tls_inner_error() then tells the code. */
int tls_inner_peer(gnutls_session_t session, struct identity *identity, int64_t now,
                   struct party *ret_party);

/* tls_alert_of - the alert by which a peer learns what trust_check() found wrong with its
 * certificate. */
gnutls_alert_description_t tls_alert_of(int code);

/* tls_quic - of a QUIC connection (RFC 9001): both show the certificate of their identity, as
 * inside; ALPN @alpn. @verify is called when the peer's certificate is there; whatever else the
 * session needs (transport parameters, its pointer) is the caller's. @identity must outlive it. */
int tls_quic(bool server, struct identity *identity, const char *alpn,
             gnutls_certificate_verify_function *verify, gnutls_session_t *ret_session);

/* tls_exporter - 32 bytes with @label and a one-byte context. */
int tls_exporter(gnutls_session_t session, const char *label, uint8_t context,
                 uint8_t ret_out[static 32]);

/* tls_padding - bytes of padding (gnutls_record_send2()) for one of the first TLS_PADDED records of
 * a direction. They hold the handshake of a tunnel, or what looks like it from outside, whose sizes
 * are sharp: with it they have at least 900 bytes, and up to 1023 more at random. @len and padding
 * are at most @most together. 0 without random numbers. */
#define TLS_PADDED 8
size_t tls_padding(size_t len, size_t most);

/* tls_padding_fix - for a simulation, whose seed has to name one schedule: the middle in place of
 * chance, from now on. */
void tls_padding_fix(void);

/* What a session has read since it last gave something for it: a handshake, or a record's content.
 * GnuTLS 3.7 and 3.8 collect all of a handshake message before they look at its size, whatever
 * gnutls_handshake_set_max_packet_length() says: 16 MB, of anybody, before and after the handshake.
 * So whoever reads for GnuTLS stops here. */
#define TLS_METER_MAX 65536 /* a flight with a certificate, and some */
struct tls_meter {
    size_t spent; /* bytes */
};

/* tls_meter_over - too much for nothing: read no more, and fail with -FL_ETLS. */
static inline bool tls_meter_over(const struct tls_meter *meter)
{
    return meter->spent >= TLS_METER_MAX;
}
static inline void tls_meter_add(struct tls_meter *meter, size_t len)
{
    meter->spent += len;
}
static inline void tls_meter_reset(struct tls_meter *meter)
{
    meter->spent = 0;
}

#endif
