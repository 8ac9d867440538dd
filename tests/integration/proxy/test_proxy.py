"""The real proxy against scripted endpoints: sessions, strangers, keys, floods, bad files."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import fairlead
import pytest
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]


@pytest.fixture
def rig(world):
    made = Rig(world).start()
    yield made
    made.close()


@pytest.fixture
def pair(rig):
    """Registered alice and bob."""
    return rig, rig.register("alice"), rig.register("bob")


def test_session_both_ways_with_half_close(pair):
    rig, alice, bob = pair
    for _ in range(6):  # with three workers some legs have to move
        a, b = rig.session(alice, bob)
        assert rig.party(f"flow {a} {b} 3000000") == "ok"
        assert rig.party(f"eof {a}") == "ok"
        assert rig.party(f"recv {b}") == "EOF"
        assert rig.party(f"flow {b} {a} 3000000") == "ok"
        rig.party(f"eof {b}")
        assert rig.party(f"recv {a}") == "EOF"
    rig.counted("end_done", 12)
    total = rig.counters()
    assert total["sessions_total"] == 6 and total["bytes"] == 36000000
    assert total["moved"] > 0, "no leg changed its worker; are there several?"


def test_early_data_waits_for_the_other_side(pair):
    rig, alice, bob = pair
    first, second = rig.offer(alice, bob, "bob")
    a = rig.join("alice", first)
    assert rig.party(f"recv {a} 300") == "none"
    # fl_party does not mind that it has no JOINED yet
    rig.party(f"data {a} early")
    time.sleep(0.3)
    b = rig.join("bob", second)
    assert rig.party(f"recv {b}").startswith("JOINED callee")
    assert rig.party(f"recv {b}") == "DATA early"
    assert rig.party(f"recv {a}").startswith("JOINED caller")


def test_control_leg_lost_sessions_stay(pair):
    rig, alice, bob = pair
    a, b = rig.session(alice, bob)
    rig.party(f"close {alice}")
    rig.party(f"close {bob} reset")
    rig.counted("end_gone")
    rig.counted("end_reset")
    assert rig.party(f"flow {a} {b} 1000000") == "ok"


def test_abort_and_reset_are_passed_on(pair):
    rig, alice, bob = pair
    a, b = rig.session(alice, bob)
    rig.party(f"abort {a} enough")
    assert rig.party(f"recv {b}") == "ABORT aborted enough"
    rig.counted("end_aborted", 2)
    a, b = rig.session(alice, bob)
    rig.party(f"close {a} reset")
    assert rig.party(f"recv {b}").startswith("ABORT other-side")
    rig.counted("end_other_side")
    a, b = rig.session(alice, bob)
    rig.party(f"close {b}")  # no EOF: a cut
    assert rig.party(f"recv {a}").startswith("ABORT other-side")


def test_illegal_frames_end_a_session(pair):
    rig, alice, bob = pair
    a, b = rig.session(alice, bob)
    rig.party(f"frame {a} 0x0b 0")  # PING is no frame of a session
    assert rig.party(f"recv {a}").startswith("ABORT phase")
    assert rig.party(f"recv {b}").startswith("ABORT other-side")
    a, b = rig.session(alice, bob)
    rig.party(f"frame {a} 0x3f 1")  # unknown and critical
    assert rig.party(f"recv {a}").startswith("ABORT frame")
    a, b = rig.session(alice, bob)
    rig.party(f"frame {a} 0x3f 0 0102")  # unknown, may be ignored
    rig.party(f"data {a} on")
    assert rig.party(f"recv {b}") == "DATA on"


# --- strangers

@pytest.mark.parametrize("trick, reason", [
    ("exporter", "proof"), ("side", "proof"), ("signature", "proof"), ("version", "version"),
    ("certificate=bob", "proof"),
])
def test_wrong_hello(rig, trick, reason):
    leg = rig.party.name()
    rig.party(f"dial {leg} 127.0.0.1 {rig.port}")
    rig.party(f"hello {leg} alice {trick}")
    assert rig.party(f"recv {leg}").startswith(f"STATUS {reason}")
    rig.counted(f"end_{reason}")
    assert rig.counters()["refused"] == 1


@pytest.mark.parametrize("make, reason", [
    ("id bad A agent -3600", "expired"), ("id bad A proxy", "role"),
])
def test_wrong_certificate(rig, make, reason):
    rig.party("ca B")
    rig.party(make)
    leg = rig.party.name()
    rig.party(f"dial {leg} 127.0.0.1 {rig.port}")
    rig.party(f"hello {leg} bad")
    assert rig.party(f"recv {leg}").startswith(f"STATUS {reason}")
    rig.counted(f"end_{reason}")


@pytest.mark.parametrize("make, trick, reason", [
    ("id bad B agent", "", "authority"), ("id bad B console", "", "authority"), ("id bad A agent", "noise", "certificate"),
])
def test_no_certificate_of_ours(rig, make, trick, reason):
    """They meet the web server."""
    rig.party("ca B")
    rig.party(make)
    leg = rig.party.name()
    rig.party(f"dial {leg} 127.0.0.1 {rig.port}")
    rig.party(f"hello {leg} bad {trick}")
    assert rig.party(f"recv {leg}").startswith("ended FL_ETEXT")
    rig.counted(f"end_{reason}")
    assert rig.counters()["refused"] == 1


def test_no_certificate(rig):
    leg = rig.dial()
    rig.party(f"frame {leg} 0x01 0")  # an empty HELLO
    rig.counted("end_version")
    leg = rig.dial()
    rig.party(f"register {leg}")  # no HELLO at all
    assert rig.party(f"recv {leg}").startswith("ended")
    rig.counted("end_phase")


def test_console_impostor(pair):
    """An agent with a good certificate does not become the console by acting like it."""
    rig, alice, bob = pair
    bob_id = rig.who("bob").split()[1]
    rig.party(f"denied {alice} 1 0 1 {bob_id}")
    assert rig.party(f"recv {alice}").startswith("STATUS role")
    rig.counted("end_role")
    assert rig.party(f"recv {bob} 300") == "none", "bob was denied by an agent"


def test_denied_loses_everything_at_once(pair):
    rig, alice, bob = pair
    cons = rig.register("cons")
    assert rig.party(f"recv {cons}").startswith("REPORT endpoints=3")
    a, b = rig.session(alice, bob)
    bob_id = rig.who("bob").split()[1]
    rig.party(f"denied {cons} 1 0 0 {'00' * 16}")
    rig.party(f"denied {cons} 1 1 1 {bob_id}")
    assert rig.party(f"recv {bob}").startswith("STATUS denied")
    assert rig.party(f"recv {b}").startswith("ABORT denied")
    assert rig.party(f"recv {a}").startswith("ABORT other-side")
    leg = rig.dial()
    rig.party(f"hello {leg} bob")
    assert rig.party(f"recv {leg}").startswith("STATUS denied")
    assert rig.reject(alice, "bob") == "not-found"
    rig.party(f"denied {cons} 2 0 1")  # an empty list lifts it
    rig.register("bob")


# --- CONNECT and keys

def test_who_may_ask_for_whom(pair):
    rig, alice, bob = pair
    new, cons = rig.register("new"), rig.register("cons")
    assert rig.reject(new, "alice") == "refused"
    assert rig.reject(new, "new") == "refused"
    assert rig.reject(alice, "new") == "refused"
    assert rig.reject(alice, "other") == "refused"
    assert rig.reject(alice, "carol") == "not-found"
    assert rig.reject(alice, "agent " + "ab" * 16) == "not-found"
    rig.party(f"recv {cons}")  # its first REPORT
    rig.offer(new, cons, "cons")
    total = rig.counters()
    assert total["reject_refused"] == 4 and total["reject_not_found"] == 2


def test_keys_are_used_once(pair):
    rig, alice, bob = pair
    first, second = rig.offer(alice, bob, "bob")
    a = rig.join("alice", first)
    assert rig.party(f"recv {a} 300") == "none"  # another worker may be quicker with the next leg
    again = rig.join("alice", first)
    assert rig.party(f"recv {again}").startswith("STATUS key-unknown")
    guess = rig.join("alice", (first[0], "11" * 32))
    assert rig.party(f"recv {guess}").startswith("STATUS key-unknown")
    b = rig.join("bob", second)
    assert rig.party(f"recv {b}").startswith("JOINED")
    assert rig.party(f"recv {a}").startswith("JOINED")
    rig.counted("end_key_unknown", 2)


def test_anothers_key(pair):
    rig, alice, bob = pair
    first, second = rig.offer(alice, bob, "bob")
    thief = rig.join("carol", second)
    assert rig.party(f"recv {thief}").startswith("STATUS key-owner")
    late = rig.join("bob", second)  # dead by now, also for its owner
    assert rig.party(f"recv {late}").startswith("STATUS key-unknown")
    rig.counted("end_key_owner")


def test_key_of_another_session(pair):
    rig, alice, bob = pair
    first, _ = rig.offer(alice, bob, "bob")
    other, _ = rig.offer(alice, bob, "bob")
    leg = rig.join("alice", (other[0], first[1]))
    assert rig.party(f"recv {leg}").startswith("STATUS key-unknown")


def test_nobody_joins(pair):
    rig, alice, bob = pair
    first, second = rig.offer(alice, bob, "bob")
    leg = rig.join("alice", first)
    start = time.monotonic()
    assert rig.party(f"recv {leg} 15000").startswith("STATUS join-time")
    assert time.monotonic() - start > 9
    late = rig.join("bob", second)
    assert rig.party(f"recv {late}").startswith("STATUS key-unknown")
    rig.counted("end_join_time")


def test_newest_registration_wins(pair):
    rig, alice, bob = pair
    newer = rig.register("alice")
    assert rig.party(f"recv {alice}").startswith("STATUS superseded")
    rig.offer(bob, newer, "alice")
    rig.counted("end_superseded")


def test_limits_of_sessions(world):
    rig = Rig(world, limits={"sessions_per_agent": 2, "endpoints": 3}).start()
    try:
        alice, bob, carol = (rig.register(who) for who in ("alice", "bob", "carol"))
        rig.offer(alice, bob, "bob")
        rig.offer(alice, bob, "bob")
        assert rig.reject(alice, "carol") == "full"
        assert rig.reject(carol, "bob") == "full"
        rig.party("id dave A agent")
        leg = rig.dial("dave")
        rig.party(f"register {leg}")
        assert rig.party(f"recv {leg}").startswith("STATUS full")
        total = rig.counters()
        assert total["reject_full"] == 2 and total["end_full"] == 1
    finally:
        rig.close()


def test_idle_and_stalled_sessions(world):
    rig = Rig(world, limits={"idle_seconds": 2, "stall_seconds": 4}).start()
    try:
        alice, bob = rig.register("alice"), rig.register("bob")
        a, b = rig.session(alice, bob)
        assert rig.party(f"recv {a} 6000").startswith("ABORT idle")
        assert rig.party(f"recv {b}").startswith("ABORT idle")
    finally:
        rig.close()


def test_back_pressure_and_stall(world):
    rig = Rig(world, limits={"idle_seconds": 0, "stall_seconds": 4}).start()
    try:
        alice, bob = rig.register("alice"), rig.register("bob")
        a, b = rig.session(alice, bob)
        before = rig.counters()["memory"]
        taken = int(rig.party(f"fill {a} 200000000"))
        assert taken < 60000000, "somebody keeps what bob does not read"
        assert rig.counters()["memory"] - before < 8 << 20
        rig.counted("end_stall", 1, timeout=15)
    finally:
        rig.close()


# --- floods

def test_silent_connections_do_not_delay(pair):
    rig, alice, bob = pair
    silent = [socket.create_connection(("127.0.0.1", rig.port)) for _ in range(200)]
    try:
        start = time.monotonic()
        a, b = rig.session(alice, bob)
        assert rig.party(f"flow {a} {b} 100000") == "ok"
        assert time.monotonic() - start < 1.0 * fairlead.SLOW
        rig.counted("end_first_byte", 200, timeout=12)
    finally:
        for sock in silent:
            sock.close()
    assert rig.party(f"flow {a} {b} 100000") == "ok"


def test_flood_pushes_out_the_oldest(world):
    rig = Rig(world, workers=1, limits={"handshakes": 20, "handshakes_per_address": 1000, "handshakes_per_network": 1000}).start()
    try:
        silent = [socket.create_connection(("127.0.0.1", rig.port)) for _ in range(100)]
        rig.register("alice")
        rig.counted("end_full", 80)
        assert rig.counters()["strangers"] <= 20
        for sock in silent:
            sock.close()
    finally:
        rig.close()


def test_garbage(rig):
    """Plain bytes, a cut handshake, TLS 1.2, and frames that are none."""
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, os.urandom(5000), b"\x16\x03\x01\x40\x00" + b"\x01" * 100):
        with socket.create_connection(("127.0.0.1", rig.port)) as sock:
            sock.sendall(junk)
            sock.settimeout(12)
            try:
                while sock.recv(4096):
                    pass
            except OSError:
                pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for payload in (b"\x01", b"\xff\xff\xff\xff", b"\x01\x00\x00\x05abc", os.urandom(300), b"GET / HTTP/1.1\r\n\r\n"):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", rig.port))) as sock:
            sock.sendall(payload)
            sock.settimeout(12)
            try:
                while sock.recv(4096):
                    pass
            except OSError:
                pass
    rig.counted("end_frame", 4)
    rig.register("alice")
    assert rig.proxy.running()


# --- the program

def test_stop_tells_everybody(pair):
    rig, alice, bob = pair
    a, b = rig.session(alice, bob)
    silent = socket.create_connection(("127.0.0.1", rig.port))
    start = time.monotonic()
    rig.proxy.process.send_signal(signal.SIGTERM)
    assert rig.party(f"recv {alice}").startswith("STATUS shutdown")
    assert rig.party(f"recv {a}").startswith("ABORT shutdown")
    assert rig.party(f"recv {b}").startswith("ABORT shutdown")
    assert rig.proxy.wait(8) == 0
    assert time.monotonic() - start < 6 * fairlead.SLOW
    silent.close()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_never_dials_and_never_writes(rig, world):
    """What the kernel sees of a proxy with work: no socket of its own, no connect, nothing opened for writing."""
    trace = world.folder / "trace"
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-e", "trace=%file,%network", "-p", str(rig.proxy.pid)],
                              stderr=subprocess.DEVNULL)
    fairlead.until("strace", lambda: trace.exists())
    time.sleep(0.3)
    alice, bob = rig.register("alice"), rig.register("bob")
    cons = rig.register("cons")
    assert rig.party(f"recv {cons} 6000").startswith("REPORT")
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 2000000") == "ok"
    rig.counters()
    tracer.terminate()  # a leak check at the end does not work under a tracer
    tracer.wait(10)
    rig.proxy.process.send_signal(signal.SIGTERM)
    assert rig.proxy.wait(10) == 0
    calls = trace.read_text()
    assert "accept4(" in calls  # it did look
    for word in ("connect(", "socket(", "bind(", "O_WRONLY", "O_RDWR", "O_CREAT", "creat(", "unlink", "rename", "mkdir", "execve("):
        assert word not in calls, [line for line in calls.splitlines() if word in line][:3]


def run_proxy(*args):
    return subprocess.run([fairlead.program("fairlead-proxy"), *map(str, args)], capture_output=True, text=True, timeout=20, check=False)


def test_port_in_use(rig, world):
    rig.config["listen"] = f"127.0.0.1:{rig.port}"
    rig.write()
    result = run_proxy("--config", rig.path)
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{rig.port}" in result.stderr


def test_command_line(world):
    assert run_proxy("--version").stdout.startswith("fairlead-proxy ")
    assert "tls_certificate" in run_proxy("--help").stdout
    for args in ((), ("--config",), ("--nonsense",), ("--config", "x", "extra"), ("--config", "x", "--log-level", "loud")):
        result = run_proxy(*args)
        assert result.returncode == 2 and "fairlead-proxy" in result.stderr, args
    result = run_proxy("--config", world.folder / "none.json")
    assert result.returncode == 2 and "none.json" in result.stderr and result.stderr.count("\n") == 1


BAD = [
    ("listen", 5, "listen"), ("listen", [], "listen"), ("listen", "127.0.0.1", "listen"), ("listen", "127.0.0.1:99999", "listen"),
    ("identity", 1, "identity"), ("identity", "/no/such/file", "readable file"), ("ca", "/no/such/file", "/no/such/file"), ("identity", "pki/ca.pem", "identity"),
    ("identity", "pki/tls.pem", "identity"), ("ca", "pki/tls.pem", None), ("ca", True, "ca"), ("tls_certificate", "pki/ca.pem", "tls_certificate"),
    ("tls_certificate", 7, "tls_certificate"), ("raw", "sometimes", "raw"), ("raw", 1, "raw"), ("sandbox", "maybe", "sandbox"), ("sandbox", True, "sandbox"), ("workers", -1, "workers"), ("workers", 65, "workers"),
    ("workers", "two", "workers"), ("limits", 3, "limits"), ("log", "info", "log"), ("log", {"level": "loud"}, "level"),
    ("log", {"format": 1}, "format"), ("lisen", "x:1", "listen"), ("wrokers", 1, "workers"),
] + [("limits", {key: value}, key) for key in ("endpoints", "sessions", "sessions_per_agent", "handshakes", "handshakes_per_address", "handshakes_per_network") for value in (0, -1, "x", 1e12, 1.5)] \
  + [("limits", {key: value}, key) for key in ("idle_seconds", "stall_seconds") for value in (-1, True, 10**9)]


def test_bad_files(world):
    rig = Rig(world)
    try:
        rig.write()
        good = run_proxy("--config", rig.path, "--check")
        assert good.returncode == 0, good.stderr
        for key, value, word in BAD:
            rig.write({**rig.config, key: value})
            result = run_proxy("--config", rig.path, "--check")
            told = result.stderr.strip()
            assert result.returncode == 2, (key, value, told)
            assert told.count("\n") == 0 and "proxy.json" in told and (word is None or word in told), (key, value, told)
            assert "PRIVATE" not in told
        for missing in ("listen", "identity", "ca", "tls_certificate"):
            rig.write({k: v for k, v in rig.config.items() if k != missing})
            result = run_proxy("--config", rig.path, "--check")
            assert result.returncode == 2 and missing in result.stderr
        rig.path.write_text("{ not json")
        result = run_proxy("--config", rig.path, "--check")
        assert result.returncode == 2 and "proxy.json:1" in result.stderr
    finally:
        rig.close()
