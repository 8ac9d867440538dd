"""The packaged units under a real systemd: process 1 of a namespace with control groups, /run and /etc of its own."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import fairlead
import pytest
from party import Rig

pytestmark = pytest.mark.long

PACKAGING = pathlib.Path(fairlead.__file__).resolve().parents[2] / "packaging"
SERVICE = "fairlead-proxy.service"
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs "$MACHINE/disk"
mkdir "$MACHINE/disk/upper" "$MACHINE/disk/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$MACHINE/disk/upper,workdir=$MACHINE/disk/work" /etc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$MACHINE/bin" /usr/local/bin
mkdir -p /etc/fairlead
systemd-sysusers "$MACHINE/sysusers.conf"
cp "$MACHINE"/proxy.json "$MACHINE"/pki/* /etc/fairlead/
chown -R root:fairlead /etc/fairlead
chmod 640 /etc/fairlead/*
exec env -i container=fairlead PATH="$PATH" SYSTEMD_UNIT_PATH="$MACHINE/units" /lib/systemd/systemd --system --unit=lab.target --log-target=console
"""


def cgroup_root():
    """Where the unified hierarchy is mounted, or None."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(where)
    return None


class Machine:
    """systemd and what it runs. Files are made by the caller below .folder before start()."""

    def __init__(self, world):
        self.world, self.folder = world, world.folder / "machine"
        self.group = cgroup_root() / self.folder.parent.name
        for name in ("units", "bin", "disk", "pki"):
            (self.folder / name).mkdir(parents=True)
        for name in ("lab", "basic", "sysinit", "sockets", "network", "shutdown", "multi-user"):
            (self.folder / f"units/{name}.target").write_text(f"[Unit]\nDescription={name}\n")
        for name in (SERVICE, "fairlead-proxy.socket"):
            shutil.copy(PACKAGING / name, self.folder / "units")
        shutil.copy(PACKAGING / "sysusers.conf", self.folder)
        shutil.copy(fairlead.program("fairlead-proxy"), self.folder / "bin")
        for path in (world.folder, self.folder, self.folder / "bin"):  # a service's own user comes by here
            path.chmod(0o755)
        self.log = world.folder / "systemd.log"
        self.process = self.pid = None

    def start(self):
        self.group.mkdir()
        enter = f'echo $$ > {self.group}/cgroup.procs; exec unshare -C -m -u -i -p -f --mount-proc --kill-child sh -c "$BOOT"'
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["sh", "-c", enter], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, "BOOT": BOOT, "MACHINE": str(self.folder)})
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = fairlead.until("the machine's first process", lambda: children.read_text().split() or self.gone())[0]
        fairlead.until("systemd", lambda: self.run("systemctl", "is-active", "lab.target") == "active" or self.gone(), every=0.2)
        return self

    def gone(self):
        assert self.process.poll() is None, self.log.read_text()

    def run(self, *argv, check=False):
        done = subprocess.run(["nsenter", "-t", self.pid, "-m", "-u", "-i", "-p", "-C", *argv], capture_output=True, text=True, check=False,
                              timeout=60 * fairlead.SLOW)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}\n{self.log.read_text()[-3000:]}"
        return done.stdout.strip()

    def ctl(self, *argv):
        return self.run("systemctl", "--no-pager", *argv, check=True)

    def show(self, what):
        return self.ctl("show", "--value", "-p", what, SERVICE)

    def wait_state(self, state):
        fairlead.until(f"the service {state}", lambda: self.show("ActiveState") == state, every=0.2)

    def main(self):
        """/proc/PID/status of the service's main process, as a dictionary."""
        return dict(re.findall(r"^(\w+):\s*(.*)$", self.run("cat", f"/proc/{self.show('MainPID')}/status", check=True), re.M))

    def close(self):
        if self.process:
            self.process.kill()  # and with it, by --kill-child, the machine
            self.process.wait()
            fairlead.until("its control group to empty", lambda: "populated 0" in (self.group / "cgroup.events").read_text())
            for path in sorted(self.group.rglob("*/"), reverse=True):
                path.rmdir()
            self.group.rmdir()


def privileged_port():
    for port in range(700, 1020):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


@pytest.fixture
def machine(world):
    if os.geteuid() or cgroup_root() is None or not os.path.exists("/lib/systemd/systemd"):
        pytest.skip("needs root, systemd and a mounted cgroup2")
    made = Machine(world)
    yield made
    made.close()


@pytest.fixture
def rig(world, machine):
    made = Rig(world, handover="/run/fairlead-proxy/handover.sock", workers=2)
    made.port = privileged_port()
    made.config["listen"] = f"127.0.0.1:{made.port}"
    made.config.update(identity="identity.pem", ca="ca.pem", tls_certificate="tls.pem")
    for path in (world.folder / "pki").iterdir():
        shutil.copy(path, machine.folder / "pki")
    made.path = machine.folder / "proxy.json"
    made.write()
    drop_in = machine.folder / "units/fairlead-proxy.socket.d"
    drop_in.mkdir()
    (drop_in / "port.conf").write_text(f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{made.port}\n")
    drop_in = machine.folder / f"units/{SERVICE}.d"
    drop_in.mkdir()
    (drop_in / "log.conf").write_text(f"[Service]\nStandardError=append:{machine.log}\n")  # there is no journal
    machine.start()
    yield made
    made.close()


def test_life_of_the_service(rig, machine):
    """Started by the first connection, under a user of its own; reloaded, upgraded, killed, stopped."""
    machine.ctl("start", "fairlead-proxy.socket")
    assert machine.show("ActiveState") == "inactive"
    alice, bob = rig.register("alice"), rig.register("bob")  # the first of them starts it
    machine.wait_state("active")
    status = machine.main()
    assert 61184 <= int(status["Uid"].split()[0]) <= 65519, "not a dynamic user"
    assert status["CapEff"] == status["CapBnd"] == "0" * 16 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert "sandboxed" in machine.log.read_text()

    a, b = rig.raw_session(alice, bob)
    rig.party(f"twin {a} {b}")
    rig.party.say("load 6000")
    time.sleep(0.5)
    machine.ctl("kill", "--kill-whom=main", "-s", "HUP", SERVICE)  # certificates are read again
    fairlead.until("certificates read again", lambda: "certificates reloaded" in machine.log.read_text())
    first = machine.show("MainPID")
    machine.ctl("reload", SERVICE)  # the upgrade
    assert machine.show("MainPID") != first and machine.show("ActiveState") == "active"
    assert rig.party.answer("load").startswith("ok "), "the session was cut"
    alice = rig.register("alice")

    second = machine.show("MainPID")
    machine.run("kill", "-9", second, check=True)  # Restart=always; who comes meanwhile waits in systemd's socket
    alice, bob = rig.register("alice"), rig.register("bob")
    fairlead.until("another main process", lambda: machine.show("MainPID") not in ("0", first, second), every=0.2)
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 100000") == "ok"

    machine.ctl("restart", SERVICE)
    rig.register("alice")
    machine.ctl("stop", "fairlead-proxy.socket", SERVICE)
    assert machine.show("ActiveState") == "inactive"
    assert machine.run("ls", "/run/fairlead-proxy") == ""  # RuntimeDirectory= is gone
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", rig.port)) != 0
