"""The emulated line of labs and benches (bench/link.c), checked against its settings. Emulated hosts share this process, which
looks into their namespaces with sockets of its own."""

import errno
import os
import socket
import threading
import time

import fairlead
import netlab
import pytest

A, B = "10.77.0.1", "10.77.0.2"
UDP_SEGMENT = 103  # linux/udp.h
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h


def socket_at(lab, name, kind, address=None, family=socket.AF_INET):
    sock = lab.socket_of(name, kind, address, family=family)
    sock.settimeout(10 * fairlead.SLOW)
    return sock


@pytest.fixture
def line(lab):
    """Function: two hosts a and b, joined by a line with those settings."""
    lab.host("a")
    lab.host("b")

    def make(**settings):
        lab.process = lab.line("a", f"{A}/30", "b", f"{B}/30", fairlead.program("bench/bench_link"), **settings)
        return lab
    return make


def udp_pair(lab):
    one, two = socket_at(lab, "a", socket.SOCK_DGRAM, A), socket_at(lab, "b", socket.SOCK_DGRAM, B)
    for sock, other in ((one, two), (two, one)):
        sock.connect(other.getsockname())
    return one, two


def tcp_through(lab, payload, family=socket.AF_INET, addresses=(A, B)):
    """Sends @payload from a to b. Returns the seconds and what arrived."""
    listener = socket_at(lab, "b", socket.SOCK_STREAM, addresses[1], family)
    listener.listen()
    client = socket_at(lab, "a", socket.SOCK_STREAM, addresses[0], family)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    server.settimeout(30 * fairlead.SLOW)
    sender = threading.Thread(target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR)))
    started = time.monotonic()
    sender.start()
    arrived = bytearray()
    while part := server.recv(1 << 20):
        arrived += part
    seconds = time.monotonic() - started
    sender.join()
    return seconds, bytes(arrived)


def test_delay_each_way(line):
    """The round trip is the sum of both delays, and hardly more."""
    one, two = udp_pair(line(delay="20,5"))
    trips = []
    for number in range(20):
        started = time.monotonic()
        one.send(bytes([number]))
        assert two.recv(100) == bytes([number])
        two.send(bytes([number]))
        assert one.recv(100) == bytes([number])
        trips.append((time.monotonic() - started) * 1000)
    assert 25 <= min(trips) < 30, trips


def test_loss_each_way(line):
    """Of 4000 datagrams 5 % get lost there and none on the way back (5 % of 4000: a standard deviation is 14)."""
    one, two = udp_pair(line(loss="5,0", delay=1))
    got = 0
    for start in range(0, 4000, 50):  # few at a time, so that no socket's buffer loses any
        for number in range(start, start + 50):
            one.send(number.to_bytes(2, "big"))
        two.send(b"mark")
        assert one.recv(100) == b"mark"
        two.settimeout(0.02)
        while True:
            try:
                two.recv(100)
                got += 1
            except TimeoutError:
                break
    assert 4000 - 200 - 100 < got < 4000 - 200 + 100


def test_rate_and_trains(line):
    """TCP reaches the rate, does not pass it, and every byte arrives although trains of segments are cut and lost in part."""
    lab = line(rate="40", delay=4, loss=0.3, queue=200)
    payload = os.urandom(8_000_000)
    seconds, arrived = tcp_through(lab, payload)
    assert arrived == payload
    assert 1.6 < seconds < 8 * fairlead.SLOW


def test_rate_over_ipv6(line):
    lab = line(rate="100", delay=2, loss=0.3, queue=200)
    for name, address in (("a", "fd00::1"), ("b", "fd00::2")):
        lab.run(name, ["ip", "addr", "add", f"{address}/64", "dev", "line0", "nodad"])
    payload = os.urandom(4_000_000)
    seconds, arrived = tcp_through(lab, payload, socket.AF_INET6, ("fd00::1", "fd00::2"))
    assert arrived == payload
    assert seconds > 0.3


def test_datagrams_of_a_train(line):
    """What UDP hands over in one piece arrives as its datagrams."""
    one, two = udp_pair(line(delay=1))
    payload = os.urandom(1000 * 29 + 500)
    one.sendmsg([payload], [(socket.IPPROTO_UDP, UDP_SEGMENT, (1000).to_bytes(2, "little"))])
    assert [two.recv(65536) for _ in range(30)] == [payload[start:start + 1000] for start in range(0, len(payload), 1000)]


def test_queue(line):
    """A burst finds the room that the queue has; the line carries it in its time and drops the rest."""
    lab = line(rate=1, queue=20)
    one, two = udp_pair(lab)
    for number in range(60):
        one.send(bytes([number]) + bytes(1000 - 29))
    got = [two.recv(2000)[0]]
    started = time.monotonic()
    two.settimeout(1)
    while True:
        try:
            got.append(two.recv(2000)[0])
            last = time.monotonic() - started
        except TimeoutError:
            break
    assert got == sorted(got) and 18 <= len(got) <= 30, got
    assert last > (len(got) - 1) * 0.008 * 0.8
    lab.process.terminate()
    full = int(lab.process.stdout.readline().split()[-3])
    assert 60 - len(got) <= full <= 60 - len(got) + 5  # the kernel's own packets are there too


def test_mtu(line):
    one, two = udp_pair(line(mtu=1280))
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    one.send(bytes(1280 - 28))
    assert len(two.recv(2000)) == 1280 - 28
    with pytest.raises(OSError) as error:
        one.send(bytes(1280 - 27))
    assert error.value.errno == errno.EMSGSIZE


def test_wrong_settings(line):
    """One that cannot be made says so."""
    with pytest.raises(netlab.LabError):
        line(loss=101)
    with pytest.raises(netlab.LabError):
        line(delay="1,")
