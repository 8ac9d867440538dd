"""A TCP port at one agent leads to a host and port behind another: real programs through two NATs and a proxy."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import fairlead
import pytest
import trees

PORT = 7000  # at home-a
TARGET = 7001  # behind home-b


def allow(world, agent, **forward):
    """@agent is started again with this in its agent.json."""
    agent.stop()
    agent.config_path.write_text(json.dumps({**json.loads(agent.config_path.read_text()), "forward": forward}))
    agent.restart().ready()


@pytest.fixture
def forwarded(homes):
    """home-a's port leads to home-b's."""
    allow(homes, homes.a, listen=[f"127.0.0.1:{PORT}"])
    allow(homes, homes.b, connect=["127.0.0.1:7000-7100", "localhost:*"])
    homes.job = start(homes)
    return homes


def start(world, listen=f"127.0.0.1:{PORT}", to=f"127.0.0.1:{TARGET}", name="way"):
    job = world.hq.job("forward", name, [f"home-a:{listen}"], [f"home-b:{to}"])
    wait_moving(job)
    return job


def flow(job):
    return (job.run() or {"flows": [{}]})["flows"][0]


def wait_moving(job):
    fairlead.until("the forward to run", lambda: flow(job).get("state") == "moving", 30)


def counts(job, wanted, timeout=20):
    """Wait until the connections' counters have what @wanted says."""
    return fairlead.until(f"{wanted} of {flow(job)}", lambda: (got := flow(job)["connections"]) and all(got[k] == v for k, v in wanted.items()) and got,
                          timeout)


@contextlib.contextmanager
def inside(world, name):
    """Sockets made in this thread belong to that host."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{world.lab.ns(name)}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        assert libc.setns(there, 0) == 0
        yield
    finally:
        assert libc.setns(here, 0) == 0
        os.close(here), os.close(there)


def dial(world, port=PORT, at="home-a"):
    with inside(world, at):
        sock = socket.create_connection(("127.0.0.1", port), 20 * fairlead.SLOW)
    return sock


class Server:
    """At home-b or another host, a thread a connection."""

    def __init__(self, world, handle, port=TARGET, at="home-b"):
        with inside(world, at):
            self.socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.handle, self.errors = handle, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(60 * fairlead.SLOW)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.handle(connection)
        except OSError as error:
            self.errors.append(error)
        finally:
            connection.close()

    def close(self):
        self.socket.close()


def read_all(sock):
    data = bytearray()
    while got := sock.recv(1 << 16):
        data += got
    return bytes(data)


def answer_at_the_end(connection):
    """Half-close: it says what came when all of it has come."""
    connection.sendall(hashlib.sha256(read_all(connection)).hexdigest().encode())


def open_ways(world):
    """The tunnels that are open, as the console tells them: the newest first."""
    return [way for way in world.hq.items("/tunnels") if way["state"] != "failed"]


def vain_ways(world):
    """What was tried in vain, or is lost: why, by the way."""
    return {way["via"]: way["text"] for way in world.hq.items("/tunnels") if way["state"] == "failed"}


def exchange(world, data, timeout=20):
    with dial(world) as sock:
        sock.settimeout(timeout * fairlead.SLOW)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock).decode() == hashlib.sha256(data).hexdigest()


def test_half_close(forwarded):
    Server(forwarded, answer_at_the_end)
    for size in (0, 1, 70_000, 5 << 20):
        assert exchange(forwarded, os.urandom(size)), size
    got = counts(forwarded.job, {"open": 0, "total": 4, "refused": 0})
    assert got["bytes_up"] == 70_001 + (5 << 20) and got["bytes_down"] == 4 * 64


def test_its_ways_are_told(forwarded):
    """As long as it runs: over which, how many connections, how much."""
    world = forwarded
    Server(world, answer_at_the_end)
    socks = [dial(world) for _ in range(3)]
    for sock in socks:
        sock.sendall(bytes(1 << 20))
    way, = fairlead.until("three connections", lambda: (ways := open_ways(world)) and ways[0]["connections"] == 3 and ways[0]["bytes"] >= 3 << 20 and ways, 20)
    assert (way["via"], way["state"], way["newest"], way["relayed"]) == ("proxy dmz tcp", "carries", True, True)
    assert (way["source"]["name"], way["target"]["name"], way["run"]) == ("home-b", "home-a", world.job.run()["id"])
    for command in (("tunnel", "list"), ("job", "show", "way"), ("agent", "show", "home-a"), ("agent", "show", "home-b")):
        shown = world.hq.cli(*command).stdout
        assert re.search(r"home-b +home-a +proxy dmz tcp +carries .* 3 open, takes new ones", shown), shown
    assert world.hq.items(f"/tunnels?run={way['run']}") and world.hq.items(f"/tunnels?run={'0' * 32}") == []
    with pytest.raises(fairlead.Rest, match="expected the id of a run"):
        world.hq.items("/tunnels?run=x")
    for sock in socks:
        sock.close()
    fairlead.until("nothing to move any more", lambda: (ways := open_ways(world)) and (ways[0]["connections"], ways[0]["rate"]) == (0, 0), 20)
    world.job.do("pause")
    fairlead.until("no way of a job that is paused", lambda: world.hq.items("/tunnels") == [], 20)


def test_two_hundred_at_once(forwarded):
    """All open before the first byte goes; each gets its own bytes back."""
    def echo(connection):
        connection.sendall(read_all(connection))

    Server(forwarded, echo)
    socks = [dial(forwarded) for _ in range(200)]
    counts(forwarded.job, {"open": 200, "total": 200})
    said = [os.urandom(20_000) for _ in socks]
    for sock, data in zip(socks, said):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    for sock, data in zip(socks, said):
        assert read_all(sock) == data
        sock.close()
    counts(forwarded.job, {"open": 0, "total": 200, "refused": 0})


def test_a_slow_reader_holds_up_nobody(forwarded):
    """What it does not take waits in its own window; another one goes on. And all of it arrives in the end."""
    size, taken = 40 << 20, threading.Event()

    def handle(connection):
        if connection.recv(1) == b"s":
            taken.wait(60 * fairlead.SLOW)
        connection.sendall(hashlib.sha256(read_all(connection)).hexdigest().encode())

    Server(forwarded, handle)
    slow = dial(forwarded)
    sender = threading.Thread(target=lambda: (slow.sendall(b"s" + bytes(size)), slow.shutdown(socket.SHUT_WR)))
    sender.start()
    with dial(forwarded) as fast:
        fast.sendall(b"f" + bytes(size))
        fast.shutdown(socket.SHUT_WR)
        assert read_all(fast).decode() == hashlib.sha256(bytes(size)).hexdigest()
    assert sender.is_alive(), "40 MB went nowhere, and were not held back"
    taken.set()
    sender.join()
    assert read_all(slow).decode() == hashlib.sha256(bytes(size)).hexdigest()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_reset_is_a_reset(forwarded):
    """In either direction: never an end that looks like a good one."""
    server = Server(forwarded, lambda connection: read_all(connection))
    sock = dial(forwarded)
    sock.sendall(b"some")
    counts(forwarded.job, {"open": 1, "bytes_up": 4})
    reset(sock)
    fairlead.until("the reset at the server", lambda: server.errors)
    assert isinstance(server.errors[0], ConnectionResetError)
    server.handle = lambda connection: (connection.recv(1), reset(connection))
    with dial(forwarded) as sock, pytest.raises(ConnectionResetError):
        sock.sendall(b"x")
        while sock.recv(1):
            pass
    counts(forwarded.job, {"open": 0})


def refused(world, port=PORT):
    """A connection that is accepted and then reset."""
    with contextlib.suppress(ConnectionResetError), dial(world, port) as sock:  # the reset may be there first
        return sock.recv(1) == b"?"
    return True


def test_target_that_refuses(forwarded):
    assert refused(forwarded)
    got = counts(forwarded.job, {"refused": 1, "open": 0})
    assert got["total"] == 1
    fairlead.until("the reason", lambda: "127.0.0.1:7001" in flow(forwarded.job)["text"])
    shown = forwarded.hq.cli("job", "show", "way").stdout
    assert "1 refused" in shown and "latest refusal: 127.0.0.1:7001" in shown, shown
    assert flow(forwarded.job)["state"] == "moving"
    Server(forwarded, answer_at_the_end)  # and is there later
    assert exchange(forwarded, b"now")


def test_policy(homes):
    """Off by default, at both ends; each end says what it does not allow."""
    def failed(listen, to, name):
        job = homes.hq.job("forward", name, [f"home-a:{listen}"], [f"home-b:{to}"])
        return job.wait(states=("failed",))["flows"][0]["text"]

    assert "forward.listen" in failed("127.0.0.1:7000", "127.0.0.1:7001", "one")
    allow(homes, homes.a, listen=["127.0.0.1:7000", "0.0.0.0:8000-8010"])
    assert "forward.listen" in failed("127.0.0.1:7002", "127.0.0.1:7001", "two")
    assert "home-b: forward.connect" in failed("127.0.0.1:7000", "127.0.0.1:7001", "three")
    allow(homes, homes.b, connect=["127.0.0.1:7001", "*:80"])
    assert "home-b: forward.connect" in failed("127.0.0.1:7000", "localhost:7001", "four")  # as it is written
    Server(homes, answer_at_the_end)
    homes.job = start(homes)
    assert exchange(homes, b"allowed")
    with inside(homes, "home-a"), pytest.raises(ConnectionRefusedError):  # those that failed listen nowhere
        socket.create_connection(("127.0.0.1", 7002), 5)
    for listen, to, words in (("nowhere:/path", "home-b:127.0.0.1:1", "expected AGENT:HOST:PORT"), ("home-a:127.0.0.1:0", "home-b:h:1", "expected AGENT:HOST:PORT"),
                              ("home-a:127.0.0.1:7000", "home-a:127.0.0.1:1", "same agent")):
        bad = homes.hq.cli("job", "create", "forward", "--name", "bad", "--listen", listen, "--to", to, check=False)
        assert bad.returncode and words in bad.stderr, bad.stderr


def test_life_of_the_job(forwarded):
    """Paused, resumed, agents started again, stopped; an address that is taken is told and tried again."""
    world, job = forwarded, forwarded.job
    Server(world, answer_at_the_end)
    idle = dial(world)
    counts(job, {"open": 1})
    job.do("pause")
    assert refusal_of(idle)
    fairlead.until("nobody to listen", lambda: not listens(world))
    job.do("resume")
    wait_moving(job)
    assert exchange(world, b"again")
    for agent in (world.a, world.b):
        agent.kill()
        agent.restart().ready()
        fairlead.until("the forward to work", lambda: listens(world) and works(world), 40)
    assert flow(job)["connections"]["total"] >= 2  # counted on
    job.do("stop")
    assert job.run()["state"] == "stopped"
    fairlead.until("nobody to listen", lambda: not listens(world))
    with inside(world, "home-a"):
        taken = socket.create_server(("127.0.0.1", PORT))
    job.do("start")
    fairlead.until("the reason", lambda: "cannot listen at 127.0.0.1:7000" in flow(job)["text"])
    taken.close()
    wait_moving(job)
    assert exchange(world, b"at last")


def refusal_of(sock):
    sock.settimeout(20 * fairlead.SLOW)
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b"?"
    return True


def listens(world, port=PORT):
    return f":{port} " in world.lab.run("home-a", ["ss", "-Hltn"])


def works(world, timeout=20):
    with contextlib.suppress(OSError):
        return exchange(world, b"?", timeout)
    return False


def test_proxy_killed(forwarded):
    """Connections end, and not as if they were complete; new ones work as soon as it is back."""
    Server(forwarded, answer_at_the_end)
    open_ones = [dial(forwarded) for _ in range(5)]
    counts(forwarded.job, {"open": 5})
    forwarded.dmz.kill()
    for sock in open_ones:
        assert refusal_of(sock)
    early = dial(forwarded)  # waits for a way
    early.sendall(b"early")
    early.shutdown(socket.SHUT_WR)
    time.sleep(0.5)
    forwarded.dmz.restart()
    early.settimeout(30 * fairlead.SLOW)
    assert read_all(early).decode() == hashlib.sha256(b"early").hexdigest()
    assert exchange(forwarded, os.urandom(100_000))


def test_silent_proxy(homes):
    """It neither answers nor hangs up: connections go over another one within seconds."""
    homes.lab.wan_host("dmz2", "203.0.113.81")
    other = homes.proxy("dmz2", address="203.0.113.81:1080", listen="0.0.0.0:1080", netns=homes.lab.ns("dmz2"))
    allow(homes, homes.a, listen=["127.0.0.1:*"])
    allow(homes, homes.b, connect=["127.0.0.1:*"])
    for agent in (homes.a, homes.b):
        agent.wait_log('registered at proxy proxy="dmz2"', 30)
    Server(homes, answer_at_the_end)
    homes.job = start(homes)
    assert exchange(homes, b"at first")
    carrying = homes.dmz if flow(homes.job)["path"].startswith("proxy dmz ") else other
    carrying.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        fairlead.until("the forward to work", lambda: works(homes, 5), 45)
        print(f"{time.monotonic() - began:.1f} s")
        fairlead.until("the reason", lambda: "silent" in vain_ways(homes).get(f"proxy {carrying.name} tcp", ""), 20)
        assert [way["newest"] for way in open_ways(homes)] == [True]
    finally:
        carrying.signal(signal.SIGCONT)


# --- real programs


class Keys:
    """A key of a client and one of a server, and a server's configuration, for OpenSSH."""

    def __init__(self, world):
        self.world, self.folder = world, world.folder / "ssh"
        self.folder.mkdir(mode=0o755)
        world.folder.chmod(0o755)
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        authorized = self.folder / "authorized"
        authorized.write_text((self.folder / "client.pub").read_text())
        authorized.chmod(0o644)
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{TARGET}\nHostKey {self.folder}/host\nAuthorizedKeysFile {authorized}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 300\nMaxSessions 300\nLogLevel ERROR\n")
        os.makedirs("/run/sshd", exist_ok=True)  # where sshd(8) puts its helper process
        self.server = fairlead.Program(world, "sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", self.folder / "sshd_config"], world.lab.ns("home-b")).start()
        fairlead.until("sshd", lambda: f":{TARGET} " in world.lab.run("home-b", ["ss", "-Hltn"]))

    def ssh(self):
        """The client's command line, up to the host."""
        return ["ssh", "-F", "none", "-i", str(self.folder / "client"), "-p", str(PORT), "-o", "StrictHostKeyChecking=no", "-o",
                f"UserKnownHostsFile={self.folder}/known", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]

    def run(self, *command, **kwargs):
        return subprocess.run(self.world.lab.argv("home-a", [*self.ssh(), "root@127.0.0.1", *command]), check=True,
                              timeout=120 * fairlead.SLOW, **kwargs)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def keys(forwarded):
    return Keys(forwarded)


def test_ssh(forwarded, keys):
    """100 MB through a pipe both ways at once, and a file that is whole because its end was passed on."""
    data = forwarded.folder / "data"
    trees.random_file(data, 100 << 20)
    wanted = digest(data)
    with open(data, "rb") as stdin, open(forwarded.folder / "back", "wb") as stdout:
        keys.run("cat", stdin=stdin, stdout=stdout)
    assert digest(forwarded.folder / "back") == wanted
    with open(data, "rb") as stdin:
        keys.run(f"cat > {forwarded.folder}/there", stdin=stdin)
    assert digest(forwarded.folder / "there") == wanted
    counts(forwarded.job, {"open": 0, "total": 2, "refused": 0})


def test_rsync(forwarded, keys):
    """5,000 files; and again, when nothing is left to do."""
    source, target = forwarded.path("source"), forwarded.path("target")
    source.mkdir()
    trees.small_files(source, 5000)
    for folder in [source, *source.iterdir()]:
        if folder.is_dir():  # rsync takes times of folders for equal that are within the same second
            os.utime(folder, (10**9, 10**9))
    for _ in range(2):
        forwarded.lab.run("home-a", ["rsync", "-a", "-e", " ".join(keys.ssh()), f"{source}/", f"root@127.0.0.1:{target}/"], timeout=120 * fairlead.SLOW)
    assert trees.differences(source, target) == []


def test_iperf3(forwarded):
    """Eight streams, either way, beside its connection for control: each gets its part."""
    server = fairlead.Program(forwarded, "iperf3", ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(TARGET)], forwarded.lab.ns("home-b")).start()
    fairlead.until("iperf3", lambda: f":{TARGET} " in forwarded.lab.run("home-b", ["ss", "-Hltn"]))
    for way in ([], ["-R"]):
        out = json.loads(forwarded.lab.run("home-a", ["iperf3", "-c", "127.0.0.1", "-p", str(PORT), "-P", "8", "-t", "2", "-J", *way],
                                           timeout=60 * fairlead.SLOW))
        shares = [stream["receiver"]["bytes"] for stream in out["end"]["streams"]]
        assert len(shares) == 8 and min(shares) > max(shares) / 10 > 0, shares
    server.stop()


WEB = "import http.server, sys\nclass H(http.server.BaseHTTPRequestHandler):\n" \
    "    protocol_version = 'HTTP/1.1'\n" \
    "    def do_GET(self):\n        self.send_response(200); self.send_header('Content-Length', '1000'); self.end_headers(); self.wfile.write(b'x' * 1000)\n" \
    "    def log_message(self, *_): pass\n" \
    f"http.server.ThreadingHTTPServer(('127.0.0.1', {TARGET}), H).serve_forever()\n"


def test_wrk(forwarded):
    """A web server under 50 connections: a thousand requests and more, none of them wrong."""
    server = fairlead.Program(forwarded, "web", ["/usr/bin/python3", "-c", WEB], forwarded.lab.ns("home-b")).start()
    fairlead.until("the web server", lambda: f":{TARGET} " in forwarded.lab.run("home-b", ["ss", "-Hltn"]))
    done = 0
    while done < 1000:
        out = forwarded.lab.run("home-a", ["wrk", "-t", "2", "-c", "50", "-d", "2s", "--timeout", "20s", f"http://127.0.0.1:{PORT}/"], timeout=60)
        assert "Socket errors" not in out and "Non-2xx" not in out, out
        done += int(re.search(r"(\d+) requests in", out).group(1))
    server.stop()
