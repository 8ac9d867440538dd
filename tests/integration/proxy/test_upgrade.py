"""A new process takes the place of a running one: what it gets, what stays, and what happens when one of them fails."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
import urllib.request

import fairlead
import pytest
import relay_v1 as v1
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]


class Upgraded(Rig):
    """A rig whose proxy can be taken over from."""

    def __init__(self, world, **config):
        super().__init__(world, handover=str(world.folder / "handover.sock"), **config)
        self.generation = 1

    def successor(self, **config):
        """Start one; it is not awaited."""
        self.generation += 1
        self.write({**self.config, **config})
        return fairlead.Program(self.world, f"proxy{self.generation}", [fairlead.program("fairlead-proxy"), "--config", self.path, "--take-over"]).start()

    def upgrade(self, **config):
        """A successor has taken over. Returns the process before it."""
        old, new = self.proxy, self.successor(**config)
        new.wait_log('"taken over"')
        new.wait_log('"listening"')
        old.wait_log('"handed over"')
        self.proxy = new
        return old

    def ends_well(self, process, timeout=15):
        assert process.process.wait(timeout * fairlead.SLOW) == 0
        process.wait_log("leaving to the new process")


@pytest.fixture
def rig(world):
    made = Upgraded(world).start()
    yield made
    made.close()


def sessions(process, field="sessions"):
    found = re.search(rf'"(?:handed|taken) over".*"{field}":(\d+)', process.log())
    return int(found.group(1)) if found else None


def test_raw_session_does_not_notice(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.raw_session(alice, bob)
    rig.party(f"twin {a} {b}")
    rig.party.say("load 2500")
    time.sleep(0.7)
    old = rig.upgrade()
    assert rig.party.answer("load").startswith("ok ")
    assert sessions(old) == 1 and sessions(rig.proxy) == 1
    # the control legs are told to come again, at once
    assert rig.party(f"recv {alice}").startswith("STATUS moved")
    assert rig.party(f"recv {bob}").startswith("STATUS moved")
    rig.ends_well(old)
    # what one proxy counted the other goes on with
    assert rig.party(f"flow {a} {b} 500000") == "ok"
    rig.party(f"eof {a}")
    assert rig.party(f"recv {b}") == "EOF"
    rig.party(f"eof {b}")
    assert rig.party(f"recv {a}") == "EOF"
    rig.proxy.wait_log('"session ended".*"reason":"done"')
    counted = rig.counters()
    assert 500000 <= counted["bytes"] >= counted["spliced"], counted  # its own, not the other's as well
    # and the new one takes new ones
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 100000") == "ok"


def test_many_sessions_under_load(world):
    """200 sessions, all moving: every byte arrives, and nobody is cut."""
    rig = Upgraded(world, workers=2).start()
    try:
        alice, bob = rig.register("alice"), rig.register("bob")
        count = 200 if fairlead.SLOW == 1 else 40
        for _ in range(count):
            a, b = rig.raw_session(alice, bob)
            rig.party(f"twin {a} {b}")
        rig.party.say("load 3000")
        time.sleep(1)
        old = rig.upgrade(workers=3)  # another number of workers
        answer = rig.party.answer("load", 120)
        assert answer.startswith("ok "), answer
        assert sessions(old) == count
        assert '"session ended"' not in old.log() + rig.proxy.log()
        rig.ends_well(old)
    finally:
        rig.close()


def test_again_and_again(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.raw_session(alice, bob)
    rig.party(f"twin {a} {b}")
    rig.party.say("load 6000")
    olds = []
    for workers in (1, 4, 2):
        time.sleep(0.3)
        olds.append(rig.upgrade(workers=workers))
    assert rig.party.answer("load").startswith("ok ")
    for old in olds:
        rig.ends_well(old)
    rig.register("alice")


def test_half_closed_and_stuck_sessions_go_too(rig):
    """One that has ended one way, and one whose receiver takes nothing: what it was not given yet goes with it."""
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.raw_session(alice, bob)
    rig.party(f"eof {a}")
    assert rig.party(f"recv {b}") == "EOF"
    c, d = rig.raw_session(alice, bob)
    filled = int(rig.party(f"fill {c} 50000000"))  # and d reads nothing
    assert 0 < filled < 50000000
    old = rig.upgrade()
    assert sessions(old) == 2
    assert rig.party(f"flow {b} {a} 300000") == "ok"
    rig.party(f"eof {b}")
    assert rig.party(f"recv {a}") == "EOF"
    assert rig.party(f"drain {d} {filled}") == "ok"
    rig.ends_well(old)


def test_what_has_tls_stays(rig):
    """A wrapped session goes on in the old process, which ends after it."""
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    half, _ = rig.offer(alice, bob, "bob")
    waiting = rig.join("alice", half)
    old = rig.upgrade()
    assert sessions(old) == 0
    assert rig.party(f"recv {waiting}").startswith("STATUS moved")  # its partner would come to the new one
    time.sleep(2)
    assert old.running()
    assert rig.party(f"flow {a} {b} 500000") == "ok"
    rig.party(f"eof {a}")
    assert rig.party(f"recv {b}") == "EOF"
    rig.party(f"eof {b}")
    rig.ends_well(old)


def test_what_stays_has_an_end(world):
    rig = Upgraded(world, handover_seconds=2).start()
    try:
        alice, bob = rig.register("alice"), rig.register("bob")
        a, _ = rig.session(alice, bob)
        old = rig.upgrade()
        assert rig.party(f"recv {a} 8000").startswith("ABORT shutdown")
        rig.ends_well(old)
        old.wait_log('"cut_sessions":1')
    finally:
        rig.close()


def status_of(port, path="/status"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return json.load(answer)


def listens(process, port):
    """Does @process?"""
    found = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return f"pid={process.pid}," in found


@pytest.fixture
def relay(world):
    """A proxy that serves Syncthing devices too."""
    made = Upgraded(world, workers=2, metrics="127.0.0.1:0",
                    syncthing={"listen": "127.0.0.1:0", "status": "127.0.0.1:0", "allow": ["any"]}).start()
    made.watch, made.status, made.devices = (int(made.proxy.wait_log(pattern).group(1)) for pattern in (
        r'"metrics".*"address":"127\.0\.0\.1:(\d+)"', r'"status of the Syncthing relay".*"address":"127\.0\.0\.1:(\d+)"',
        r'"serving Syncthing devices".*"address":"127\.0\.0\.1:(\d+)"'))
    yield made
    made.close()


def test_listeners_of_metrics_and_devices(relay, world):
    """They go too, again and again: the same ports, answered by the new process, which registers the devices anew and has their sessions."""
    ann, ben = (v1.Device(world.folder, name) for name in ("ann", "ben"))
    waiting = v1.joined(relay.devices, ben)
    a, b = v1.session(relay.devices, ann, waiting, ben)
    a.send(b"first")
    assert b.exact(5) == b"first"
    ports = (relay.watch, relay.status, relay.devices)
    for workers in (3, 1, 2):
        assert len(re.findall("serving Syncthing devices", relay.proxy.log())) == 1
        old = relay.upgrade(workers=workers)
        assert sessions(old) == 1
        assert waiting.ended()  # told by the end of its connection, and dials again
        waiting = v1.joined(relay.devices, ben)
        a.send(b"still here")
        assert b.exact(10) == b"still here"
        b.send(b"me too")
        assert a.exact(6) == b"me too"
        relay.ends_well(old)
        old.wait_log('"cut_sessions":0')
        assert all(listens(relay.proxy, port) for port in ports)
        assert status_of(relay.status)["numActiveSessions"] == status_of(relay.watch)["sessions"] == 1
    c, d = v1.session(relay.devices, ann, waiting, ben)
    c.send(b"new")
    assert d.exact(3) == b"new"
    a.finish()
    assert b.ended()
    b.close()
    assert a.ended()
    relay.proxy.wait_log('"syncthing session ended".*"reason":"done"')
    fairlead.until("one session", lambda: status_of(relay.watch)["sessions"] == 1)


def test_device_sessions_with_what_they_hold(relay, world):
    """One whose receiver takes nothing, one that is half closed, one that nobody has used yet: all that was sent arrives."""
    ann, ben = (v1.Device(world.folder, name) for name in ("ann", "ben"))
    waiting = v1.joined(relay.devices, ben)
    stuck, half, fresh = (v1.session(relay.devices, ann, waiting, ben) for _ in range(3))
    data = os.urandom(64 << 20)
    sent = 0
    stuck[0].sock.settimeout(1)
    try:
        while sent < len(data):
            sent += stuck[0].sock.send(data[sent:sent + (1 << 20)])
    except TimeoutError:
        pass
    assert 0 < sent < len(data)
    half[0].send(b"last words")
    half[0].finish()
    assert half[1].exact(10) == b"last words" and half[1].ended()
    old = relay.upgrade()
    assert sessions(old) >= 2
    assert stuck[1].exact(sent) == data[:sent]
    stuck[1].send(b"all of it")
    assert stuck[0].exact(9) == b"all of it"
    half[1].send(b"thanks")
    assert half[0].exact(6) == b"thanks"
    fresh[0].send(b"hello")
    assert fresh[1].exact(5) == b"hello"


def test_devices_that_may_not_stay(relay, world):
    """The new file's list holds for sessions that come along."""
    ann, ben = (v1.Device(world.folder, name) for name in ("ann", "ben"))
    waiting = v1.joined(relay.devices, ben)
    a, b = v1.session(relay.devices, ann, waiting, ben)
    a.send(b"x")
    assert b.exact(1) == b"x"
    old = relay.upgrade(syncthing={**relay.config["syncthing"], "allow": [ann.id]})
    assert a.ended() and b.ended()
    relay.ends_well(old)
    assert status_of(relay.watch)["sessions"] == 0


def test_agents_that_may_not_stay(rig):
    """So does that of agents."""
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.raw_session(alice, bob)
    c, d = rig.raw_session(bob, bob, ("bob", "bob"))
    old = rig.upgrade(agents=[rig.who("bob").split()[1]])
    rig.proxy.wait_log('"session ended".*"reason":"not-listed"')
    assert rig.party(f"flow {c} {d} 100000") == "ok"
    assert len(re.findall('"session ended"', rig.proxy.log())) == 1
    rig.ends_well(old)


def test_denied_in_the_middle(rig):
    """While its session is at rest for a newcomer, which gives up: it does not run again."""
    console, alice, bob = rig.register("cons"), rig.register("alice"), rig.register("bob")
    rig.raw_session(alice, bob)
    peer = talk(rig, GOOD_HELLO, (PREPARED, b""))
    read_until(peer, END)
    rig.party(f"denied {console} 1 0 1 {rig.who('alice').split()[1]}")
    rig.proxy.wait_log("denied ids set")
    peer.close()
    rig.proxy.wait_log('"session ended".*"reason":"denied"')


def test_denied_stay_denied(rig):
    """The console's list goes along: nobody slips in before it comes to the new process."""
    console = rig.register("cons")
    rig.party(f"denied {console} 1 0 1 {rig.who('carol').split()[1]}")
    rig.proxy.wait_log("denied ids set")
    rig.upgrade()
    while (told := rig.party(f"recv {console}")).startswith("REPORT"):
        pass
    assert told.startswith("STATUS moved"), told
    leg = rig.dial()
    rig.party(f"hello {leg} carol")
    assert rig.party(f"recv {leg}").startswith("STATUS denied")


# --- attempts that fail


def busy(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.raw_session(alice, bob)
    rig.party(f"twin {a} {b}")
    return alice, bob


def as_if_nothing_happened(rig, alice):
    answer = rig.party("load 500")
    assert answer.startswith("ok "), answer
    rig.party(f"ping {alice}")
    assert rig.party(f"recv {alice}") == "PONG"
    rig.register("carol")


def talk(rig, *frames):
    """A newcomer that says what it is told to; frames are (type, body)."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(10 * fairlead.SLOW)
    peer.connect(str(rig.world.folder / "handover.sock"))
    with contextlib.suppress(BrokenPipeError):  # one that was refused at once
        for kind, body in frames:
            peer.send(struct.pack(">BBH", kind, 0, len(body)) + body)
    return peer


HELLO, WELCOME, REFUSED, SOCKET, PREPARED, SESSION, END = 1, 2, 3, 4, 5, 6, 9
GOOD_HELLO = (HELLO, b"\x08\x01")


def read_until(peer, kind):
    """Skip messages up to one of @kind; its body, or None at the end of all. Descriptors are closed."""
    while True:
        data, fds, _, _ = socket.recv_fds(peer, 65536, 16)
        for fd in fds:
            os.close(fd)
        if not data:
            return None
        if data[0] == kind:
            return data[4:]


@pytest.mark.parametrize("frames, state", [
    ([(99, b"")], "greeting"), ([(HELLO, b"\xff\xff")], "greeting"), ([(PREPARED, b"")], "greeting"), ([GOOD_HELLO, GOOD_HELLO], "offered"),
    ([GOOD_HELLO, (PREPARED, b""), (10, b"\x08\x07")], "passing"),
])
def test_garbage_is_refused(rig, frames, state):
    alice, _ = busy(rig)
    peer = talk(rig, *frames)
    assert read_until(peer, REFUSED) is not None
    rig.proxy.wait_log(f'"no hand-over to a new process".*"state":"(?:{state}|collecting)"')
    as_if_nothing_happened(rig, alice)


def test_other_version_is_told(rig):
    alice, _ = busy(rig)
    peer = talk(rig, (HELLO, b"\x08\x63"))
    assert b"version" in read_until(peer, REFUSED)
    as_if_nothing_happened(rig, alice)


def test_silent_newcomer_keeps_nobody(rig):
    """It stops answering in the worst moment, when sessions are at rest: five seconds later they run again."""
    alice, _ = busy(rig)
    peer = talk(rig, GOOD_HELLO, (PREPARED, b""))
    read_until(peer, END)
    rig.proxy.wait_log('"no hand-over to a new process".*"why":"not in time"')
    as_if_nothing_happened(rig, alice)
    rig.upgrade()
    assert rig.party("load 300").startswith("ok ")


def test_device_sessions_come_back(relay, world):
    """The newcomer goes with them in hand: they run on."""
    ann, ben = (v1.Device(world.folder, name) for name in ("ann", "ben"))
    waiting = v1.joined(relay.devices, ben)
    a, b = v1.session(relay.devices, ann, waiting, ben)
    for _ in range(2):
        a.send(b"x" * 1000)
        assert b.exact(1000) == b"x" * 1000
        peer = talk(relay, GOOD_HELLO, (PREPARED, b""))
        assert read_until(peer, SESSION) is not None
        a.send(b"meanwhile")
        peer.close()
        assert b.exact(9) == b"meanwhile"
    relay.upgrade()
    b.send(b"at last")
    assert a.exact(7) == b"at last"
    assert waiting.ended()


def test_two_at_once(rig):
    alice, _ = busy(rig)
    first = talk(rig, GOOD_HELLO)
    read_until(first, WELCOME)
    assert read_until(talk(rig, GOOD_HELLO), REFUSED) is not None
    first.close()
    as_if_nothing_happened(rig, alice)


def test_newcomer_killed_in_the_middle(rig):
    """Before it has said a word, while it prepares, and with descriptors of sessions in hand: the old one goes on."""
    alice, _ = busy(rig)
    rig.party.say("load 2000")
    rig.proxy.process.send_signal(signal.SIGSTOP)
    new = rig.successor()
    time.sleep(0.3 * fairlead.SLOW)  # it waits for an answer
    new.kill()
    rig.proxy.process.send_signal(signal.SIGCONT)
    assert rig.party.answer("load").startswith("ok ")
    peer = talk(rig, GOOD_HELLO)
    read_until(peer, SOCKET)
    peer.close()
    peer = talk(rig, GOOD_HELLO, (PREPARED, b""))
    read_until(peer, SESSION)
    peer.close()  # what a kill looks like, with descriptors of sessions in hand
    as_if_nothing_happened(rig, alice)


def test_another_user_is_turned_away(rig):
    alice, _ = busy(rig)
    path = rig.world.folder / "handover.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    os.chmod(path, 0o666)
    script = f"import socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET);s.connect({str(path)!r});print(s.recv(100))"
    if os.geteuid() == 0:  # only then there is another user to be
        rig.world.folder.chmod(0o711)
        run = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, user=65534, check=False)
        assert run.stdout.strip() in (b"b''", b""), run  # closed without a word
        rig.proxy.wait_log("may not take over")
    as_if_nothing_happened(rig, alice)


def test_a_second_start_does_not_take_over(rig):
    alice, _ = busy(rig)
    other = fairlead.Program(rig.world, "other", [fairlead.program("fairlead-proxy"), "--config", rig.path]).start()
    assert other.process.wait(20) == 2 or other.process.returncode == 1
    assert "--take-over" in other.log()
    as_if_nothing_happened(rig, alice)


def test_nobody_to_take_over_from(world):
    rig = Upgraded(world)
    try:
        new = rig.successor()
        assert new.process.wait(20) == 1
        assert "no proxy answers" in new.log()
    finally:
        rig.close()
