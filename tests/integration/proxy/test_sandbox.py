"""What the kernel refuses a running proxy, and that it does its work under that."""

import pathlib
import re
import resource
import socket
import subprocess

import fairlead
import pytest
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]

UNSUPPORTED = "built with"  # a sanitizer; such a build says so instead


def prove(*arguments):
    return subprocess.run([fairlead.program("fairlead-proxy"), "--prove", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60 * fairlead.SLOW, check=False)


@pytest.fixture
def rig(world):
    made = Rig(world)
    yield made
    made.close()


def threads(pid):
    """/proc/PID/task/*/status of each thread, as dictionaries."""
    return [dict(re.findall(r"^(\w+):\s*(.*)$", path.read_text(), re.M)) for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status")]


def table(text):
    """Rows by act, and the sum below them."""
    head, *rows, last = text.splitlines()
    assert head.split() == ["act", "refused", "by", "result"], text  # and no line about what is missing
    return {row[:38].strip(): row[38:].split() for row in rows}, last


def test_prove():
    done = prove()
    if UNSUPPORTED in done.stderr:
        assert done.returncode == 1 and done.stdout == ""
        return
    assert done.returncode == 0, done.stdout
    proxy, loader = done.stdout.split("\n\n")
    rows, last = table(proxy)
    assert last == f"{len(rows)} of {len(rows)} refused"
    for act in ("connect", "bind", "listen", "make a TCP socket", "open a file for writing", "unlink", "execve", "fork", "ptrace"):
        assert rows[act][-1] == "killed", act
    for act in ("connect", "bind", "open a file for writing", "open /etc/passwd for reading", "execve"):
        assert rows[act][:2] == ["seccomp,", "Landlock"], act
    assert rows["open /etc/passwd for reading"][-1] == "EPERM"
    # and the process that reads the file again: that, and nothing else
    title, text = loader.split("\n", 1)
    assert "SIGHUP" in title
    may = {"open /etc/passwd for reading", "list a folder"}
    for act, result in table(text)[0].items():
        assert result == ["nobody", "DONE"] if act in may else result[-1] in ("killed", "EPERM") and result[0] != "nobody", (act, result)
    assert table(text)[1] == f"{len(rows) - len(may)} of {len(rows) - len(may)} refused; {len(may)} let through, since it reads"


def test_prove_with_a_file(rig):
    rig.write()
    done = prove("--config", rig.path)
    if UNSUPPORTED in done.stderr:
        return
    assert done.returncode == 0, done.stdout
    rig.write({**rig.config, "sandbox": "off"})
    done = prove("--config", rig.path)
    assert done.returncode == 1 and '"sandbox" is "off"' in done.stderr and done.stdout == ""
    rig.write({**rig.config, "sandbox": "perhaps"})
    assert prove("--config", rig.path).returncode == 2


def test_session_under_the_sandbox(rig):
    rig.start()
    log = rig.proxy.wait_log(r'"sandboxed"|"the sandbox is off"').group(0)
    if "off" in log:
        assert UNSUPPORTED in rig.proxy.log()
        return
    seen = threads(rig.proxy.pid)
    assert len(seen) == 1 + rig.config["workers"]
    for status in seen:
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
        assert status["Seccomp_filters"] == "2", status  # no io_uring from the start on, and the seal
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status[name], 16) == 0, (name, status)
    alice, bob, cons = rig.register("alice"), rig.register("bob"), rig.register("cons")
    for _ in range(4):
        a, b = rig.session(alice, bob)
        assert rig.party(f"flow {a} {b} 3000000") == "ok"
        rig.party(f"eof {a}")
        assert rig.party(f"recv {b}") == "EOF"
        rig.party(f"eof {b}")
        assert rig.party(f"recv {a}") == "EOF"
    assert "memory=" in rig.party(f"recv {cons} 6000")
    assert rig.counters()["memory"] > 0
    assert rig.proxy.stop() == 0
    assert "unlisted system call" not in rig.proxy.log()


def test_out_of_descriptors_under_the_sandbox(rig):
    """The reserve descriptor is had again without opening anything, time after time."""
    rig.start()
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    own = len(list(pathlib.Path(f"/proc/{rig.proxy.pid}/fd").iterdir()))
    before = resource.prlimit(rig.proxy.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(rig.proxy.pid, resource.RLIMIT_NOFILE, (own + 5, before[1]))
    for _ in range(3):
        strangers = [socket.create_connection(("127.0.0.1", rig.port)) for _ in range(40)]
        assert rig.party(f"flow {a} {b} 1000000") == "ok"
        for one in strangers:
            one.close()
    resource.prlimit(rig.proxy.pid, resource.RLIMIT_NOFILE, before)
    c, d = rig.session(alice, bob)
    assert rig.party(f"flow {c} {d} 1000000") == "ok"
    assert rig.proxy.stop() == 0
    assert "unlisted system call" not in rig.proxy.log()


def test_off(rig):
    rig.config["sandbox"] = "off"
    rig.start()
    assert '"the sandbox is off"' in rig.proxy.log()
    assert {status["Seccomp"] for status in threads(rig.proxy.pid)} == {threads("self")[0]["Seccomp"]}
    assert rig.register("alice")
