/* fl_party - plays any endpoint towards a proxy, good or bad, by text commands on standard input;
 * one answer line each.
 *
 *   ca NAME                          make an authority
 *   id NAME CA ROLE [SECONDS]        make an identity: agent, console, proxy or enrol; SECONDS of
 * validity, may be negative proxy CA DIR                     write DIR/identity.pem, DIR/ca.pem,
 * DIR/tls.pem for a proxy of CA show NAME                        role and id of an identity dial
 * LEG HOST PORT               open a leg                            -> ok | failed ERROR hello LEG
 * NAME [TRICK]           prove; TRICK: exporter, side, signature, certificate=NAME, version
 *   register LEG | ping LEG          send that frame
 *   connect LEG REQUEST ROLE ID      ID in hex; the console's is the authority's: ROLE console, ID
 * of any identity of role console
 *   config LEG VERSION BOOT WITHIN PATCH   BOOT in hex, PATCH without a blank; confirm LEG VERSION
 *   join LEG SESSION KEY             both in hex denied LEG REVISION
 * PART LAST [ID…] data LEG TEXT | eof LEG | abort LEG TEXT frame LEG TYPE FLAGS [HEX]       any
 * frame recv LEG [MS]                    the next frame in words, "none" when nothing comes in
 * time, "ended ERROR" flow FROM TO BYTES               send a pattern from one leg to the other and
 * compare -> ok | what went wrong fill LEG MAX                     send until the leg takes no more
 * for 300 ms -> number of bytes taken close LEG [reset]
 *   race WARM MS FROM TO [FROM TO …]   send on all pairs as fast as they take it, for WARM ms
 * uncounted, then MS ms -> microseconds that it took, bytes of each pair
 *   drain LEG BYTES                  take what fill sent from the other side, and compare
 *   raw LEG                          say RAW; HELLO's TRICK "raw" offers to
 *   twin A B                         the two legs of a session, for load
 *   load MS                          data both ways on all twins for so long, all of it compared ->
 * ok BYTES | what went wrong, and where
 */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "identity/authority.h"
#include "identity/hello.h"
#include "identity/tls.h"
#include "leg/leg_tcp.h"
#include "wire/close_reason.h"

#define THINGS  64
#define LEGS    1024
#define WORDS   300
#define WAIT_MS 3000

struct ca {
    char name[32];
    char *key, *cert; /* PEM */
    struct authority *authority;
};

struct id {
    char name[32];
    struct identity *identity;
};

struct party_leg {
    char name[32];
    struct leg *leg;
    unsigned events;    /* seen so far */
    uint64_t sent, got; /* in races */
    uint8_t buffer[LEG_BUFFER];
};

static struct ca cas[THINGS];
static struct id ids[THINGS];
static struct party_leg *legs[LEGS];
static uv_loop_t loop;
static uv_timer_t timer;

static void die(const char *what, const char *arg)
{
    printf("error %s %s\n", what, arg ? arg : "");
    fflush(stdout);
    exit(1);
}

static void need(int rc, const char *what)
{
    if (rc)
        die(what, error_text(rc));
}

static struct ca *find_ca(const char *name)
{
    for (size_t i = 0; i < THINGS; i++) {
        if (!strcmp(cas[i].name, name))
            return &cas[i];
    }
    die("no such ca", name);
    return NULL;
}

static struct id *find_id(const char *name)
{
    for (size_t i = 0; i < THINGS; i++) {
        if (!strcmp(ids[i].name, name))
            return &ids[i];
    }
    die("no such identity", name);
    return NULL;
}

static struct party_leg *find_leg(const char *name)
{
    for (size_t i = 0; i < LEGS; i++) {
        if (legs[i] && !strcmp(legs[i]->name, name))
            return legs[i];
    }
    die("no such leg", name);
    return NULL;
}

/* --- the loop ------------------------------------------------------------------------------ */

static void on_leg(void *ctx, struct leg *leg, unsigned events)
{
    struct party_leg *party = ctx;
    party->events |= events;
    if (events & (LEG_READABLE | LEG_WRITABLE))
        leg_want(leg, 0);
}

static void on_timer(uv_timer_t *handle)
{
    *(bool *)handle->data = true;
}

/* Run until @party has seen one of @events, or @ms are over. */
static unsigned await(struct party_leg *party, unsigned events, unsigned ms)
{
    bool late = false;
    timer.data = &late;
    uv_update_time(&loop); /* it stood still between two commands */
    uv_timer_start(&timer, on_timer, ms, 0);
    while (!late && !(party->events & events))
        uv_run(&loop, UV_RUN_ONCE);
    uv_timer_stop(&timer);
    return party->events & events;
}

/* --- printing ------------------------------------------------------------------------------ */

static void hex(const void *data, size_t len)
{
    const uint8_t *b = data;
    for (size_t i = 0; i < len; i++)
        printf("%02x", b[i]);
}

static size_t unhex(const char *text, uint8_t *dst, size_t cap)
{
    size_t n = 0;
    unsigned byte;
    while (n < cap && sscanf(text + 2 * n, "%2x", &byte) == 1)
        dst[n++] = (uint8_t)byte;
    return n;
}

static void show_party(const fl_Party *party)
{
    printf(" %s ", party_role_name((enum party_role)party->role));
    hex(party->id, sizeof(party->id));
}

static void show_ack(const struct frame *frame)
{
    fl_Hello message;
    need(message_decode(fl_Hello_fields, frame, &message), "ack");
    printf("HELLO_ACK version %u ping %u boot ", message.version, message.ping_interval);
    hex(message.boot, sizeof(message.boot));
}

static void show_offer(const struct frame *frame)
{
    fl_Offer message;
    need(message_decode(fl_Offer_fields, frame, &message), "offer");
    printf("OFFER %llu ", (unsigned long long)message.request);
    hex(message.session, sizeof(message.session));
    putchar(' ');
    hex(message.key, sizeof(message.key));
}

static void show_invite(const struct frame *frame)
{
    fl_Invite message;
    need(message_decode(fl_Invite_fields, frame, &message), "invite");
    printf("INVITE ");
    hex(message.session, sizeof(message.session));
    putchar(' ');
    hex(message.key, sizeof(message.key));
    show_party(&message.from);
}

static void show_joined(const struct frame *frame)
{
    fl_Joined message;
    need(message_decode(fl_Joined_fields, frame, &message), "joined");
    printf("JOINED %s", message.caller ? "caller" : "callee");
    show_party(&message.peer);
}

static void show_reject(const struct frame *frame)
{
    fl_Reject message;
    need(message_decode(fl_Reject_fields, frame, &message), "reject");
    printf("REJECT %llu %s", (unsigned long long)message.request, close_reason_name(message.code));
}

/* STATUS and ABORT have the same shape. */
static void show_end(const struct frame *frame)
{
    fl_Status message;
    need(message_decode(fl_Status_fields, frame, &message), "status");
    printf("%s %s %s", frame_name(frame->type), close_reason_name(message.code), message.text);
}

static void show_registered(const struct frame *frame)
{
    fl_Registered message;
    need(message_decode(fl_Registered_fields, frame, &message), "registered");
    printf("REGISTERED %s", message.observed_address);
}

static void show_report(const struct frame *frame)
{
    fl_Report message;
    need(message_decode(fl_Report_fields, frame, &message), "report");
    printf(
        "REPORT endpoints=%u sessions=%u sessions_total=%llu bytes=%llu refused=%llu memory=%llu",
        message.endpoints, message.sessions, (unsigned long long)message.sessions_total,
        (unsigned long long)message.bytes, (unsigned long long)message.refused,
        (unsigned long long)message.memory);
    for (pb_size_t i = 0; i < message.reasons_count; i++)
        printf(" %s=%llu", close_reason_name(message.reasons[i].code),
               (unsigned long long)message.reasons[i].count);
}

static void show_config_result(const struct frame *frame)
{
    static const char *const states[] = {"none", "waiting", "applied", "rolled-back", "refused"};
    fl_ConfigResult message;
    need(message_decode(fl_ConfigResult_fields, frame, &message), "config result");
    printf("CONFIG_RESULT %llu %s in_effect=%llu %s | %s", (unsigned long long)message.version,
           states[message.state], (unsigned long long)message.in_effect, message.settings,
           message.error);
}

static void show_drain(const struct frame *frame)
{
    fl_Drain message;
    need(message_decode(fl_Drain_fields, frame, &message), "drain");
    printf("DRAIN %u %u", message.reconnect_in_ms, message.try_for_ms);
    for (pb_size_t i = 0; i < message.alternates_count; i++)
        printf(" %s", message.alternates[i]);
}

static void show_data(const struct frame *frame)
{
    printf("DATA %.*s", (int)frame->len, (const char *)frame->body);
}

static const struct {
    uint8_t type;
    void (*show)(const struct frame *frame);
} shows[] = {
    {FRAME_HELLO_ACK, show_ack},
    {FRAME_OFFER, show_offer},
    {FRAME_INVITE, show_invite},
    {FRAME_JOINED, show_joined},
    {FRAME_REJECT, show_reject},
    {FRAME_STATUS, show_end},
    {FRAME_ABORT, show_end},
    {FRAME_DATA, show_data},
    {FRAME_REGISTERED, show_registered},
    {FRAME_REPORT, show_report},
    {FRAME_CONFIG_RESULT, show_config_result},
    {FRAME_DRAIN, show_drain},
};

static void show_frame(const struct frame *frame)
{
    for (size_t i = 0; i < ARRAY_SIZE(shows); i++) {
        if (shows[i].type == frame->type) {
            shows[i].show(frame);
            putchar('\n');
            return;
        }
    }
    printf("%s\n", frame_name(frame->type));
}

/* --- commands ------------------------------------------------------------------------------ */

static void cmd_ca(char **word, int count)
{
    for (size_t i = 0; i < THINGS; i++) {
        if (cas[i].name[0])
            continue;
        (void)snprintf(cas[i].name, sizeof(cas[i].name), "%s", word[1]);
        need(authority_create(&cas[i].key, &cas[i].cert), "authority_create");
        need(authority_load(cas[i].key, cas[i].cert, &cas[i].authority), "authority_load");
        puts("ok");
        return;
    }
}

static enum party_role role_of(const char *name)
{
    for (int role = PARTY_AGENT; role <= PARTY_ENROL; role++) {
        if (!strcmp(name, party_role_name((enum party_role)role)))
            return (enum party_role)role;
    }
    return PARTY_NONE;
}

static void cmd_id(char **word, int count)
{
    struct ca *ca = find_ca(word[2]);
    int64_t seconds = count > 4 ? atoll(word[4]) : 86400;
    _cleanup_free_ char *key = NULL, *cert = NULL;
    struct fl_id id;

    need(identity_make_key(&key), "identity_make_key");
    need(authority_issue_key(ca->authority, key, role_of(word[3]), seconds, &cert, &id), "issue");
    for (size_t i = 0; i < THINGS; i++) {
        if (ids[i].name[0])
            continue;
        (void)snprintf(ids[i].name, sizeof(ids[i].name), "%s", word[1]);
        need(identity_new(key, cert, strlen(cert), ca->cert, strlen(ca->cert), &ids[i].identity),
             "identity_new");
        puts("ok");
        return;
    }
}

static void write_file(const char *dir, const char *name, const char *a, const char *b)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    if (!file)
        die("cannot write", path);
    fputs(a, file);
    fputs(b, file);
    fclose(file);
}

static void cmd_proxy(char **word, int count)
{
    struct ca *ca = find_ca(word[1]);
    _cleanup_free_ char *key = NULL, *cert = NULL, *web = NULL;
    const char *names[] = {"localhost", "127.0.0.1"};
    struct fl_id id;

    need(identity_make_key(&key), "identity_make_key");
    need(authority_issue_key(ca->authority, key, PARTY_PROXY, 86400, &cert, &id), "issue");
    need(authority_issue_web(ca->authority, names, 2, 90, &web), "issue_web");
    (void)mkdir(word[2], 0700);
    write_file(word[2], "identity.pem", key, cert);
    write_file(word[2], "ca.pem", ca->cert, "");
    write_file(word[2], "ca.key", ca->key, ""); /* for other tools that make endpoints of it */
    write_file(word[2], "tls.pem", web, "");
    puts("ok");
}

static void cmd_show(char **word, int count)
{
    const struct party *party = identity_party(find_id(word[1])->identity);
    char text[FL_ID_TEXT];
    printf("%s %s\n", party_role_name(party->role), id_text(&party->id, text));
}

static void cmd_dial(char **word, int count)
{
    struct party_leg **slot = legs;
    while (slot < legs + LEGS && *slot)
        slot++;
    if (slot == legs + LEGS || !(*slot = calloc(1, sizeof(**slot))))
        die("too many legs", NULL);
    (void)snprintf((*slot)->name, sizeof((*slot)->name), "%s", word[1]);
    need(leg_tcp_dial(&loop, word[2], (uint16_t)atoi(word[3]), LEG_TCP_WRAPPED, on_leg, *slot,
                      &(*slot)->leg),
         "dial");
    unsigned seen = await(*slot, LEG_OPENED | LEG_FAILED, 10000);
    if (seen & LEG_OPENED)
        puts("ok");
    else
        printf("failed %s\n", seen ? error_name(leg_error((*slot)->leg)) : "timeout");
}

/* Send until the leg takes it. */
static void send_frame(struct party_leg *party, uint8_t type, uint8_t flags, const void *body,
                       size_t len)
{
    int rc;
    while ((rc = leg_send(party->leg, type, flags, body, len)) == -EAGAIN) {
        party->events &= ~(unsigned)LEG_WRITABLE;
        leg_want(party->leg, LEG_WRITABLE);
        if (!await(party, LEG_WRITABLE | LEG_FAILED, WAIT_MS))
            break;
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    if (rc)
        printf("failed %s\n", error_name(rc));
    else
        puts("ok");
}

static void send_message(struct party_leg *party, uint8_t type, const pb_msgdesc_t *fields,
                         const void *message)
{
    uint8_t out[FRAME_MAX];
    int size = message_encode(type, fields, message, out, sizeof(out));
    if (size < 0)
        die("encode", error_text(size));
    send_frame(party, type, 0, out + FRAME_HEADER, (size_t)size - FRAME_HEADER);
}

/* A trick of hello: what to spoil before sending. */
static void spoil(fl_Hello *hello, const char *trick)
{
    if (!strcmp(trick, "signature"))
        hello->signature[5] ^= 1;
    else if (!strcmp(trick, "version"))
        hello->version = 0;
    else if (!strncmp(trick, "certificate=", 12)) {
        const gnutls_datum_t *der = identity_cert(find_id(trick + 12)->identity);
        hello->certificate.size = (pb_size_t)der->size;
        memcpy(hello->certificate.bytes, der->data, der->size);
    } else if (!strcmp(trick, "raw"))
        hello->caps |= HELLO_CAP_RAW;
    else if (!strcmp(trick, "noise"))
        memset(hello->certificate.bytes, 0x55, hello->certificate.size);
}

static void cmd_hello(char **word, int count)
{
    struct party_leg *party = find_leg(word[1]);
    struct identity *identity = find_id(word[2])->identity;
    const char *trick = count > 3 ? word[3] : "";
    uint8_t exporter[HELLO_EXPORTER_BYTES];
    fl_Hello hello = fl_Hello_init_zero;

    enum hello_side side = strcmp(trick, "side") ? HELLO_DIALLER : HELLO_ANSWERER;
    int rc = leg_exporter(party->leg, (uint8_t)side, exporter);
    if (rc) { /* it has ended meanwhile */
        printf("failed %s\n", error_name(rc));
        return;
    }
    if (!strcmp(trick, "exporter"))
        exporter[0] ^= 1;
    need(hello_make(identity, side, exporter, &hello), "hello_make");
    spoil(&hello, trick);
    send_message(party, FRAME_HELLO, fl_Hello_fields, &hello);
}

static void cmd_register(char **word, int count)
{
    fl_Register message = fl_Register_init_zero;
    send_message(find_leg(word[1]), FRAME_REGISTER, fl_Register_fields, &message);
}

static void cmd_ping(char **word, int count)
{
    fl_Ping message = {.nonce = 42};
    send_message(find_leg(word[1]), FRAME_PING, fl_Ping_fields, &message);
}

static void cmd_connect(char **word, int count)
{
    fl_Connect message = {.request = strtoull(word[2], NULL, 10), .has_peer = true};
    message.peer.role = (enum _fl_Role)role_of(word[3]);
    unhex(word[4], message.peer.id, sizeof(message.peer.id));
    send_message(find_leg(word[1]), FRAME_CONNECT, fl_Connect_fields, &message);
}

static void cmd_join(char **word, int count)
{
    fl_Join message = fl_Join_init_zero;
    unhex(word[2], message.session, sizeof(message.session));
    unhex(word[3], message.key, sizeof(message.key));
    send_message(find_leg(word[1]), FRAME_JOIN, fl_Join_fields, &message);
}

static void cmd_denied(char **word, int count)
{
    fl_Denied message = {.revision = strtoull(word[2], NULL, 10),
                         .part = (uint32_t)atoi(word[3]),
                         .last = atoi(word[4]) != 0};
    for (int i = 5; i < count; i++)
        unhex(word[i], message.ids[message.ids_count++], FL_ID_BYTES);
    send_message(find_leg(word[1]), FRAME_DENIED, fl_Denied_fields, &message);
}

static void cmd_config(char **word, int count)
{
    fl_Config message = {.version = strtoull(word[2], NULL, 10),
                         .not_before = clock_wall() - 60,
                         .not_after = clock_wall() + 60,
                         .confirm_within = (uint32_t)atoi(word[4])};
    unhex(word[3], message.boot, sizeof(message.boot));
    (void)snprintf(message.patch, sizeof(message.patch), "%s", word[5]);
    send_message(find_leg(word[1]), FRAME_CONFIG, fl_Config_fields, &message);
}

static void cmd_confirm(char **word, int count)
{
    fl_ConfigConfirm message = {.version = strtoull(word[2], NULL, 10)};
    send_message(find_leg(word[1]), FRAME_CONFIG_CONFIRM, fl_ConfigConfirm_fields, &message);
}

static void cmd_frame(char **word, int count)
{
    uint8_t body[4096];
    size_t len = count > 4 ? unhex(word[4], body, sizeof(body)) : 0;
    send_frame(find_leg(word[1]), (uint8_t)strtoul(word[2], NULL, 0),
               (uint8_t)strtoul(word[3], NULL, 0), body, len);
}

static void cmd_data(char **word, int count)
{
    uint8_t out[FRAME_HEADER + 512];
    size_t len = strlen(word[2]);
    memcpy(out + FRAME_HEADER, word[2], len);
    int rc = leg_send_data(find_leg(word[1])->leg, out + FRAME_HEADER, len);
    uv_run(&loop, UV_RUN_NOWAIT);
    puts(rc == (int)len ? "ok" : error_name(rc));
}

static void cmd_eof(char **word, int count)
{
    int rc = leg_send_eof(find_leg(word[1])->leg);
    uv_run(&loop, UV_RUN_NOWAIT);
    puts(rc ? error_name(rc) : "ok");
}

static void cmd_abort(char **word, int count)
{
    fl_Abort message = {.code = CLOSE_ABORTED};
    (void)snprintf(message.text, sizeof(message.text), "%s", word[2]);
    send_message(find_leg(word[1]), FRAME_ABORT, fl_Abort_fields, &message);
}

/* The next frame within @ms: 0, -EAGAIN when none came, or the leg is over. */
static int next_frame(struct party_leg *party, unsigned ms, struct frame *ret_frame)
{
    uint64_t until = clock_now() + ms * CLOCK_MS;
    for (;;) {
        int rc = leg_recv(party->leg, party->buffer, ret_frame);
        if (rc != -EAGAIN)
            return rc;
        uint64_t now = clock_now();
        if (party->events & LEG_FAILED)
            return leg_error(party->leg);
        if (now >= until)
            return -EAGAIN;
        party->events &= ~(unsigned)LEG_READABLE;
        leg_want(party->leg, LEG_READABLE);
        (void)await(party, LEG_READABLE | LEG_FAILED, (unsigned)((until - now) / CLOCK_MS + 1));
    }
}

static void cmd_recv(char **word, int count)
{
    struct frame frame;
    int rc = next_frame(find_leg(word[1]), count > 2 ? (unsigned)atoi(word[2]) : WAIT_MS, &frame);
    if (rc == 0)
        show_frame(&frame);
    else if (rc == -EAGAIN)
        puts("none");
    else
        printf("ended %s\n", error_name(rc));
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 2654435761u >> 16);
}

/* Offer bytes of the pattern from @sent on, up to @total. */
static int offer(struct leg *leg, uint64_t *sent, uint64_t total)
{
    static uint8_t out[FRAME_MAX];
    while (*sent < total) {
        size_t len = total - *sent < FRAME_BODY_MAX ? (size_t)(total - *sent) : FRAME_BODY_MAX;
        for (size_t i = 0; i < len; i++)
            out[FRAME_HEADER + i] = pattern(*sent + i);
        int n = leg_send_data(leg, out + FRAME_HEADER, len);
        if (n < 0)
            return n;
        *sent += (uint64_t)n;
    }
    return 0;
}

/* Take what is there and compare. */
static int take(struct party_leg *to, uint64_t *got)
{
    struct frame frame;
    int rc;
    while ((rc = leg_recv(to->leg, to->buffer, &frame)) == 0) {
        if (frame.type != FRAME_DATA)
            return -FL_EPROTO;
        for (size_t i = 0; i < frame.len; i++) {
            if (frame.body[i] != pattern(*got + i))
                return -FL_EHASH;
        }
        *got += frame.len;
    }
    return rc;
}

static void cmd_flow(char **word, int count)
{
    struct party_leg *from = find_leg(word[1]), *to = find_leg(word[2]);
    uint64_t total = strtoull(word[3], NULL, 10), sent = 0, got = 0;
    int rc = 0;

    while (got < total) {
        rc = offer(from->leg, &sent, total);
        if (rc && rc != -EAGAIN)
            break;
        rc = take(to, &got);
        if (rc != -EAGAIN)
            break;
        from->events = to->events = 0;
        leg_want(from->leg, sent < total ? LEG_WRITABLE : 0);
        leg_want(to->leg, LEG_READABLE);
        if (!await(to, LEG_READABLE | LEG_FAILED, 20))
            leg_want(to->leg, 0);
    }
    if (got == total)
        puts("ok");
    else
        printf("failed %s sent %llu got %llu\n", error_name(rc), (unsigned long long)sent,
               (unsigned long long)got);
}

/* One of the sessions of a race. */
struct runner {
    struct party_leg *from, *to;
    int error;
};

/* What its legs can do now, so much at most that the others get their turn. */
static void runner_turn(struct runner *runner)
{
    struct party_leg *from = runner->from, *to = runner->to;
    int rc = 0;
    if (from->events & LEG_WRITABLE)
        rc = offer(from->leg, &from->sent, from->sent + 16 * FRAME_BODY_MAX);
    if ((rc == 0 || rc == -EAGAIN) && (to->events & LEG_READABLE))
        rc = take(to, &to->got);
    if ((from->events | to->events) & LEG_FAILED)
        rc = -FL_EPEER;
    if (rc && rc != -EAGAIN)
        runner->error = rc;
    from->events = to->events = 0;
    leg_want(from->leg, LEG_WRITABLE);
    leg_want(to->leg, LEG_READABLE);
}

/* All run for @ms. Returns the microseconds that it took. */
static uint64_t run_race(struct runner *runner, unsigned count, unsigned ms)
{
    uint64_t start = clock_now();
    bool late = false;
    timer.data = &late;
    uv_update_time(&loop);
    (void)uv_timer_start(&timer, on_timer, ms, 0);
    while (!late) {
        (void)uv_run(&loop, UV_RUN_ONCE);
        for (unsigned i = 0; i < count; i++)
            runner_turn(&runner[i]);
    }
    return clock_now() - start;
}

/* First for @warm ms, uncounted, until all buffers on the way are full. */
static void cmd_race(char **word, int count)
{
    static struct runner runner[WORDS / 2];
    unsigned runners = (unsigned)(count - 3) / 2;
    for (unsigned i = 0; i < runners; i++)
        runner[i] = (struct runner){find_leg(word[3 + 2 * i]), find_leg(word[4 + 2 * i])};
    (void)run_race(runner, runners, (unsigned)atoi(word[1]));
    uint64_t before[WORDS / 2];
    for (unsigned i = 0; i < runners; i++)
        before[i] = runner[i].to->got;
    printf("%llu", (unsigned long long)run_race(runner, runners, (unsigned)atoi(word[2])));
    for (unsigned i = 0; i < runners; i++) {
        if (runner[i].error)
            printf(" %s", error_name(runner[i].error));
        else
            printf(" %llu", (unsigned long long)(runner[i].to->got - before[i]));
        leg_want(runner[i].from->leg, 0);
        leg_want(runner[i].to->leg, 0);
    }
    puts("");
}

static void cmd_fill(char **word, int count)
{
    struct party_leg *party = find_leg(word[1]);
    uint64_t max = strtoull(word[2], NULL, 10), sent = 0;
    while (sent < max) {
        int rc = offer(party->leg, &sent, max);
        if (rc && rc != -EAGAIN)
            break;
        party->events = 0;
        leg_want(party->leg, LEG_WRITABLE);
        if (!await(party, LEG_WRITABLE, 300))
            break;
    }
    printf("%llu\n", (unsigned long long)sent);
}

/* Take a pattern of @bytes that fill has sent. */
static void cmd_drain(char **word, int count)
{
    struct party_leg *party = find_leg(word[1]);
    uint64_t total = strtoull(word[2], NULL, 10), got = 0;
    int rc;
    while ((rc = take(party, &got)) == -EAGAIN && got < total) {
        party->events = 0;
        leg_want(party->leg, LEG_READABLE);
        if (!await(party, LEG_READABLE | LEG_FAILED, WAIT_MS))
            break;
    }
    if (got == total)
        puts("ok");
    else
        printf("failed %s got %llu\n", error_name(rc), (unsigned long long)got);
}

static void cmd_raw(char **word, int count)
{
    int rc = leg_send_raw(find_leg(word[1])->leg);
    uv_run(&loop, UV_RUN_NOWAIT);
    puts(rc ? error_name(rc) : "ok");
}

/* One direction of a session under load. */
struct stream {
    struct party_leg *from, *to;
    uint64_t sent, got;
};

#define WINDOW (256 * 1024) /* sent and not yet got, at most */

static struct stream streams[LEGS];
static size_t stream_count;

static void cmd_twin(char **word, int count)
{
    struct party_leg *a = find_leg(word[1]), *b = find_leg(word[2]);
    streams[stream_count++] = (struct stream){.from = a, .to = b};
    streams[stream_count++] = (struct stream){.from = b, .to = a};
    puts("ok");
}

/* Move what can be moved; with @ending only what was sent before. Returns 0, 1 when it has come to
 * its end, or what went wrong. */
static int stream_turn(struct stream *stream, bool ending)
{
    int rc = ending ? 0 : offer(stream->from->leg, &stream->sent, stream->got + WINDOW);
    if (rc && rc != -EAGAIN)
        return rc;
    rc = take(stream->to, &stream->got);
    if (rc != -EAGAIN)
        return rc ? rc : -FL_EBUG;
    return ending && stream->got == stream->sent;
}

static int streams_turn(bool ending, size_t *ret_done, size_t *ret_bad)
{
    *ret_done = 0;
    for (size_t i = 0; i < stream_count; i++) {
        int rc = stream_turn(&streams[i], ending);
        *ret_bad = i;
        if (rc < 0)
            return rc;
        *ret_done += rc == 1;
        leg_want(streams[i].to->leg, LEG_READABLE | (ending ? 0 : LEG_WRITABLE));
    }
    return 0;
}

static void cmd_load(char **word, int count)
{
    uint64_t end = clock_now() + (uint64_t)atoi(word[1]) * CLOCK_MS, late = end + 20 * CLOCK_SEC;
    uint64_t total = 0;
    size_t done = 0, bad = 0;
    bool tick;
    int rc;

    timer.data = &tick;
    uv_timer_start(&timer, on_timer, 10, 10);
    do {
        uv_run(&loop, UV_RUN_ONCE);
        rc = streams_turn(clock_now() >= end, &done, &bad);
    } while (rc == 0 && done < stream_count && clock_now() < late);
    uv_timer_stop(&timer);
    for (size_t i = 0; i < stream_count; i++)
        total += streams[i].got;
    if (rc == 0 && done == stream_count)
        printf("ok %llu\n", (unsigned long long)total);
    else
        printf("failed %s at %s, sent %llu got %llu, done %zu of %zu\n", error_name(rc),
               streams[bad].from->name, (unsigned long long)streams[bad].sent,
               (unsigned long long)streams[bad].got, done, stream_count);
}

static void cmd_close(char **word, int count)
{
    for (size_t i = 0; i < LEGS; i++) {
        if (!legs[i] || strcmp(legs[i]->name, word[1]))
            continue;
        leg_close(legs[i]->leg, count > 2 ? LEG_RESET : LEG_GRACEFUL);
        free(legs[i]);
        legs[i] = NULL;
        uv_run(&loop, UV_RUN_NOWAIT);
        puts("ok");
        return;
    }
    puts("no such leg");
}

static const struct {
    const char *name;
    int least; /* words, with the name */
    void (*run)(char **word, int count);
} commands[] = {
    {"ca", 2, cmd_ca},
    {"id", 4, cmd_id},
    {"proxy", 3, cmd_proxy},
    {"show", 2, cmd_show},
    {"dial", 4, cmd_dial},
    {"hello", 3, cmd_hello},
    {"register", 2, cmd_register},
    {"ping", 2, cmd_ping},
    {"connect", 5, cmd_connect},
    {"join", 4, cmd_join},
    {"denied", 5, cmd_denied},
    {"config", 6, cmd_config},
    {"confirm", 3, cmd_confirm},
    {"frame", 4, cmd_frame},
    {"data", 3, cmd_data},
    {"eof", 2, cmd_eof},
    {"abort", 3, cmd_abort},
    {"recv", 2, cmd_recv},
    {"flow", 4, cmd_flow},
    {"fill", 3, cmd_fill},
    {"race", 5, cmd_race},
    {"drain", 3, cmd_drain},
    {"raw", 2, cmd_raw},
    {"twin", 3, cmd_twin},
    {"load", 2, cmd_load},
    {"close", 2, cmd_close},
};

static void run_line(char *line)
{
    char *word[WORDS + 1] = {0};
    int count = 0;
    for (char *w = strtok(line, " \n"); w && count < WORDS; w = strtok(NULL, " \n"))
        word[count++] = w;
    for (size_t i = 0; count && i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(commands[i].name, word[0]) && count >= commands[i].least) {
            uv_update_time(&loop);
            commands[i].run(word, count);
            fflush(stdout);
            return;
        }
    }
    puts("error unknown command or too few words");
    fflush(stdout);
}

int main(void)
{
    static char line[65536];
    log_setup("fl_party", LOG_WARN, LOG_TEXT);
    need(tls_global_init(), "tls");
    need(uv_loop_init(&loop), "loop");
    uv_timer_init(&loop, &timer);
    while (fgets(line, sizeof(line), stdin))
        run_line(line);
    return 0;
}
