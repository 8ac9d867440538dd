/* Enrolment and the console's tunnel against a console of this test's own, over loopback; the jobs
 * are fakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/credentials.h"
#include "agent/enrol.h"
#include "agent/uplink.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "certs.h"
#include "identity/token.h"
#include "tunnel/endpoint_uv.h"

/* ---- fake jobs ---- */

static size_t have_count;
static unsigned online, tells, assigns, acks, retries;
static int assign_result;

bool jobs_have(const struct jobs *jobs, size_t at, fl_FlowHave *ret_have)
{
    *ret_have = (fl_FlowHave){.flow = {(uint8_t)at}, .generation = at + 1};
    return at < have_count;
}
void jobs_online(struct jobs *jobs)
{
    online++;
}
int jobs_tell(struct jobs *jobs, struct tunnel *tunnel, uint64_t now)
{
    tells++;
    return 0;
}
int jobs_assign(struct jobs *jobs, const fl_FlowAssign *assign, uint64_t now)
{
    assigns++;
    return assign_result;
}
void jobs_ack(struct jobs *jobs, const fl_FlowAck *ack)
{
    acks++;
}
void jobs_retry(struct jobs *jobs, uint64_t now)
{
    retries++;
}

/* ---- the console of this test ---- */

static uv_loop_t loop;
static struct certs certs;
static struct identity *console_identity;
static struct endpoint_uv *console;
static struct tunnel *console_tunnel;
static uint16_t port;
static enum tunnel_close refusal;
static fl_EnrolStatus answers[4];
static unsigned asked, haves, last_haves, reports;
static uint8_t renewed_for[4];
static fl_AgentHello hello;
static unsigned hellos, counts_told;
static struct fl_id agent_id;
static bool wrong_certificate;

static size_t issue(const fl_EnrolRequest *request, uint8_t *dst, size_t cap)
{
    struct certs other;
    char *pem;
    gnutls_x509_crt_t crt;
    size_t len = cap;
    gnutls_datum_t text;

    if (wrong_certificate)
        certs_init(&other);
    assert_int_equal(authority_issue_request(wrong_certificate ? other.authority : certs.authority,
                                             request->csr.bytes, request->csr.size, PARTY_AGENT, 90,
                                             &pem, &agent_id),
                     0);
    text = (gnutls_datum_t){(unsigned char *)pem, (unsigned)strlen(pem)};
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
    assert_int_equal(gnutls_x509_crt_export(crt, GNUTLS_X509_FMT_DER, dst, &len), 0);
    gnutls_x509_crt_deinit(crt);
    free(pem);
    if (wrong_certificate)
        certs_done(&other);
    return len;
}

static void answer_enrol(struct tunnel *tunnel, const struct frame *frame)
{
    fl_EnrolRequest request;
    fl_EnrolReply reply = {.status = answers[asked++], .retry = 1, .text = "said by\nthe console"};

    assert_int_equal(message_decode(fl_EnrolRequest_fields, frame, &request), 0);
    assert_string_equal(request.device_name, "tester");
    assert_int_equal(request.tags_count, 1);
    if (reply.status == fl_EnrolStatus_ENROL_ISSUED)
        reply.certificate.size =
            (pb_size_t)issue(&request, reply.certificate.bytes, sizeof(reply.certificate.bytes));
    assert_int_equal(tunnel_send_message(tunnel, FRAME_ENROL_REPLY, fl_EnrolReply_fields, &reply),
                     0);
}

static void answer_renew(struct tunnel *tunnel, const struct frame *frame)
{
    fl_RenewRequest request;
    fl_EnrolRequest as_enrol = {0};
    fl_RenewReply reply = {0};

    assert_int_equal(message_decode(fl_RenewRequest_fields, frame, &request), 0);
    as_enrol.csr.size = request.csr.size;
    memcpy(as_enrol.csr.bytes, request.csr.bytes, request.csr.size);
    reply.certificate.size =
        (pb_size_t)issue(&as_enrol, reply.certificate.bytes, sizeof(reply.certificate.bytes));
    renewed_for[0]++;
    assert_int_equal(tunnel_send_message(tunnel, FRAME_RENEW_REPLY, fl_RenewReply_fields, &reply),
                     0);
}

static int console_message(void *ctx, struct tunnel *tunnel, const struct frame *frame)
{
    fl_FlowHave have;

    if (frame->type == FRAME_ENROL_REQUEST)
        answer_enrol(tunnel, frame);
    else if (frame->type == FRAME_RENEW_REQUEST)
        answer_renew(tunnel, frame);
    else if (frame->type == FRAME_AGENT_HELLO) {
        assert_int_equal(message_decode(fl_AgentHello_fields, frame, &hello), 0);
        hellos++;
    } else if (frame->type == FRAME_FLOW_HAVE) {
        assert_int_equal(message_decode(fl_FlowHave_fields, frame, &have), 0);
        haves++;
        last_haves += have.last;
    } else if (frame->type == FRAME_FLOW_REPORT) {
        reports++;
    } else if (frame->type == FRAME_AGENT_COUNTS) {
        counts_told++;
    }
    return 0;
}

static void console_opened(void *ctx, struct tunnel *tunnel)
{
    console_tunnel = tunnel;
}

static void console_closed(void *ctx, struct tunnel *tunnel, enum tunnel_close why,
                           const char *text)
{
    if (console_tunnel == tunnel)
        console_tunnel = NULL;
}

static const struct tunnel_ops console_tunnel_ops = {
    .opened = console_opened, .message = console_message, .closed = console_closed};

static enum tunnel_close console_incoming(void *ctx, struct endpoint_incoming *in)
{
    in->ops = &console_tunnel_ops;
    return refusal;
}

static const struct endpoint_ops console_ops = {.incoming = console_incoming};

/* ---- the agent's side ---- */

static char folder[64];
static struct state_dir dir;
static struct agent_config config;
static struct agent_settings *settings;
static struct identity *token;
static struct journal *journal;
static struct identity *result;
static char result_text[300];
static unsigned done;
static struct uplink *uplink;
static struct forwards *forwards;
static struct endpoint_uv *net;
static struct identity *self;

static enum tunnel_close nothing_incoming(void *ctx, struct endpoint_incoming *in)
{
    return TUNNEL_CLOSE_UNKNOWN_FLOW;
}
static const struct endpoint_ops agent_ops = {.incoming = nothing_incoming};

static void on_timeout(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void on_tick(uv_timer_t *timer)
{
    if (uplink)
        uplink_tick(uplink, clock_now());
}

/* Run the loop until *@what has reached @least, @ms at most. */
static bool run_until(const unsigned *what, unsigned least, unsigned ms)
{
    bool late = false;
    uv_timer_t timer, ticks;

    (void)uv_timer_init(&loop, &timer);
    (void)uv_timer_init(&loop, &ticks);
    timer.data = &late;
    (void)uv_timer_start(&timer, on_timeout, ms, 0);
    (void)uv_timer_start(&ticks, on_tick, 0, 20);
    while (*what < least && !late)
        (void)uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_close((uv_handle_t *)&ticks, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    return *what >= least;
}

static void make_token(int64_t seconds)
{
    char *key, *cert, *text;
    char fingerprint[IDENTITY_FINGERPRINT];

    assert_int_equal(identity_make_key(&key), 0);
    assert_int_equal(authority_issue_key(certs.authority, key, PARTY_ENROL, seconds, &cert, NULL),
                     0);
    assert_int_equal(token_make(key, cert, certs.ca_pem, &text), 0);
    trust_fingerprint(authority_trust(certs.authority), fingerprint);
    free(config.token);
    free(config.fingerprint);
    config.token = text;
    config.fingerprint = strdup(fingerprint);
    free(key);
    free(cert);
}

static void make_config(void)
{
    char host[32];

    agent_config_init(&config);
    (void)snprintf(host, sizeof(host), "127.0.0.1:%u", port);
    config.host = strdup(host);
    config.device_name = strdup("tester");
    config.tags.item = calloc(1, sizeof(char *));
    config.tags.item[0] = strdup("lab");
    config.tags.count = 1;
}

static int set_up(void **state)
{
    char message[256], path[96];

    (void)snprintf(folder, sizeof(folder), "/tmp/fl-uplink-XXXXXX");
    if (!mkdtemp(folder) || state_dir_open(folder, &dir, message, sizeof(message)))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/journal.db", folder);
    assert_int_equal(journal_open(path, &journal, message, sizeof(message)), 0);
    (void)uv_loop_init(&loop);
    certs_init(&certs);
    console_identity = certs_identity(&certs, PARTY_CONSOLE, 3600);
    assert_int_equal(endpoint_uv_new(&loop, console_identity, &console_ops, NULL, &console), 0);
    assert_int_equal(endpoint_uv_listen(console, "127.0.0.1", 0, &port), 0);
    refusal = TUNNEL_CLOSE_DONE;
    asked = haves = last_haves = reports = counts_told = hellos = done = online = tells = assigns =
        acks = retries = 0;
    renewed_for[0] = 0;
    assign_result = 0;
    have_count = 0;
    wrong_certificate = false;
    result = NULL;
    make_config();
    make_token(3600);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"lock", "key.pem", "certificate.der", "authority.der",
                                        "journal.db"};

    uplink_free(take_ptr(uplink));
    forwards_free(take_ptr(forwards));
    if (net)
        endpoint_uv_close(take_ptr(net));
    endpoint_uv_close(console);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    journal_close(journal);
    identity_unref(console_identity);
    identity_unref(take_ptr(token));
    identity_unref(take_ptr(self));
    identity_unref(result);
    certs_done(&certs);
    agent_settings_free(take_ptr(settings));
    agent_config_done(&config);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)unlinkat(dir.fd, names[i], 0);
    state_dir_close(&dir);
    return rmdir(folder);
}

static void on_done(void *ctx, struct identity *identity, const char *message)
{
    result = identity;
    (void)snprintf(result_text, sizeof(result_text), "%s", message ? message : "");
    done++;
}

static struct enrol *start_enrol(void)
{
    struct enrol *enrol;
    char message[300];

    if (enrol_token(&config, clock_wall(), &token, message, sizeof(message)))
        fail_msg("%s", message);
    assert_int_equal(enrol_new(&loop, &config, &dir, token, on_done, NULL, &enrol), 0);
    return enrol;
}

/* ---- enrolment ---- */

static void issued_at_once(void **state)
{
    struct identity *loaded;

    answers[0] = fl_EnrolStatus_ENROL_ISSUED;
    (void)start_enrol();
    assert_true(run_until(&done, 1, 5000));
    assert_non_null(result);
    assert_int_equal(identity_party(result)->role, PARTY_AGENT);
    assert_true(id_equal(&identity_party(result)->id, &agent_id));
    assert_int_equal(credentials_load(&dir, &loaded), 0);
    assert_true(party_equal(identity_party(loaded), identity_party(result)));
    identity_unref(loaded);
}

static void pending_then_issued(void **state)
{
    struct fl_id first;
    char *key;

    answers[0] = answers[1] = fl_EnrolStatus_ENROL_PENDING;
    answers[2] = fl_EnrolStatus_ENROL_ISSUED;
    (void)start_enrol();
    assert_true(run_until(&asked, 1, 5000));
    assert_int_equal(credentials_key(&dir, &key), 0); /* on disk before anybody certified it */
    assert_int_equal(identity_key_id(key, &first), 0);
    free(key);
    assert_true(run_until(&done, 1, 8000));
    assert_int_equal(asked, 3);
    assert_true(id_equal(&first, &identity_party(result)->id));
}

static void refused_is_final(void **state)
{
    answers[0] = fl_EnrolStatus_ENROL_REFUSED;
    (void)start_enrol();
    assert_true(run_until(&done, 1, 5000));
    assert_null(result);
    assert_non_null(strstr(result_text, "said by\\nthe console"));
}

static void a_denied_token_is_final(void **state)
{
    refusal = TUNNEL_CLOSE_DENIED;
    (void)start_enrol();
    assert_true(run_until(&done, 1, 5000));
    assert_null(result);
    assert_non_null(strstr(result_text, "revoked"));
}

static void a_wrong_certificate_is_not_taken(void **state)
{
    struct identity *loaded;

    answers[0] = fl_EnrolStatus_ENROL_ISSUED;
    answers[1] = fl_EnrolStatus_ENROL_ISSUED;
    wrong_certificate = true;
    (void)start_enrol();
    assert_true(run_until(&asked, 1, 5000));
    assert_false(run_until(&done, 1, 100));
    assert_int_equal(credentials_load(&dir, &loaded), -ENOENT);
    wrong_certificate = false;
    assert_true(run_until(&done, 1, 5000)); /* it asks again */
    assert_non_null(result);
}

static void an_unreachable_console_is_waited_for(void **state)
{
    struct enrol *enrol;

    free(config.host);
    config.host = strdup("127.0.0.1:1");
    enrol = start_enrol();
    assert_false(run_until(&done, 1, 1200));
    enrol_cancel(enrol);
}

static void tokens(void **state)
{
    char message[300];
    struct identity *opened = NULL;

    config.fingerprint[0] = config.fingerprint[0] == '0' ? '1' : '0';
    assert_int_equal(enrol_token(&config, clock_wall(), &opened, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_non_null(strstr(message, "cert_authority_fingerprint"));
    make_token(3600);
    assert_int_equal(
        enrol_token(&config, clock_wall() - 365 * 86400, &opened, message, sizeof(message)),
        -FL_EEXPIRED);
    assert_non_null(strstr(message, "clock"));
    assert_int_equal(
        enrol_token(&config, clock_wall() + 365 * 86400, &opened, message, sizeof(message)),
        -FL_EEXPIRED);
    assert_non_null(strstr(message, "clock"));
    config.token[20] ^= 1;
    assert_true(enrol_token(&config, clock_wall(), &opened, message, sizeof(message)) < 0);
    free(take_ptr(config.token));
    assert_int_equal(enrol_token(&config, clock_wall(), &opened, message, sizeof(message)),
                     -FL_ECONFIG);
    assert_non_null(strstr(message, "bootstrap_token"));
}

/* ---- the uplink ---- */

static void start_uplink(int64_t seconds)
{
    struct uplink_options options = {.config = &config, .dir = &dir, .journal = journal};

    if (!settings)
        assert_int_equal(agent_settings_new(&config, journal, &settings), 0);
    options.settings = settings;
    struct forwards_options none = {.loop = &loop,
                                    .journal = journal,
                                    .listen = &config.forward_listen,
                                    .connect = &config.forward_connect};
    char *key, *cert;

    assert_int_equal(credentials_key(&dir, &key), 0);
    assert_int_equal(authority_issue_key(certs.authority, key, PARTY_AGENT, seconds, &cert, NULL),
                     0);
    assert_int_equal(
        identity_new(key, cert, strlen(cert), certs.ca_pem, strlen(certs.ca_pem), &self), 0);
    free(key);
    free(cert);
    assert_int_equal(endpoint_uv_new(&loop, self, &agent_ops, NULL, &net), 0);
    options.endpoint = endpoint_uv_core(net);
    options.identity = self;
    if (!forwards)
        assert_int_equal(forwards_new(&none, clock_now(), &forwards), 0);
    options.forwards = forwards;
    assert_int_equal(uplink_new(&options, clock_now(), &uplink), 0);
}

static void greets_and_tells(void **state)
{
    have_count = 3;
    start_uplink(86400);
    assert_true(run_until(&tells, 1, 5000));
    assert_true(run_until(&last_haves, 1, 5000));
    assert_int_equal(hellos, 1);
    assert_string_equal(hello.device_name, "tester");
    assert_true(hello.system[0]);
    assert_int_equal(haves, 3);
    assert_int_equal(online, 1);
    assert_true(run_until(&counts_told, 1, 5000));
    assert_false(run_until(&counts_told, 2, 1500)); /* nothing has changed */
    assert_int_equal(renewed_for[0], 0);
    tunnel_close(take_ptr(console_tunnel), TUNNEL_CLOSE_DONE, NULL); /* the console restarts */
    have_count = 0;
    assert_true(run_until(&last_haves, 2, 5000)); /* none: one of zeros */
    assert_int_equal(haves, 4);
    assert_int_equal(online, 2);
    assert_true(run_until(&counts_told, 2, 5000));
}

static void obeys(void **state)
{
    fl_FlowAssign assign = {.flow = {1}, .generation = 5};
    fl_FlowAck ack = {.flow = {1}};

    start_uplink(86400);
    assert_true(run_until(&last_haves, 1, 5000));
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, &assign), 0);
    assert_int_equal(tunnel_send_message(console_tunnel, FRAME_FLOW_ACK, fl_FlowAck_fields, &ack),
                     0);
    assert_true(run_until(&acks, 1, 5000));
    assert_int_equal(assigns, 1);
    assign_result = -FL_EFULL; /* what cannot be taken is told */
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_FLOW_ASSIGN, fl_FlowAssign_fields, &assign), 0);
    assert_true(run_until(&reports, 1, 5000));
}

static void keeps_proxies_and_denied(void **state)
{
    fl_ProxyList *list = calloc(1, sizeof(*list));
    fl_DeniedIds *ids = calloc(1, sizeof(*ids));
    fl_FlowAck ack = {.flow = {1}};
    struct fl_id denied = {{9}};
    struct endpoint_proxy_info infos[4];
    void *data;
    size_t len;

    list->proxies_count = 1;
    list->proxies[0].id[0] = 5;
    (void)strcpy(list->proxies[0].name, "dmz");
    list->proxies[0].addresses_count = 1;
    (void)strcpy(list->proxies[0].addresses[0], "127.0.0.1:1");
    ids->ids_count = 1;
    memcpy(ids->ids[0], &denied, sizeof(denied));
    start_uplink(86400);
    assert_true(run_until(&last_haves, 1, 5000));
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_PROXY_LIST, fl_ProxyList_fields, list), 0);
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_DENIED_IDS, fl_DeniedIds_fields, ids), 0);
    ids->part = 1;
    ids->last = true;
    ids->ids[0][0] = 8;
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_DENIED_IDS, fl_DeniedIds_fields, ids), 0);
    assert_int_equal(tunnel_send_message(console_tunnel, FRAME_FLOW_ACK, fl_FlowAck_fields, &ack),
                     0);
    assert_true(run_until(&acks, 1, 5000));
    assert_int_equal(endpoint_proxies(endpoint_uv_core(net), infos, 4), 1);
    assert_string_equal(infos[0].name, "dmz");
    assert_true(trust_is_denied(identity_trust(self), &denied));
    assert_int_equal(journal_get(journal, "denied", &data, &len), 0);
    assert_int_equal(len, 32);
    free(data);
    /* The next start knows them before any console does. */
    uplink_free(take_ptr(uplink));
    forwards_free(take_ptr(forwards));
    endpoint_uv_close(take_ptr(net));
    identity_unref(take_ptr(self));
    free(config.host);
    config.host = strdup("127.0.0.1:1");
    start_uplink(86400);
    assert_int_equal(endpoint_proxies(endpoint_uv_core(net), infos, 4), 1);
    assert_true(trust_is_denied(identity_trust(self), &denied));
    free(list);
    free(ids);
}

static void wrong_parts_end_the_tunnel(void **state)
{
    fl_DeniedIds *ids = calloc(1, sizeof(*ids));

    ids->part = 3;
    start_uplink(86400);
    assert_true(run_until(&last_haves, 1, 5000));
    assert_int_equal(
        tunnel_send_message(console_tunnel, FRAME_DENIED_IDS, fl_DeniedIds_fields, ids), 0);
    assert_true(run_until(&last_haves, 2, 5000)); /* it comes back by itself */
    free(ids);
}

static void renews(void **state)
{
    unsigned again = 0;
    struct identity *loaded;

    start_uplink(1200); /* valid from an hour ago: the last third has begun */
    assert_true(run_until(&last_haves, 1, 5000));
    (void)run_until(&again, 1, 600);
    assert_int_equal(renewed_for[0], 1);
    assert_int_equal(credentials_load(&dir, &loaded), 0);
    assert_true(identity_expires(loaded) > clock_wall() + 80 * 86400);
    assert_true(party_equal(identity_party(loaded), identity_party(self)));
    identity_unref(loaded);
}

static void a_revoked_agent_slows_down(void **state)
{
    unsigned never = 0;

    refusal = TUNNEL_CLOSE_DENIED;
    start_uplink(86400);
    (void)run_until(&never, 1, 1500);
    refusal = TUNNEL_CLOSE_DONE;
    assert_false(run_until(&hellos, 1, 2000));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(issued_at_once),
        TEST(pending_then_issued),
        TEST(refused_is_final),
        TEST(a_denied_token_is_final),
        TEST(a_wrong_certificate_is_not_taken),
        TEST(an_unreachable_console_is_waited_for),
        TEST(tokens),
        TEST(greets_and_tells),
        TEST(obeys),
        TEST(keeps_proxies_and_denied),
        TEST(wrong_parts_end_the_tunnel),
        TEST(renews),
        TEST(a_revoked_agent_slows_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
