"""What systemd gives the proxy and hears of it. systemd itself is not running here: its tools and its protocols are used."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import fairlead
import pytest
from party import Rig

PACKAGING = pathlib.Path(fairlead.__file__).resolve().parents[2] / "packaging"
EXPOSURE = 18  # tenths; `systemd-analyze security` says "OK" up to 20, and a unit without any of this has 96


@pytest.fixture
def rig(world):
    made = Rig(world, handover=str(world.folder / "handover.sock"))
    made.write()
    yield made
    made.close()


@pytest.fixture
def unit(world):
    """The units, with the program that was built."""
    for name in ("fairlead-proxy.service", "fairlead-proxy.socket"):
        text = (PACKAGING / name).read_text().replace("/usr/local/bin/fairlead-proxy", str(fairlead.program("fairlead-proxy")))
        (world.folder / name).write_text(text)
    return world.folder / "fairlead-proxy.service"


def analyze(*arguments):
    run = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False,
                         env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    return run.returncode, run.stdout + run.stderr


def test_units_are_right(unit):
    for path in (unit, unit.with_suffix(".socket")):
        status, text = analyze("verify", "--man=no", path)
        ours = [line for line in text.splitlines() if "fairlead" in line]
        assert status == 0 and not ours, text


def test_unit_is_tight(unit):
    status, text = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert status == 0, text[-400:]
    loose = unit.with_name("loose.service")
    loose.write_text(re.sub(r"^(Protect|Restrict|SystemCall|Private|Capability|No).*\n", "", unit.read_text(), flags=re.M))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", loose)[0] != 0, "this test cannot fail"


def test_one_reason_per_line():
    """Each setting of the service has a comment right above it, or shares that of the setting before."""
    above = False
    for line in (PACKAGING / "fairlead-proxy.service").read_text().split("[Service]")[1].split("[Install]")[0].splitlines():
        if line.startswith("#"):
            above = True
        elif not line:
            above = False
        else:
            assert above, line


class Listener:
    """What $NOTIFY_SOCKET is."""

    def __init__(self, path):
        self.path, self.socket = path, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20 * fairlead.SLOW)

    def hears(self):
        return self.socket.recv(4096).decode()


def test_notify_and_reload(rig):
    """Ready at the start; a reload returns when the new process runs, and systemd learns its number from the old one."""
    systemd = Listener(rig.world.folder / "notify")
    os.environ["NOTIFY_SOCKET"] = str(systemd.path)
    try:
        rig.start()
        assert systemd.hears() == "READY=1"
        # as ExecReload does it
        program = fairlead.program("fairlead-proxy")
        with open(rig.world.folder / "reload.log", "wb") as log:
            run = subprocess.run([program, "--config", rig.path, "--take-over", "--background"], stderr=log, check=False, timeout=60)
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert run.returncode == 0
    heard = {systemd.hears(), systemd.hears()}
    pid = int(next(re.fullmatch(r"MAINPID=(\d+)", text) for text in heard if text.startswith("MAINPID")).group(1))
    assert "READY=1" in heard
    try:
        assert rig.proxy.process.wait(20 * fairlead.SLOW) == 0
        assert "fairlead-proxy" in pathlib.Path(f"/proc/{pid}/comm").read_text()
        rig.register("alice")
        # a reload that fails says so and changes nothing
        rig.write({**rig.config, "listen": ["127.0.0.1:0", "192.0.2.1:9"]})
        run = subprocess.run([program, "--config", rig.path, "--take-over", "--background"], stderr=subprocess.PIPE, check=False, timeout=60)
        assert run.returncode == 1 and b"192.0.2.1:9" in run.stderr
        rig.register("bob")
    finally:
        os.kill(pid, 15)
    assert systemd.hears() == "STOPPING=1"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def activated(rig, *ports):
    """The proxy, started by the first connection to one of @ports."""
    argv = [shutil.which("systemd-socket-activate"), *(f"--listen=127.0.0.1:{port}" for port in ports),
            fairlead.program("fairlead-proxy"), "--config", rig.path]
    rig.proxy = fairlead.Program(rig.world, "activated", argv).start()
    rig.proxy.wait_log("Listening on")
    return rig.proxy


def test_socket_activation(rig):
    """One socket of systemd's for all workers, no bind of our own; and the next process gets it too."""
    rig.port = free_port()
    rig.config["listen"] = f"127.0.0.1:{rig.port}"
    rig.write()
    activated(rig, rig.port)
    alice, bob = rig.register("alice"), rig.register("bob")
    rig.proxy.wait_log(rf'"listening".*"address":"127\.0\.0\.1:{rig.port}"')
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 300000") == "ok"
    sockets = subprocess.run(["ss", "-Hltn", f"sport = :{rig.port}"], capture_output=True, text=True, check=True).stdout
    assert len(sockets.splitlines()) == 1, sockets
    rig.party(f"close {a} reset")
    new = fairlead.Program(rig.world, "next", [fairlead.program("fairlead-proxy"), "--config", rig.path, "--take-over"]).start()
    new.wait_log('"listening"')
    rig.proxy.process.wait(20 * fairlead.SLOW)
    rig.register("carol")


ACTIVATE = """
import os, socket, sys
port = int(sys.argv[1])
kinds = socket.SOCK_STREAM, socket.SOCK_DGRAM
ours = [socket.socket(socket.AF_INET, kind) for kind in kinds]
for one in ours:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", port))
ours[0].listen()
high = [os.dup2(one.fileno(), 50 + i) for i, one in enumerate(ours)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
os.closerange(5, 60)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_activation_brings_udp(rig):
    """systemd's UDP socket is the one that answers QUIC, and there is no other."""
    rig.port = free_port()
    rig.config["listen"] = f"127.0.0.1:{rig.port}"
    rig.write()
    argv = [sys.executable, "-c", ACTIVATE, str(rig.port), fairlead.program("fairlead-proxy"), "--config", rig.path]
    rig.proxy = fairlead.Program(rig.world, "activated", argv).start()
    rig.proxy.wait_log('"listening"')
    rig.register("alice")
    assert "no UDP" not in rig.proxy.log()
    sockets = subprocess.run(["ss", "-Hlun", f"sport = :{rig.port}"], capture_output=True, text=True, check=True).stdout
    assert len(sockets.splitlines()) == 1, sockets
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(10 * fairlead.SLOW)
        stranger.sendto(bytes([0xC0, 0x1A, 0x2A, 0x3A, 0x4A, 8, *range(8), 0]).ljust(1200, b"\0"), ("127.0.0.1", rig.port))
        assert stranger.recv(2000)[1:5] == bytes(4), "Version Negotiation"


def test_activation_must_fit(rig):
    ports = free_port(), free_port()
    activated(rig, *ports)
    with socket.create_connection(("127.0.0.1", ports[0])):
        assert rig.proxy.process.wait(20 * fairlead.SLOW) == 1
    assert "as many addresses as there are TCP sockets" in rig.proxy.log()
