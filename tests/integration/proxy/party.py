"""A real proxy and a scripted party (tests/tools/fl_party.c) that plays endpoints, good and bad, towards it."""

import json
import os
import re
import select
import signal
import subprocess
import threading

import fairlead

CONFIG = {"workers": 3, "limits": {"endpoints": 200, "sessions": 200, "handshakes": 1000, "handshakes_per_address": 1000, "handshakes_per_network": 1000}, "log": {"level": "debug", "format": "json"}}


class Party:
    """Commands to fl_party, one answer a line."""

    def __init__(self, world):
        self.log = open(world.folder / "fl_party.log", "ab")
        path = next(p for p in (fairlead.BUILD / "tests/tools/fl_party", fairlead.BUILD / "fl_party") if p.is_file())
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0)
        self.names = 0

    def __call__(self, line, timeout=60):
        self.say(line)
        return self.answer(line, timeout)

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")

    def answer(self, line, timeout=60):
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], timeout * fairlead.SLOW)
            got = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not got:
                raise fairlead.Failure(f"fl_party: no answer to {line!r}")
            answer += got
        text = answer.decode(errors="replace").strip()
        assert not text.startswith("error"), f"{line!r}: {text}"
        return text

    def name(self):
        self.names += 1
        return f"leg{self.names}"

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Rig:
    """Authority A, a proxy of it, and identities alice, bob (agents), cons (console), new (enrol), other (proxy)."""

    def __init__(self, world, **config):
        self.world, self.party = world, Party(world)
        self.party("ca A")
        self.party(f"proxy A {world.folder}/pki")
        for name, role in (("alice", "agent"), ("bob", "agent"), ("carol", "agent"), ("cons", "console"), ("new", "enrol"), ("other", "proxy")):
            self.party(f"id {name} A {role}")
        self.config = {**CONFIG, "listen": "127.0.0.1:0", "identity": "pki/identity.pem", "ca": "pki/ca.pem",
                       "tls_certificate": "pki/tls.pem", **config}
        self.path = world.folder / "proxy.json"
        self.proxy = None

    def write(self, config=None):
        self.path.write_text(json.dumps(config or self.config))

    def program(self):
        return [fairlead.program("fairlead-proxy"), "--config", self.path]

    def start(self):
        self.write()
        self.proxy = fairlead.Program(self.world, "proxy", self.program()).start()
        self.port = int(self.proxy.wait_log(r'"listening".*"address":"127\.0\.0\.1:(\d+)"').group(1))
        return self

    def close(self):
        self.party.close()

    # --- what a party does

    def dial(self, who=None, trick=""):
        """A leg; with @who also proved, and the answer to HELLO awaited."""
        leg = self.party.name()
        assert self.party(f"dial {leg} 127.0.0.1 {self.port}") == "ok"
        if who:
            self.prove(leg, who, trick)
        return leg

    def prove(self, leg, who, trick=""):
        """Say HELLO, and await its answer."""
        self.party(f"hello {leg} {who} {trick}".strip())
        answer = self.party(f"recv {leg}")
        if not trick or trick == "raw":
            assert answer.startswith("HELLO_ACK"), answer
            self.boot = answer.split(" boot ")[1]

    def register(self, who):
        leg = self.dial(who)
        self.party(f"register {leg}")
        assert self.party(f"recv {leg}").startswith("REGISTERED 127.0.0.1:")
        if who == "cons":
            self.settings = self.party(f"recv {leg}")
            assert self.settings.startswith("CONFIG_RESULT "), self.settings
        return leg

    def who(self, name):
        return self.party(f"show {name}")

    def told(self, leg):
        """The next frame on a control leg but for the PING that comes every 25 s or so."""
        while (frame := self.party(f"recv {leg}")) == "PING":
            pass
        return frame

    def offer(self, caller, callee, who):
        """CONNECT from leg @caller to identity @who at leg @callee. Returns (session, key) of both."""
        self.party(f"connect {caller} 7 {self.who(who)}")
        offer, invite = self.told(caller).split(), self.told(callee).split()
        assert offer[:2] == ["OFFER", "7"] and invite[0] == "INVITE" and offer[2] == invite[1], (offer, invite)
        return (offer[2], offer[3]), (invite[1], invite[2])

    def reject(self, caller, who):
        self.party(f"connect {caller} 9 {who if ' ' in who else self.who(who)}")
        answer = self.told(caller).split()
        assert answer[:2] == ["REJECT", "9"], answer
        return answer[2]

    def join(self, who, place, trick=""):
        leg = self.dial(who, trick)
        self.party(f"join {leg} {place[0]} {place[1]}")
        return leg

    def session(self, caller, callee, names=("alice", "bob")):
        """A joined session: its two legs."""
        first, second = self.offer(caller, callee, names[1])
        a, b = self.join(names[0], first), self.join(names[1], second)
        assert self.party(f"recv {a}").startswith("JOINED caller")
        assert self.party(f"recv {b}").startswith("JOINED callee")
        return a, b

    def raw_session(self, caller, callee, names=("alice", "bob")):
        """A session that is raw both ways."""
        first, second = self.offer(caller, callee, names[1])
        a, b = self.join(names[0], first, "raw"), self.join(names[1], second, "raw")
        assert self.party(f"recv {a}").startswith("JOINED caller")
        assert self.party(f"recv {b}").startswith("JOINED callee")
        for leg, other in ((a, b), (b, a)):
            assert self.party(f"raw {leg}") == "ok"
            got = self.party(f"recv {other}")
            assert got == "RAW", got
        return a, b

    # --- what the proxy counts

    def counters(self):
        """The record that SIGUSR1 asks for."""
        def records():  # whole ones: the last may be being written
            return [line for line in self.proxy.log().splitlines(keepends=True) if '"counters"' in line and line.endswith("\n")]
        seen = len(records())
        self.proxy.process.send_signal(signal.SIGUSR1)
        return json.loads(fairlead.until("counters", lambda: records()[seen:])[-1])

    def counted(self, name, least=1, timeout=10):
        """Wait until counter @name has reached @least."""
        return fairlead.until(f"{name} >= {least}", lambda: self.counters().get(name, 0) >= least, timeout, 0.2)

    def ended(self, field, value):
        return re.search(rf'"{field}":"{value}"', self.proxy.log())


class Crowd:
    """Endpoints with the real client's way of coming back (bench/back.c), each from an address of its own."""

    def __init__(self, rig, count, role):
        argv = [fairlead.BUILD / "bench/bench_back", rig.world.folder / "pki", str(rig.port), str(count), role]
        self.count, self.process = count, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.rows, self.ready = [], threading.Event()
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            if line == "ready\n":
                self.ready.set()
            else:
                self.rows.append(int(line.split()[1]))

    def there(self):
        return self.rows[-1] == self.count if self.rows else self.ready.is_set()

    def gone(self):
        """Has one of them lost the proxy since it was ready?"""
        return any(row < self.count for row in self.rows)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.thread.join()
