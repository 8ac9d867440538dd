"""The kinds of router that the lab has (NATS in scripts/netlab.py), each proved by what hosts outside see of a socket behind it; and
which two of them let their hosts meet, tried with bare datagrams."""

import errno
import itertools
import socket
import time

import fairlead
import netlab
import pytest

A, B, ONE, TWO = "203.0.113.11", "203.0.113.12", "203.0.113.81", "203.0.113.82"
LAN = {"a": "192.168.11.0/24", "b": "192.168.12.0/24"}
MAPS_AND_LETS_IN = {
    # the world sees: "one" port, or another "each" time; lets in who asks from: an address and port that the socket has sent to
    # ("port"), any port of such an address ("address"), or from anywhere ("any")
    "full-cone": ("one", "any"),
    "address-restricted": ("one", "address"),
    "port-restricted": ("one", "port"),
    "symmetric": ("each", "port"),
}
KINDS = sorted(MAPS_AND_LETS_IN)


def udp(lab, name, address="", port=0):
    sock = lab.socket_of(name, socket.SOCK_DGRAM, address, port, socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.settimeout(0.4 * fairlead.SLOW)
    return sock


def heard(sock):
    """The next datagram and whence it came, or None."""
    try:
        return sock.recvfrom(2000)
    except (TimeoutError, ConnectionRefusedError):
        return None


def seen(sock, server):
    """Where @server, a socket with a public address, sees @sock."""
    sock.sendto(b"where am I?", server.getsockname())
    server.settimeout(5 * fairlead.SLOW)
    _, address = server.recvfrom(2000)
    server.sendto(b"there", address)
    assert heard(sock) == (b"there", server.getsockname())
    return address


def lets_in(sock, server, address):
    """Does what @server sends to @address come to @sock?"""
    server.sendto(b"hello", address)
    return heard(sock) == (b"hello", server.getsockname())


@pytest.fixture
def net(lab):
    """Hosts one and two outside; a and b are for the tests to make."""
    lab.wan_host("one", ONE)
    lab.wan_host("two", TWO)
    return lab


def probe(lab, name):
    """What the router of a host does: see MAPS_AND_LETS_IN. Who gets in is tried at a socket of its own, since knocking may change what
    an open router does afterwards."""
    one, other, two = udp(lab, "one", ONE), udp(lab, "one", ONE), udp(lab, "two", TWO)
    sock = udp(lab, name)
    ports = {seen(sock, server)[1] for server in (one, other, two)}
    sock = udp(lab, name)
    there = seen(sock, one)
    lets = "any" if lets_in(sock, two, there) else "address" if lets_in(sock, other, there) else "port"
    assert lets_in(sock, one, there)
    return ("one" if len(ports) == 1 else "each"), lets


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "open"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_router_is_of_its_kind(net, kind, silent):
    net.natted("a", A, LAN["a"], nat=kind, silent=silent)
    assert probe(net, "a") == MAPS_AND_LETS_IN[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_comes_in_unasked(net, kind):
    """Neither to a port that nothing was sent from, nor, where it matters, to one that the router has forgotten."""
    net.natted("a", A, LAN["a"], nat=kind)
    sock, one = udp(net, "a"), udp(net, "one", ONE)
    assert not lets_in(sock, one, (A, sock.getsockname()[1]))
    there = seen(sock, one)
    assert lets_in(sock, one, there)
    net.forget("a")
    assert not lets_in(sock, one, there)


def test_a_router_may_forget_udp_alone(net):
    net.natted("a", A, LAN["a"])
    sock, one = udp(net, "a"), udp(net, "one", ONE)
    there = seen(sock, one)
    with net.socket_of("one", socket.SOCK_STREAM, ONE) as listener, net.socket_of("a", socket.SOCK_STREAM) as client:
        listener.listen()
        client.settimeout(10 * fairlead.SLOW)
        client.connect(listener.getsockname())
        with listener.accept()[0] as accepted:
            net.forget("a", udp_only=True)
            assert not lets_in(sock, one, there)
            accepted.sendall(b"still here")
            assert client.recv(100) == b"still here"


def test_udp_may_be_blocked(net):
    net.natted("a", A, LAN["a"], nat="udp-blocked")
    sock, one = udp(net, "a"), udp(net, "one", ONE)
    sock.sendto(b"where am I?", (ONE, one.getsockname()[1]))
    assert heard(one) is None
    with net.socket_of("one", socket.SOCK_STREAM, ONE) as listener, net.socket_of("a", socket.SOCK_STREAM) as client:
        listener.listen()
        client.settimeout(10 * fairlead.SLOW)
        client.connect(listener.getsockname())  # TCP is not


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "open"])
def test_who_comes_unasked_first(net, silent):
    """A router that takes what comes from outside holds the port for whoever came; its own host is then another port to him, and to
    nobody else. One that drops it does nothing of the kind."""
    net.natted("a", A, LAN["a"], silent=silent)
    sock, one, two = udp(net, "a"), udp(net, "one", ONE), udp(net, "two", TWO)
    port = sock.getsockname()[1]
    assert not lets_in(sock, one, (A, port))
    assert seen(sock, two) == (A, port)
    assert (seen(sock, one) == (A, port)) == silent


def test_a_router_may_become_another(net):
    """In the middle of things, for labs in which a way is lost: what was open is so no more."""
    net.natted("a", A, LAN["a"])
    sock, one = udp(net, "a"), udp(net, "one", ONE)
    there = seen(sock, one)
    net.router("a", nat="symmetric")
    net.forget("a")
    assert seen(sock, one) != there
    net.router("a", nat="udp-blocked")
    net.forget("a")
    with pytest.raises(TimeoutError):
        seen(sock, one)


def wait_for_neighbours(lab, name, address):
    """IPv6 looks for them at the first packet, and keeps that meanwhile."""
    with udp(lab, "a", "2001:db8:11::2") as sock, udp(lab, name, address) as server:
        fairlead.until("a way", lambda: sock.sendto(b"?", server.getsockname()) and heard(server))
        fairlead.until("a way back", lambda: lets_in(sock, server, sock.getsockname()))


def test_ipv6_is_firewalled_and_not_changed(net):
    """Each socket is seen as what it is, and lets in whom it has sent to."""
    for name, number in (("one", 81), ("two", 82)):
        net.wan_host6(name, number)
    net.firewalled6("a", 11)
    sock = udp(net, "a", "2001:db8:11::2")
    one, other, two = udp(net, "one", "2001:db8::81"), udp(net, "one", "2001:db8::81"), udp(net, "two", "2001:db8::82")
    there = sock.getsockname()
    wait_for_neighbours(net, "one", "2001:db8::81")
    wait_for_neighbours(net, "two", "2001:db8::82")
    assert not lets_in(sock, one, there)
    for server in (one, two):
        assert seen(sock, server) == there
        assert lets_in(sock, server, there)
    assert not lets_in(sock, other, there)


# ---- who can meet ----

class Peer:
    """A socket behind a router, and what it does to meet another one."""

    def __init__(self, lab, name, server):
        self.sock = udp(lab, name)
        self.sock.settimeout(0)
        self.there = seen_by_waiting(self.sock, server)
        self.targets = []
        self.came = False  # what the other one sent

    def poke(self):
        for target in self.targets:
            self.sock.sendto(b"poke", target)

    def look(self):
        """An address other than the one told is one more to send to, as it is for who dials."""
        while True:
            try:
                _, address = self.sock.recvfrom(2000)
            except BlockingIOError:
                return
            except OSError as error:
                assert error.errno == errno.ECONNREFUSED
                continue
            self.came = True
            if address not in self.targets:
                self.targets.append(address)


def seen_by_waiting(sock, server):
    sock.settimeout(0.4 * fairlead.SLOW)
    there = seen(sock, server)
    sock.settimeout(0)
    return there


def meets(lab, names, order, between=0.002):
    """Each hears where a third one sees the other, and both poke. @order: who begins, so many seconds before the other."""
    server = udp(lab, "one", ONE)
    peers = [Peer(lab, name, server) for name in names]
    for peer, other in zip(peers, reversed(peers)):
        peer.targets = [other.there]
    if order == "callee first":
        peers.reverse()
    for pause in (0.02, 0.05, 0.1, 0.2, 0.4):
        for peer in peers:
            peer.poke()
            time.sleep(between)
        time.sleep(pause)
        for peer in peers:
            peer.look()
        if all(peer.came for peer in peers):
            return True
    return False


def can_meet(*kinds):
    """A port that is another one for each is not found by who lets in only the port that he was told."""
    return not ("symmetric" in kinds and set(kinds) <= {"symmetric", "port-restricted"})


@pytest.mark.parametrize("order", ["caller first", "callee first"])
def test_who_can_meet(net, order):
    """All pairs of kinds, with bare datagrams: what there is to reach for hole punching, whatever program does it."""
    net.natted("a", A, LAN["a"])
    net.natted("b", B, LAN["b"])
    for kinds in itertools.product(KINDS, repeat=2):
        for name, kind in zip("ab", kinds):
            net.router(name, nat=kind)
            net.forget(name)
        assert meets(net, "ab", order) == can_meet(*kinds), kinds


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "open"])
def test_open_routers_want_both_at_once(lab, silent):
    """Where routers take what comes unasked, the one whose host hears first gives it another port to the other one, and they never meet:
    so both have to have sent before anything arrives. Who waits longer than the way takes is too late. Silent routers do not mind."""
    lab.wan_host("one", ONE)
    for name, public in (("a", A), ("b", B)):
        lab.far(name, public, LAN[name], "one", fairlead.program("bench/bench_link"), silent=silent, delay=150)
    assert meets(lab, "ab", "caller first", between=0.001)
    assert meets(lab, "ab", "callee first", between=0.6) == silent


def test_kinds_are_told_apart(net):
    """The probe is no mirror of the table: it sees what a router does, not what it is called."""
    net.natted("a", A, LAN["a"])
    found = []
    for kind in KINDS:
        net.router("a", nat=kind)
        net.forget("a")
        found.append(probe(net, "a"))
    assert len(set(found)) == len(KINDS)
    assert set(netlab.NATS) == {*KINDS, "udp-blocked"}
