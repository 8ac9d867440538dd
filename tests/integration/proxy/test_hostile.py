"""What strangers, guessers and clones can do to a real proxy: nothing that others notice, and nothing that stays."""

import contextlib
import os
import pathlib
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import threading
import time

import fairlead
import pytest
from party import CONFIG, Crowd, Rig

GROWTH = 10 << 20  # bytes that may be kept for the next time: buffers, and what malloc's arenas cannot give back


class Proxy(Rig):
    """With what a proxy has by default: its own limits, and what is asked of every test."""

    def __init__(self, world, **config):
        super().__init__(world, **{"limits": {}, **config})

    def start(self):
        super().start()
        self.alice, self.bob = self.register("alice"), self.register("bob")
        self.witness = self.session(self.alice, self.bob)
        return self

    def dial(self, who=None, trick=""):
        """In a flood of those who say something, a newcomer may have to come again: nobody is pushed out within a second."""
        def come():
            leg = self.party.name()
            if self.party(f"dial {leg} 127.0.0.1 {self.port}") == "ok":
                if not who:
                    return leg
                self.party(f"hello {leg} {who} {trick}".strip())
                answer = self.party(f"recv {leg}")
                if answer.startswith("HELLO_ACK") or trick not in ("", "raw"):
                    return leg
                assert answer.startswith(("STATUS full", "ended")), answer
            self.party(f"close {leg}")
            return None
        return fairlead.until("a place at the door", come, 10)

    def sanitized(self):
        """With AddressSanitizer, which keeps what was freed."""
        return "libasan" in pathlib.Path(f"/proc/{self.proxy.pid}/maps").read_text()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.proxy.pid}/fd"))

    def quiet(self):
        """Wait until no stranger is left, and nothing that lingers. Returns how many descriptors there are then."""
        fairlead.until("the strangers to be gone", lambda: self.counters()["strangers"] == 0, 40, 0.2)
        seen = [self.descriptors()]

        def settled():
            seen.append(self.descriptors())
            return seen[-1] == seen[-2]
        fairlead.until("descriptors to be closed", settled, 20, 0.5)
        return seen[-1]

    def alive(self, leg):
        """A registered endpoint's leg still answers."""
        self.party(f"ping {leg}")
        while (answer := self.party(f"recv {leg}")) != "PONG":
            assert answer.split()[0] in ("PING", "REPORT", "INVITE"), answer

    def session_works(self):
        """A new session, its time in seconds."""
        start = time.monotonic()
        a, b = self.session(self.alice, self.bob)
        took = time.monotonic() - start
        assert self.party(f"flow {a} {b} 100000") == "ok"
        for leg in (a, b):
            self.party(f"close {leg} reset")
        return took

    def healthy(self):
        """Nobody who belongs here has noticed anything."""
        assert self.proxy.running()
        for leg in (self.alice, self.bob):
            self.alive(leg)
        for a, b in (self.witness, self.witness[::-1]):
            assert self.party(f"flow {a} {b} 300000") == "ok"
        self.session_works()

    def survives(self, attack, rounds=2):
        """@attack changes nothing for others, and nothing of it stays. The second time tells a leak from a cache."""
        before = self.quiet(), self.proxy.memory()
        for _ in range(rounds):
            attack()
            self.healthy()
            assert self.quiet() <= before[0] + 2
            if not self.sanitized():
                fairlead.until("memory to be given back", lambda: self.proxy.memory() <= before[1] + GROWTH, 5)


@pytest.fixture
def rig(world):
    made = Proxy(world)
    yield made.start()
    made.close()


# --- strangers

def address(number):
    """One of many addresses, 200 to a network."""
    return f"127.{64 + number // 51200}.{number // 200 % 256}.{1 + number % 200}"


def connect(port, number=None, **options):
    """A connection from address @number, or from 127.0.0.1."""
    sock = socket.socket()
    for name, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    if number is not None:
        # The port is chosen with the target in view, so that thousands do not use them up.
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((address(number), 0))
    sock.settimeout(20 * fairlead.SLOW)
    sock.connect(("127.0.0.1", port))
    return sock


@contextlib.contextmanager
def crowd(rig, count, first=b""):
    """@count connections from as many addresses, each with something said."""
    socks = []
    try:
        for number in range(count):
            sock = connect(rig.port, number)
            socks.append(sock)
            with contextlib.suppress(OSError):  # it may be pushed out already
                if first:
                    sock.sendall(first() if callable(first) else first)
        yield socks
    finally:
        for sock in socks:
            sock.close()


def client_hello():
    """The first bytes of a real client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(into, out)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def tls(rig, number=None, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connect(rig.port, number, **options))


def test_thousand_silent_connections(rig):
    """They cost a join nothing that could be measured beside the noise."""
    before = [rig.session_works() for _ in range(9)]
    with crowd(rig, 1000):
        fairlead.until("a thousand strangers", lambda: rig.counters()["strangers"] >= 900, 10, 0.02)
        with_them = [rig.session_works() for _ in range(9)]
        rig.healthy()
    assert statistics.median(with_them) < 3 * statistics.median(before) + 0.1, (before, with_them)
    rig.quiet()
    rig.healthy()


def test_five_thousand_half_handshakes(rig):
    """A ClientHello and then nothing, from 5,000 addresses: more than there are places."""
    hello = client_hello()

    def answered(sock):
        sock.setblocking(False)
        try:
            return len(sock.recv(1, socket.MSG_PEEK)) == 1
        except OSError:
            return False

    def attack():
        with crowd(rig, 5000, hello) as socks:
            assert rig.counters()["strangers"] <= 4096
            rig.session_works()
            fairlead.until("a good part to have been answered", lambda: sum(map(answered, socks)) > 1000, 30, 0.5)

    rig.survives(attack)
    assert rig.counters()["end_full"] > 0  # some had to make room


def test_one_address_gets_few_places(rig):
    """A hundred half handshakes from one address: 64 get in, and others come in as ever."""
    hello = client_hello()
    socks = [connect(rig.port, 7) for _ in range(100)]
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.sendall(hello)
    rig.counted("end_crowded", 36)
    rig.healthy()
    for sock in socks:
        sock.close()
    assert rig.counters()["end_crowded"] == 36
    rig.quiet()


def frames(seed):
    """Something that is nearly a frame, or not at all."""
    rng = random.Random(seed)
    kind, length = rng.choice((0, 1, 2, 3, 5, 8, 11, 17, 0x3f, rng.randrange(256))), rng.randrange(300)
    told = rng.choice((length, length, rng.randrange(65536)))
    return bytes([kind, rng.randrange(3)]) + told.to_bytes(2, "big") + rng.randbytes(length)


@pytest.mark.asan
def test_garbage(rig):
    """Random bytes to TCP, random records after a real ClientHello, random bytes inside TLS, and frames after a good HELLO."""
    hello = client_hello()
    rng = random.Random(1)

    def noise():
        record = bytes([rng.choice((20, 21, 22, 23, 24)), 3, rng.randrange(4)])
        body = rng.randbytes(rng.randrange(1, 900))
        return rng.choice((rng.randbytes(rng.randrange(1, 3000)), b"\x16\x03\x01" + rng.randbytes(500),
                           hello[:rng.randrange(1, len(hello))] + rng.randbytes(40), hello + record + len(body).to_bytes(2, "big") + body,
                           bytes(b ^ (rng.random() < 0.02) for b in hello)))

    def attack():
        with crowd(rig, 400, noise):
            for number in range(150):
                with tls(rig, number) as sock:
                    sock.sendall(frames(number) if number % 2 else rng.randbytes(rng.randrange(1, 2000)))
                    if number % 3 == 0:  # some hang up, some wait for what it says
                        with contextlib.suppress(OSError):
                            sock.recv(100)
            for number in range(150):
                leg = rig.dial("carol")
                if number % 2:
                    rig.party(f"register {leg}")
                kind = number % 75
                rig.party(f"frame {leg} {kind} {number % 3 // 2} {rng.randbytes(rng.randrange(1, 200)).hex()}")
                rig.party(f"close {leg} reset")

    rig.survives(attack)


@pytest.mark.asan
def test_client_hello_in_pieces(rig):
    """One byte a segment is slow, and still a handshake; what never ends is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(into, out)
    with connect(rig.port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in out.read():
                    sock.sendall(bytes([byte]))
                into.write(sock.recv(65536))
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.sendall(out.read())  # the Finished and the request at once
        page = b""
        while b"</html>" not in page:
            try:
                page += client.read(65536)
            except ssl.SSLWantReadError:
                into.write(sock.recv(65536))
    assert page.startswith(b"HTTP/1.1 200 OK")
    rig.healthy()


@pytest.mark.asan
@pytest.mark.parametrize("which", ["endpoints", "syncthing"])
def test_endless_client_hello(world, which):
    """Its length says 16 MB, and GnuTLS would collect them; nobody gets so much of us."""
    rig = Proxy(world, syncthing={"listen": "127.0.0.1:0", "allow": ["any"]}).start()
    port = rig.port if which == "endpoints" else int(rig.proxy.wait_log(r'relay://127\.0\.0\.1:(\d+)/').group(1))

    def attack():
        socks = [connect(port, number) for number in range(40)]
        before = rig.proxy.memory()
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.sendall(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(16378))
                for _ in range(100):
                    sock.sendall(b"\x16\x03\x01\x40\x00" + bytes(16384))
        assert rig.sanitized() or rig.proxy.memory() < before + GROWTH
        for sock in socks:
            sock.close()

    try:
        rig.survives(attack)
    finally:
        rig.close()


# --- who has an identity

def test_guessed_keys(rig):
    """An agent of the domain that knows a session's id guesses its keys: the session is not disturbed, nobody else's either."""
    first, second = rig.offer(rig.alice, rig.bob, "bob")

    def attack():
        for number in range(150):
            guess = bytearray.fromhex(first[1])
            guess[number % 32] ^= 1 << number % 8
            leg = rig.join("carol", (first[0], (os.urandom(32) if number % 2 else bytes(guess)).hex()))
            assert rig.party(f"recv {leg}").startswith("STATUS key-unknown")
            rig.party(f"close {leg}")

    attack()
    a, b = rig.join("alice", first), rig.join("bob", second)
    assert rig.party(f"recv {a}").startswith("JOINED caller") and rig.party(f"recv {b}").startswith("JOINED callee")
    assert rig.party(f"flow {a} {b} 100000") == "ok"
    rig.survives(attack)
    rig.counted("end_key_unknown", 450)


class Elsewhere:
    """A port through which connections reach the proxy from another address, byte for byte."""

    def __init__(self, rig):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.real, self.ended = rig.port, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ended:
            for key, _ in self.selector.select(0.1):
                if key.fileobj is self.listener:
                    one, _ = self.listener.accept()
                    other = connect(self.real, 4711)
                    self.selector.register(one, selectors.EVENT_READ, other)
                    self.selector.register(other, selectors.EVENT_READ, one)
                    continue
                try:
                    data = key.fileobj.recv(65536)
                    key.data.sendall(data)
                except OSError:
                    data = b""
                if not data:
                    self.selector.unregister(key.fileobj)
                    with contextlib.suppress(OSError):
                        key.data.shutdown(socket.SHUT_WR)

    def close(self):
        self.ended = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def test_clones_fight(rig):
    """Two machines with carol's identity push each other out. After a few turns nobody may come for a while, sessions that
    run go on, and no one else notices."""
    port, elsewhere = rig.port, Elsewhere(rig)
    try:
        here = rig.register("carol")
        joined = rig.session(rig.alice, here, ("alice", "carol"))
        answers, legs = [], [here]
        for turn in range(12):
            rig.port = port if turn % 2 else elsewhere.port
            legs.append(rig.dial("carol"))
            rig.party(f"register {legs[-1]}")
            answers.append(rig.party(f"recv {legs[-1]}").split()[0:2])
            if answers[-1][0] != "REGISTERED":
                break
        assert answers[-1] == ["STATUS", "flapping"], answers
        assert 2 <= len(answers) < 12
        rig.port = port
        leg = rig.dial("carol")  # and again at once
        rig.party(f"register {leg}")
        assert rig.party(f"recv {leg}").startswith("STATUS flapping")
        assert rig.party(f"flow {joined[0]} {joined[1]} 100000") == "ok"
        assert rig.reject(rig.alice, "carol") == "not-found"
        rig.healthy()
        for leg in legs:
            rig.party(f"close {leg} reset")
    finally:
        rig.port = port
        elsewhere.close()


def test_who_never_reads(rig):
    """Sessions that one side does not read, and visitors that do not read their page: memory stays flat, others go on."""
    before = rig.proxy.memory()
    pairs = [rig.session(rig.alice, rig.bob) for _ in range(12)]
    for a, _ in pairs:
        assert int(rig.party(f"fill {a} 100000000")) < 60_000_000
    deaf = []
    for number in range(200):
        sock = tls(rig, number, SO_RCVBUF=4096)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        deaf.append(sock)
    assert rig.proxy.memory() - before < 12 * (256 << 10) + 200 * (80 << 10) + GROWTH
    free = [rig.session_works() for _ in range(5)]
    assert statistics.median(free) < 2 * fairlead.SLOW
    rig.healthy()
    for sock in deaf:
        sock.close()
    for pair in pairs:
        for leg in pair:
            rig.party(f"close {leg} reset")
    rig.quiet()
    rig.healthy()


# --- nothing left

class Poor(Proxy):
    """With few descriptors."""

    def __init__(self, world, descriptors):
        super().__init__(world, limits={"handshakes": 1000, "handshakes_per_address": 1000, "handshakes_per_network": 1000})
        self.least = descriptors

    def program(self):
        return ["prlimit", f"--nofile={self.least}:{self.least}", *super().program()]


def test_out_of_descriptors(world):
    """Strangers take all there are: they make room for who speaks. Agents take all: the rest are told, the console gets in."""
    rig = Poor(world, 200).start()
    try:
        with crowd(rig, 400):
            rig.counted("end_full", 100)
            rig.healthy()
        rig.quiet()
        legs = []
        for _ in range(200):
            leg = rig.party.name()
            if rig.party(f"dial {leg} 127.0.0.1 {rig.port}") != "ok":
                break
            rig.party(f"hello {leg} carol")
            answer = rig.party(f"recv {leg}")
            if not answer.startswith("HELLO_ACK"):
                break
            legs.append(leg)
        assert answer.startswith(("STATUS full", "ended")), answer
        assert len(legs) > 100
        rig.register("cons")
        for a, b in (rig.witness, rig.witness[::-1]):
            assert rig.party(f"flow {a} {b} 300000") == "ok"
        for leg in legs:
            rig.party(f"close {leg} reset")
        fairlead.until("the proxy to have room again", lambda: rig.descriptors() < 100)
        rig.healthy()
    finally:
        rig.close()


def spend(pid, more):
    """Let the process have @more bytes of memory beyond what it has; None: as much as it likes. Of the kernel's limits this is
    the one that also holds for what malloc has reserved and not used yet."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    size = int(re.search(r"VmData:\s+(\d+) kB", status).group(1)) * 1024
    resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY if more is None else size + more, resource.RLIM_INFINITY))


@pytest.mark.parametrize("more", [1, 4], ids=["at-once", "by-and-by"])
def test_out_of_memory(rig, more):
    """Strangers get none of the last memory: they are turned away, sessions go on, the console gets in, and afterwards all
    is as before."""
    hello = client_hello()
    rig.register("cons")
    spend(rig.proxy.pid, more << 19)
    with crowd(rig, 1500, hello):
        rig.counted("end_local", 200)
        rig.register("cons")  # the console comes from where it was before
        for _ in range(3):
            for a, b in (rig.witness, rig.witness[::-1]):
                assert rig.party(f"flow {a} {b} 1000000") == "ok"
    rig.counted("end_local", 200)
    spend(rig.proxy.pid, None)
    rig.quiet()
    rig.healthy()


# --- in a control group

MEMORY = 48 << 20  # bytes; the proxy has some 10 MB when it has nothing to do


def own_group(controller):
    """Our group's folder of @controller: version 1's, or version 2's if that has it. None when there is neither."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for top in (f"/sys/fs/cgroup/{controller}",) if controller in names.split(",") else ("/sys/fs/cgroup",) if not names else ():
            folder = pathlib.Path(top + path)
            if top.endswith(controller) or controller in ((folder / "cgroup.subtree_control").read_text().split() if folder.is_dir() else ()):
                return folder
    return None


@pytest.fixture
def group():
    """A control group below our own with a limit of memory: its folder. None where this machine lets us make none."""
    above = own_group("memory")
    if not above or not os.access(above, os.W_OK):
        yield None
        return
    made = above / f"fairlead-test-{os.getpid()}"
    made.mkdir()
    limit = next(made / name for name in ("memory.max", "memory.limit_in_bytes") if (made / name).exists())
    limit.write_text(str(MEMORY))
    yield made
    fairlead.until("the group to be empty", lambda: not (made / "cgroup.procs").read_text(), 20)
    made.rmdir()


class Grouped(Proxy):
    """It starts within a control group, if there is one."""

    def __init__(self, world, group, **config):
        super().__init__(world, **config)
        self.group = group

    def program(self):
        if not self.group:
            return super().program()
        return ["sh", "-c", f'echo $$ >{self.group}/cgroup.procs && exec "$@"', "sh", *super().program()]

    def killed(self):
        """How often the kernel has killed there."""
        if not self.group:
            return 0
        events = next(self.group / name for name in ("memory.events", "memory.oom_control") if (self.group / name).exists())
        return int(re.search(r"^oom_kill (\d+)", events.read_text(), re.M).group(1))


def test_control_group_is_full(group, world):
    """Strangers ask for more than the group has, while 300 endpoints are registered of which none reads: the kernel has nobody to
    kill, strangers are turned away and counted, what runs goes on, the console gets in, and the memory is given back."""
    rig = Grouped(world, group).start()
    hello, crowded = client_hello(), None
    if not group:  # the limit that it would give itself
        spend(rig.proxy.pid, MEMORY * 3 // 4 - rig.proxy.memory())
    try:
        assert not group or '"memory is limited by the control group"' in rig.proxy.log() and f'"limit":{MEMORY}' in rig.proxy.log()
        crowded = Crowd(rig, 300, "agents")
        fairlead.until("300 agents", crowded.ready.is_set, 60)
        crowded.process.send_signal(signal.SIGSTOP)
        rig.register("cons")
        before = rig.quiet(), rig.proxy.memory()
        for _ in range(2):
            with crowd(rig, 3000, hello):
                rig.counted("end_local", 200)
                rig.register("cons")
                for a, b in (rig.witness, rig.witness[::-1]):
                    assert rig.party(f"flow {a} {b} 1000000") == "ok"
                assert rig.proxy.memory() < MEMORY
            rig.quiet()
            rig.healthy()
            fairlead.until("memory to be given back", lambda: rig.proxy.memory() <= before[1] + GROWTH, 5)
        assert rig.counters()["endpoints"] == 303
        assert rig.killed() == 0
    finally:
        if crowded:
            crowded.process.send_signal(signal.SIGCONT)
            crowded.close()
        rig.close()


# --- a kernel that says no

class Faulty(Proxy):
    """Its system calls fail now and then; see tests/tools/fl_fault.c."""

    def __init__(self, world, every, calls):
        super().__init__(world)
        self.every, self.calls = every, calls

    def program(self):
        library = next(p for p in (fairlead.BUILD / "tests/tools/fl_fault.so", fairlead.BUILD / "fl_fault.so") if p.is_file())
        return ["env", f"LD_PRELOAD={library}", f"FL_FAULT_EVERY={self.every}", f"FL_FAULT_CALLS={self.calls}", *super().program()]

    def tale(self):
        """What endpoints do, as far as it goes."""
        legs = []
        with contextlib.suppress(AssertionError), tls(self) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            sock.recv(100)
        with contextlib.suppress(AssertionError):
            legs += [self.register("alice"), self.register("bob")]
            for make in (self.session, self.raw_session):
                legs += make(*legs[:2])
                self.party(f"flow {legs[-2]} {legs[-1]} 300000")
                self.party(f"flow {legs[-1]} {legs[-2]} 300000")
        for leg in legs:
            self.party(f"close {leg} reset")


@pytest.mark.parametrize("every", [10, 50, 150])
def test_failing_calls(world, every):
    """One in so many system calls fails. What hangs on it ends, the proxy does not, and afterwards all works."""
    rig = Faulty(world, every, 40 * every)
    Rig.start(rig)
    try:
        start = time.monotonic()
        while "faults end" not in rig.proxy.log():
            assert rig.proxy.running() and time.monotonic() - start < 90 * fairlead.SLOW
            with contextlib.suppress(OSError):
                rig.tale()
        failed = re.findall(r"^fault (\w+)$", rig.proxy.log(), re.M)
        assert len(failed) >= 30 and len(set(failed)) >= 4, failed
        rig.alice, rig.bob = rig.register("alice"), rig.register("bob")
        rig.witness = rig.session(rig.alice, rig.bob)
        rig.healthy()
        rig.quiet()
    finally:
        rig.close()


# --- a well-known tool

def slow_http(rig, *options):
    argv = ["slowhttptest", "-u", f"https://127.0.0.1:{rig.port}/", "-c", "300", "-r", "150", "-l", "14", "-p", "3", *options]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_slowhttptest(world):
    """Slow headers, a slow body, a slow reader: each connection ends by its deadline, the page is there for others all the time."""
    assert shutil.which("slowhttptest"), "scripts/setup installs it"
    rig = Proxy(world, limits=CONFIG["limits"]).start()
    try:
        start = time.monotonic()
        attacks = [slow_http(rig, *options) for options in (
            ("-H", "-i", "1", "-t", "GET", "-x", "24"),
            ("-B", "-i", "1", "-s", "8192", "-t", "POST", "-x", "10"),
            ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "10", "-k", "1"))]
        most = 0
        while any(attack.poll() is None for attack in attacks):
            assert time.monotonic() - start < 60 * fairlead.SLOW
            rig.healthy()
            most = max(most, rig.counters()["strangers"])
            time.sleep(0.5)
        for attack in attacks:
            attack.communicate()
        assert most >= 100, "nobody attacked"
        rig.quiet()
        rig.healthy()
    finally:
        rig.close()
