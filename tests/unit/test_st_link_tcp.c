/* The handshake of a Syncthing device over a real socket takes its turn like that of any stranger.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <gnutls/gnutls.h>

#include "proxy/syncthing/st_link_tcp.h"
#include "proxy_rig.h"

static struct rig rig;
static uv_loop_t loop;
static struct st_tls tls;
static struct st_link *device;

/* Both ends of a connection, non-blocking. */
static void connection(int ret_fd[static 2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    ret_fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(ret_fd[0], (struct sockaddr *)&at, len), 0);
    ret_fd[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(ret_fd[1] >= 0);
    assert_int_equal(fcntl(ret_fd[0], F_SETFL, O_NONBLOCK), 0);
    (void)close(listener);
}

static void on_link(void *ctx, struct st_link *which, unsigned events)
{
    *(unsigned *)ctx |= events;
}

static int setup(void **state)
{
    static const char *const names[] = {"relay.example"};
    char *pem;

    rig_init(&rig, NULL);
    assert_int_equal(uv_loop_init(&loop), 0);
    rig.worker[0].env.loop = &loop;
    assert_int_equal(authority_issue_web(rig.certs.authority, names, 1, 1, &pem), 0);
    assert_int_equal(st_tls_init(&tls, pem, strlen(pem)), 0);
    free(pem);
    return 0;
}

static int teardown(void **state)
{
    st_link_close(device);
    st_tls_done(&tls);
    rig_done(&rig);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    return uv_loop_close(&loop);
}

static void a_handshake_waits_for_its_turn(void **state)
{
    gnutls_certificate_credentials_t none;
    gnutls_session_t client;
    unsigned told = 0;
    int fd[2], rc = GNUTLS_E_AGAIN;
    char byte;

    connection(fd);
    assert_int_equal(gnutls_init(&client, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
    assert_int_equal(gnutls_certificate_allocate_credentials(&none), 0);
    assert_int_equal(gnutls_set_default_priority(client), 0);
    assert_int_equal(gnutls_credentials_set(client, GNUTLS_CRD_CERTIFICATE, none), 0);
    gnutls_transport_set_int(client, fd[0]);
    assert_int_equal(st_link_tcp_accept(&rig.worker[0], fd[1], "peer", 1, &tls, &device), 0);
    st_link_set_handler(device, on_link, &told);
    assert_int_equal(st_link_secure(device), 0);
    assert_int_equal(gnutls_handshake(client), GNUTLS_E_AGAIN); /* it has said its first */

    for (unsigned i = 0; i < WORKER_SERVED; i++)
        worker_has_served(&rig.worker[0], rig.now); /* others were quicker in this turn */
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(recv(fd[0], &byte, 1, MSG_PEEK), -1);
    for (unsigned i = 0; i < 2000 && !(told & ST_LINK_SECURE); i++) {
        worker_turn(&rig.worker[0]);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        rc = rc < 0 ? gnutls_handshake(client) : rc;
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(told, ST_LINK_SECURE);

    gnutls_deinit(client);
    gnutls_certificate_free_credentials(none);
    (void)close(fd[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_handshake_waits_for_its_turn, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
