"""The Syncthing relay, byte by byte; where strelaysrv does the same on purpose, it is put to the same script."""

import contextlib
import json
import os
import re
import socket
import ssl
import struct
import threading
import time

import fairlead
import pytest
import relay_v1 as v1
from party import Rig
from test_reconfig import change

pytestmark = [pytest.mark.tsan, pytest.mark.asan]


@pytest.fixture
def devices(world):
    return [v1.Device(world.folder, name) for name in ("ann", "ben", "eve")]


@pytest.fixture
def make(world):
    """Our relay with more configuration."""
    rigs = []

    def start(limits=None, workers=3, **syncthing):
        more = {"limits": limits} if limits else {}
        more["workers"] = workers
        rigs.append(Rig(world, syncthing={"listen": "127.0.0.1:0", "allow": ["any"], **syncthing}, **more))
        return v1.Ours(rigs[-1])

    yield start
    for rig in rigs:
        rig.close()


@pytest.fixture(params=["ours", "strelaysrv"])
def relay(request, world):
    return request.getfixturevalue("make")() if request.param == "ours" else v1.Strelaysrv(world)


def carry(a, b, count=3 << 20):
    """Random bytes from @a to @b, all at once."""
    data = os.urandom(count)
    sender = threading.Thread(target=a.send, args=(data,))
    sender.start()
    assert b.exact(count) == data
    sender.join()


# --- what both relays do

def test_identity_is_one_certificate(relay, devices):
    assert v1.shown_id(relay.port, devices[0]) == relay.id
    assert v1.number_of_certificates(relay.port) == 1


def test_session(relay, devices):
    ann, ben, _ = devices
    waiting = v1.joined(relay.port, ben)
    for _ in range(6):  # with three workers some connections have to move
        mine, theirs = v1.call(relay.port, ann, waiting, ben)
        assert mine.port == theirs.port == relay.port
        assert mine.address.strip(b"\0") in (b"", b"\x7f\0\0\1", b"\xff\xff\x7f\0\0\1")
        a, b = v1.enter(relay.port, mine), v1.enter(relay.port, theirs)
        carry(a, b)
        carry(b, a)
        a.close()
        b.close()


def test_device_calls_itself(relay, devices):
    """As the public pool's checker does."""
    ann = devices[0]
    waiting = v1.joined(relay.port, ann)
    a, b = v1.session(relay.port, ann, waiting, ann)
    carry(a, b, 1000)


def test_keys_are_used_once(relay, devices):
    ann, ben, _ = devices
    waiting = v1.joined(relay.port, ben)
    mine, theirs = v1.call(relay.port, ann, waiting, ben)
    a = v1.enter(relay.port, mine)
    for key in (mine.key, os.urandom(32)):
        again = v1.Peer(relay.port)
        again.send(v1.message(v1.JOIN_SESSION, v1.pad(key)))
        assert again.bytes_of_message() == v1.response(v1.NOT_FOUND, "not found")
        assert again.ended()
    b = v1.enter(relay.port, theirs)
    carry(b, a, 1000)


def test_unknown_device(relay, devices):
    ann, ben, _ = devices
    assert v1.ask(relay.port, ann, ben.raw) == (v1.RESPONSE, struct.pack(">I", 1) + v1.pad(b"not found"))
    assert v1.ask(relay.port, ann, b"short") == (v1.RESPONSE, struct.pack(">I", 1) + v1.pad(b"not found"))


def test_temporary_connection_does_not_unregister(relay, devices):
    ann, ben, _ = devices
    waiting = v1.joined(relay.port, ben)
    assert v1.ask(relay.port, ben, ann.raw)[0] == v1.RESPONSE
    v1.session(relay.port, ann, waiting, ben)


def test_first_message_in_clear_must_be_a_join(relay):
    peer = v1.Peer(relay.port)
    peer.send(v1.message(v1.PING))
    assert peer.bytes_of_message() == v1.response(v1.UNEXPECTED, "unexpected message")
    assert peer.ended()


def test_ping_is_answered(relay, devices):
    peer = v1.Peer(relay.port, devices[0])
    peer.send(v1.message(v1.PING))
    assert peer.bytes_of_message() == v1.message(v1.PONG)


def test_permanent_connection_lost_ends_sessions(relay, devices):
    ann, ben, _ = devices
    waiting = v1.joined(relay.port, ben)
    a, b = v1.session(relay.port, ann, waiting, ben)
    carry(a, b, 1000)
    waiting.close()
    assert a.ended() and b.ended()


def test_foreign_protocols(relay, devices):
    """Another ALPN is refused, none is served; a client without a certificate is not."""
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        v1.Peer(relay.port, devices[0], alpn=["http/1.1"])
    peer = v1.Peer(relay.port, devices[0], alpn=None)
    peer.send(v1.message(v1.JOIN_RELAY))
    assert peer.bytes_of_message() == v1.response(v1.SUCCESS, "success")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", relay.port), 10)) as bare:
        assert bare.recv(1) == b""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("key", [["rsa:3072"], ["ed25519"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]])
def test_kinds_of_keys(make, world, version, key):
    """Every kind of certificate that Syncthing has made in its life."""
    relay = make()
    device = v1.Device(world.folder, "odd", key, version)
    waiting = v1.joined(relay.port, device)
    a, b = v1.session(relay.port, device, waiting, device)
    carry(a, b, 1000)


# --- what ours does besides

def test_half_close_is_passed_on(make, devices):
    ann, ben, _ = devices
    relay = make()
    waiting = v1.joined(relay.port, ben)
    a, b = v1.session(relay.port, ann, waiting, ben)
    a.send(b"last words")
    a.finish()
    assert b.exact(10) == b"last words" and b.sock.recv(1) == b""
    carry(b, a)
    b.finish()
    assert a.sock.recv(1) == b""
    relay.counted("end_done", 3)  # the call that was answered, and two sides
    a, b = v1.session(relay.port, ann, waiting, ben)
    a.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    with pytest.raises(ConnectionResetError):  # a cut does not look like an end
        b.sock.recv(1)


def test_early_data_waits(make, devices):
    """And never overtakes the answer to the other side's request, which it may at strelaysrv."""
    relay = make()
    ann, ben, _ = devices
    waiting = v1.joined(relay.port, ben)
    mine, theirs = v1.call(relay.port, ann, waiting, ben)
    a = v1.enter(relay.port, mine)
    a.send(b"early" * 1000)
    time.sleep(0.3)
    b = v1.enter(relay.port, theirs)
    assert b.exact(5000) == b"early" * 1000


def test_request_and_data_in_one_segment(make, devices):
    ann, ben, _ = devices
    relay = make()
    waiting = v1.joined(relay.port, ben)
    mine, theirs = v1.call(relay.port, ann, waiting, ben)
    a = v1.Peer(relay.port)
    a.send(v1.message(v1.JOIN_SESSION, v1.pad(mine.key)) + b"at once")
    b = v1.enter(relay.port, theirs)
    assert b.exact(7) == b"at once"
    assert a.bytes_of_message() == v1.response(v1.SUCCESS, "success")


def test_both_sides_at_the_same_moment(make, devices):
    ann, ben, _ = devices
    relay = make()
    waiting = v1.joined(relay.port, ben)
    for _ in range(30):
        invitations = v1.call(relay.port, ann, waiting, ben)
        peers = [v1.Peer(relay.port) for _ in range(2)]
        for peer, invitation in zip(peers, invitations):
            peer.send(v1.message(v1.JOIN_SESSION, v1.pad(invitation.key)) + b"x")
        for peer in peers:
            assert peer.bytes_of_message() == v1.response(v1.SUCCESS, "success")
            assert peer.exact(1) == b"x"


def test_token_and_list(make, devices):
    ann, ben, eve = devices
    relay = make(token="open sesame", allow=[ann.id, ben.id.replace("-", "").lower()])
    wrong = v1.response(v1.WRONG_TOKEN, "wrong token")
    for payload in (b"", v1.pad(b""), v1.pad(b"open sesam"), v1.pad(b"open sesame2")):
        peer = v1.Peer(relay.port, ben)
        peer.send(v1.message(v1.JOIN_RELAY, payload))
        assert peer.bytes_of_message() == wrong and peer.ended()
    relay.counted("end_proof", 4)
    peer = v1.Peer(relay.port, eve)
    peer.send(v1.message(v1.JOIN_RELAY, v1.pad(b"open sesame")))
    assert peer.bytes_of_message() == v1.response(v1.WRONG_TOKEN, "device not allowed") and peer.ended()
    waiting = v1.joined(relay.port, ben, "open sesame")
    assert v1.ask(relay.port, eve, ben.raw) == (v1.RESPONSE, struct.pack(">I", 1) + v1.pad(b"device not allowed"))
    relay.counted("end_denied", 2)
    a, b = v1.session(relay.port, ann, waiting, ben)
    carry(a, b, 1000)
    assert "open sesame" not in relay.rig.proxy.log()


def test_nobody_is_allowed_unless_named(make, devices):
    relay = make(allow=[])
    relay.rig.proxy.wait_log("may use the relay")
    assert v1.ask(relay.port, devices[0], devices[0].raw)[0] == v1.RESPONSE
    relay.counted("end_denied")


def test_living_connection_keeps_its_place(make, devices):
    ben = devices[1]
    relay = make()
    waiting = v1.joined(relay.port, ben)
    rival = v1.Peer(relay.port, ben)
    rival.send(v1.message(v1.JOIN_RELAY))
    assert waiting.bytes_of_message() == v1.message(v1.PING)
    waiting.send(v1.message(v1.PONG))
    assert rival.bytes_of_message() == v1.response(v1.ALREADY, "already connected") and rival.ended()
    v1.session(relay.port, devices[0], waiting, ben)


def test_dead_connection_is_replaced(make, devices):
    ben = devices[1]
    relay = make()
    dead = v1.joined(relay.port, ben)
    start = time.monotonic()
    waiting = v1.joined(relay.port, ben)
    assert 4 < time.monotonic() - start < 9 * fairlead.SLOW
    assert dead.ended()
    relay.counted("end_superseded")
    v1.session(relay.port, devices[0], waiting, ben)


def test_rival_of_one_that_leaves(make, devices):
    ben = devices[1]
    relay = make()
    dead = v1.joined(relay.port, ben)
    rival = v1.Peer(relay.port, ben)
    rival.send(v1.message(v1.JOIN_RELAY))
    dead.message()
    start = time.monotonic()
    dead.close()
    assert rival.bytes_of_message() == v1.response(v1.SUCCESS, "success")
    assert time.monotonic() - start < 2 * fairlead.SLOW


def test_after_joining_nothing_else_may_come(make, devices):
    ann, ben, _ = devices
    relay = make()
    for kind, payload, answer in (
            (v1.JOIN_RELAY, b"", v1.response(v1.ALREADY, "already connected")),
            (v1.CONNECT, v1.pad(ann.raw), v1.response(v1.UNEXPECTED, "unexpected message")),
            (99, b"", v1.response(v1.UNEXPECTED, "unexpected message"))):
        waiting = v1.joined(relay.port, ben)
        waiting.send(v1.message(kind, payload))
        assert waiting.bytes_of_message() == answer and waiting.ended()
        assert v1.ask(relay.port, ann, ben.raw)[1][:4] == b"\0\0\0\1", "still registered"
    relay.counted("end_phase", 3)


def test_messages_in_pieces(make, devices):
    ben = devices[1]
    relay = make()
    waiting = v1.Peer(relay.port, ben)
    for byte in v1.message(v1.JOIN_RELAY, v1.pad(b"token") + b"what comes after"):
        waiting.send(bytes([byte]))
    assert waiting.bytes_of_message() == v1.response(v1.SUCCESS, "success")
    waiting.send(v1.message(v1.PING) * 5)
    for _ in range(5):
        assert waiting.bytes_of_message() == v1.message(v1.PONG)


@pytest.mark.parametrize("noise", [
    struct.pack(">IiI", v1.MAGIC, v1.JOIN_SESSION, 0xFFFFFFFF), struct.pack(">IiI", v1.MAGIC, v1.JOIN_SESSION, 1025),
    v1.message(v1.JOIN_SESSION), v1.message(v1.JOIN_SESSION, struct.pack(">I", 33) + bytes(60)),
    b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n", b"\x16\x03\x01\x00\x05hello", bytes(4096), b"\x9e"])
def test_garbage(make, devices, noise):
    relay = make()
    peer = v1.Peer(relay.port)
    with contextlib.suppress(OSError):
        peer.send(noise)
        peer.finish()
    assert peer.ended()
    v1.joined(relay.port, devices[0])


def test_garbage_inside_tls(make, devices):
    relay = make()
    for noise in (bytes(12), v1.message(v1.CONNECT), v1.message(v1.PONG) * 1000, os.urandom(60000)):
        peer = v1.Peer(relay.port, devices[0])
        with contextlib.suppress(OSError):  # the relay may have heard enough before all is sent
            peer.send(noise)
        assert peer.ended()
    relay.counted("end_frame", 4)


def test_silent_connections_do_not_delay(make, devices):
    relay = make()
    silent = [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(200)]
    half = [v1.Peer(relay.port) for _ in range(50)]
    for peer in half:
        peer.send(b"\x16\x03\x01\x02\x00\x01")
    start = time.monotonic()
    v1.joined(relay.port, devices[0])
    assert time.monotonic() - start < 0.5 * fairlead.SLOW
    relay.counted("end_first_byte", 200, timeout=12)
    relay.counted("end_handshake_time", 50, timeout=15)
    for sock in silent:
        sock.close()


def test_flood_pushes_out_the_oldest(make, devices):
    relay = make(workers=1, limits={"handshakes": 20})  # a worker makes room among its own
    waiting = v1.joined(relay.port, devices[1])
    flood = [socket.create_connection(("127.0.0.1", relay.port)) for _ in range(300)]
    relay.counted("end_full", 270)
    a, b = v1.session(relay.port, devices[0], waiting, devices[1])  # pushes out one more
    carry(a, b, 1000)
    for sock in flood:
        sock.close()


def test_limits(make, devices):
    ann, ben, _ = devices
    relay = make(limits={"endpoints": 1, "sessions": 2, "sessions_per_agent": 1})
    waiting = v1.joined(relay.port, ben)
    peer = v1.Peer(relay.port, ann)
    peer.send(v1.message(v1.JOIN_RELAY))
    assert peer.bytes_of_message() == v1.message(v1.RELAY_FULL) and peer.ended()
    a, b = v1.session(relay.port, ann, waiting, ben)
    assert v1.ask(relay.port, ann, ben.raw) == (v1.RELAY_FULL, b"")
    a.close()
    b.close()
    fairlead.until("a free place", lambda: v1.ask(relay.port, ann, ben.raw)[0] == v1.INVITATION)


def test_rate_and_volume_of_a_device(make, devices):
    """Both sessions of a device share its rate; and the day's volume ends what is above it."""
    ann, ben, eve = devices
    relay = make(limits={"rate_agent": 1024, "volume_agent_day": 8})
    waiting = v1.joined(relay.port, ben)
    pairs = [v1.session(relay.port, who, waiting, ben) for who in (ann, eve)]
    began = time.monotonic()
    carriers = [threading.Thread(target=carry, args=(*pair, 2 << 20)) for pair in pairs]
    for one in carriers:
        one.start()
    for one in carriers:
        one.join()
    assert time.monotonic() - began > 3  # 4 MiB through one device's megabyte a second

    def send_on():
        with contextlib.suppress(OSError):
            pairs[0][0].send(bytes(8 << 20))

    sender = threading.Thread(target=send_on)
    sender.start()
    assert pairs[0][1].ended()
    sender.join()
    relay.rig.proxy.wait_log('"syncthing session ended".*"reason":"volume"')


def test_console_changes_the_list(make, devices):
    ann, ben, _ = devices
    relay = make(allow=[ann.id, ben.id])
    waiting, other = v1.joined(relay.port, ben), v1.joined(relay.port, ann)
    a, b = v1.session(relay.port, ann, waiting, ben)
    console = relay.rig.register("cons")
    assert change(relay.rig, console, 1, syncthing={"allow": ["nobody"]})[1] == "refused"
    assert change(relay.rig, console, 2, syncthing={"allow": [ben.id]})[1] == "waiting"
    assert other.ended() and a.ended() and b.ended()
    assert v1.ask(relay.port, ann, ben.raw)[1][:4] == b"\0\0\0\1"
    assert v1.ask(relay.port, ben, ben.raw)[0] == v1.INVITATION
    assert change(relay.rig, console, 3, syncthing={"token": "x"})[1] == "refused"


def test_announced_address(make, devices):
    relay = make(announce="192.0.2.7:4433")
    assert relay.rig.proxy.wait_log(r"relay://192\.0\.2\.7:4433/\?id=" + relay.id)


def test_id_stays_over_restarts(make, devices):
    relay = make()
    relay.rig.proxy.stop()
    relay.rig.proxy.restart()
    assert relay.rig.proxy.wait_log(r"relay://[^\"]*id=([A-Z2-7-]+)").group(1) == relay.id


def test_stop_ends_all(make, devices):
    ann, ben, _ = devices
    relay = make()
    waiting = v1.joined(relay.port, ben)
    a, b = v1.session(relay.port, ann, waiting, ben)
    half = v1.enter(relay.port, v1.call(relay.port, ann, waiting, ben)[0])
    assert relay.rig.proxy.stop() == 0
    assert all(peer.ended() for peer in (waiting, a, b, half))
    assert re.search(r'"end_shutdown":\d', relay.rig.proxy.log())


# --- the status page

def get(address, request):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(request)
        data = b""
        try:
            while chunk := sock.recv(65536):
                data += chunk
        except ConnectionResetError:  # what came after the head was not read
            assert data
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode(), body


@pytest.fixture
def status(make):
    relay = make(status="127.0.0.1:0")
    relay.status = relay.rig.proxy.wait_log(r'"status of the Syncthing relay".*"address":"([^"]+)"').group(1)
    return relay


def test_status(status, devices):
    ann, ben, _ = devices
    waiting = v1.joined(status.port, ben)
    a, b = v1.session(status.port, ann, waiting, ben)
    v1.call(status.port, ann, waiting, ben)
    carry(a, b, 1 << 20)

    def look():
        head, body = get(status.status, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 ") and "Access-Control-Allow-Origin: *" in head and "application/json" in head
        assert body.startswith(b'{\n    "version": ')
        return json.loads(body)

    fairlead.until("the callers are gone", lambda: look()["numConnections"] == 1)
    told = look()
    assert (told["numActiveSessions"], told["numProxies"], told["numPendingSessionKeys"], told["bytesProxied"]) == (1, 2, 2, 1 << 20)
    assert told["options"]["ping-interval"] == 60 and told["options"]["network-timeout"] == 120 and told["options"]["pools"] == []
    assert len(told["kbps10s1m5m15m30m60m"]) == 6 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["startTime"])


def test_status_keys_are_those_of_strelaysrv(status, world):
    theirs = v1.Strelaysrv(world)
    want, have = (json.loads(get(address, b"GET /status HTTP/1.0\r\nHost: x\r\n\r\n")[1]) for address in (f"127.0.0.1:{theirs.status}", status.status))
    assert set(want) == set(have) and set(want["options"]) == set(have["options"])
    assert {key: type(value) for key, value in want.items()} == {key: type(value) for key, value in have.items()}


def test_status_gives_nothing_else(status):
    assert get(status.status, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith("HTTP/1.1 404 ")
    assert get(status.status, b"POST /status HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith("HTTP/1.1 405 ")
    assert get(status.status, b"HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n")[1] == b""
    assert get(status.status, os.urandom(20000))[0].startswith("HTTP/1.1 4")
    silent = [socket.create_connection(("127.0.0.1", int(status.status.rsplit(":", 1)[1]))) for _ in range(24)]
    assert get(status.status, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")[0].startswith("HTTP/1.1 200 ")
    for sock in silent:
        sock.settimeout(20 * fairlead.SLOW)
        with pytest.raises(ConnectionResetError):  # and no time-out: a silent visitor may not stay
            sock.recv(1)
        sock.close()


@pytest.mark.parametrize("key, value", [("allow", "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ4"),
                                        ("certificate", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")])
def test_bad_configuration(world, key, value):
    rig = Rig(world, syncthing={"listen": "127.0.0.1:0", key: value})
    rig.write()
    done = fairlead.subprocess.run([fairlead.program("fairlead-proxy"), "--config", rig.path, "--check"], capture_output=True, text=True)
    rig.close()
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and f'"syncthing.{key}"' in done.stderr, done.stderr
