"""Every key of every configuration file given wrongly, and an agent whose disk or folder fails it.

The keys are those that each program's --help lists, so a new key without a row in CASES fails here. What is elsewhere:
agent/test_start.py (usage, not JSON, unreadable, no token, state folder that is a file or open to others), agent/test_enrol.py
(wrong fingerprint), console/test_rest.py (port in use, damaged database, unwritable state, full disk, usage),
cli/test_cli.py (commands, flags, token file, wrong CA, console down, unknown agent), proxy/test_proxy.py (port in use,
missing files, PEM that is something else).
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import fairlead
import machine
import pytest

SECRET = "hidden-5f1c-value"
PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"  # enough to be asked about the other keys
NUMBER = [("wrong type", "many"), ("wrong type", 1.5), ("wrong type", True), ("wrong type", None), ("out of range", -1), ("out of range", 10**12)]
WORD = [("wrong type", 7), ("wrong type", ["info"]), ("out of range", "sometimes")]
STRING = [("wrong type", 7), ("wrong type", {}), ("wrong type", None)]
PATTERNS = [("wrong type", 5), ("wrong type", [5]), ("out of range", ["host"]), ("out of range", ["host:70000"]), ("out of range", "*:2-1"), ("out of range", ["a:1"] * 1000)]
GROUP = [("wrong type", "text"), ("wrong type", []), ("wrong type", 7)]
SECRETS = [("wrong type", [SECRET]), ("wrong type", {"x": SECRET}), ("out of range", SECRET + "!")]
ADDRESS = [*STRING, ("out of range", "127.0.0.1:99999"), ("out of range", "no port")]
ADDRESSES = [("wrong type", 5), ("wrong type", [5]), ("out of range", ["127.0.0.1:99999"]), ("out of range", "127.0.0.1")]
LOG = {"log": GROUP, "log.level": WORD, "log.format": WORD}

# Program, its file, a good content, and for each key what it must not be.
CASES = {
    "fairlead-proxy": ("proxy.json", {"listen": "127.0.0.1:0", "identity": PEM, "ca": PEM, "tls_certificate": PEM}, {
        "listen": [*ADDRESSES, ("out of range", []), ("out of range", ["127.0.0.1:1"] * 17)],
        "identity": SECRETS, "ca": [*STRING, ("out of range", "/no/such/file")], "tls_certificate": SECRETS,
        "agents": [("wrong type", 5), ("wrong type", [5]), ("out of range", ["ab" * 16, "ab" * 15]), ("out of range", "nas-berlin")],
        "raw": WORD, "udp": WORD, "sandbox": WORD, "workers": NUMBER, "metrics": ADDRESS, "handover": STRING, "handover_seconds": NUMBER,
        "limits": GROUP, "limits.endpoints": [*NUMBER, ("out of range", 0)], "limits.sessions": [*NUMBER, ("out of range", 0)],
        "limits.sessions_per_agent": [*NUMBER, ("out of range", 0)], "limits.handshakes": [*NUMBER, ("out of range", 0)],
        "limits.handshakes_per_address": [*NUMBER, ("out of range", 0)], "limits.handshakes_per_network": [*NUMBER, ("out of range", 0)],
        "limits.idle_seconds": NUMBER, "limits.stall_seconds": NUMBER,
        "drain": GROUP, "drain.on": [("wrong type", "yes"), ("wrong type", 1), ("wrong type", None)], "drain.within_seconds": NUMBER,
        "drain.hard_stop_seconds": NUMBER, "drain.away_seconds": [*NUMBER, ("out of range", 0)],
        "drain.alternates": [("wrong type", 5), ("wrong type", [5]), ("out of range", ["127.0.0.1:1"] * 9), ("out of range", "127.0.0.1")],
        "limits.legs_agent": [*NUMBER, ("out of range", 1)], "limits.volume_agent_day": [*NUMBER, ("out of range", 10**10 + 1)],
        "limits.rate_session": NUMBER, "limits.rate_agent": NUMBER, "limits.rate_proxy": [*NUMBER, ("out of range", 67108865)],
        "limits.schedule": [
            ("wrong type", 5), ("wrong type", [5]), ("out of range", "mon-fri 08:00-18:00"), ("out of range", "mon 8:00-9:00 rate_proxy=1"),
            ("out of range", ["daily 08:00-18:00 rate_proxy=1", "dayly 08:00-18:00 rate_proxy=1"]),
            ("out of range", ["daily 08:00-18:00 rate_proxy=1"] * 33),
        ], **LOG,
        "syncthing": GROUP, "syncthing.listen": [*ADDRESSES, ("out of range", ["127.0.0.1:1"] * 17)],
        "syncthing.allow": [("wrong type", 5), ("wrong type", [5]), ("out of range", ["any", "nobody"]), ("out of range", "S5FTFQ6")], "syncthing.token": [("wrong type", [SECRET]), ("wrong type", {"x": SECRET})],
        "syncthing.status": ADDRESS, "syncthing.announce": ADDRESS, "syncthing.certificate": SECRETS,
    }),
    "fairlead-agent": ("agent.json", {"management_server": {"host": "127.0.0.1:1", "cert_authority_fingerprint": "ab" * 32}}, {
        "management_server": GROUP,
        "management_server.host": [*STRING, ("out of range", "a:b:c:99999"), ("out of range", "h:99999"), ("out of range", "")],
        "management_server.cert_authority_fingerprint": [*STRING, ("out of range", "ab" * 31), ("out of range", "xy" * 32)],
        "management_server.bootstrap_token": SECRETS,
        "mc_proxy": ADDRESSES, "mc_address": ADDRESS,
        "device_name": [*STRING, ("out of range", ""), ("out of range", "n" * 64)],
        "tags": [("wrong type", 5), ("wrong type", [5]), ("out of range", [""]), ("out of range", ["t" * 32]), ("out of range", ["t"] * 1000)],
        "folders_storage_path": [*STRING, ("out of range", "here")],
        "listening_port": [*NUMBER, ("out of range", 65536)],
        "https_proxy": [*STRING, ("out of range", "ftp://10.0.0.1:3128"), ("out of range", "http://10.0.0.1:99999"), ("out of range", f"http://me:{SECRET}@")],
        "direct": WORD, "transport": WORD, "raw": WORD, "browse": WORD, **LOG,
        "forward": GROUP, "forward.listen": PATTERNS, "forward.connect": PATTERNS,
        "rate_limit_upload": [*NUMBER, ("out of range", 67108865)], "rate_limit_download": NUMBER,
        "rate_limit_schedule": [
            ("wrong type", 5), ("wrong type", [5]), ("out of range", "mon-fri 08:00-18:00"), ("out of range", "mon 08:00-18:00 rate_proxy=1"),
            ("out of range", ["daily 08:00-18:00 rate_limit_upload=1"] * 33),
        ],
        "prefer": [("wrong type", 5), ("wrong type", [5]), ("out of range", ["p"] * 21)],
        "lan_discovery": [("wrong type", "yes"), ("wrong type", 1), ("wrong type", None)],
        "known_hosts": [*ADDRESSES, ("out of range", ["127.0.0.1:1"] * 9)],
    }),
    "fairlead-console": ("console.json", {}, {
        "ui": ADDRESS, "agents": ADDRESS,
        "public_address": [*STRING, ("out of range", "http://x"), ("out of range", "h:99999")],
        "require_approval": [("wrong type", "yes"), ("wrong type", 1), ("wrong type", None)], "transport": WORD, "raw": WORD,
        "missing_after": [*NUMBER, ("out of range", 0)], "notify_retry": [*NUMBER, ("out of range", 0)], "notify_ca": STRING, "revocations": STRING,
        "events_kept": [*NUMBER, ("out of range", 999)],
        "https_proxy": [*STRING, ("out of range", "ftp://10.0.0.1:3128"), ("out of range", f"http://me:{SECRET}@")], **LOG,
    }),
}


def run(argv, **kwargs):
    return subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False, timeout=20 * fairlead.SLOW,
                          stdin=subprocess.DEVNULL, **kwargs)


def keys(name):
    """The keys that --help of a program lists, those of groups as GROUP.KEY."""
    found, group = [], ""
    text = run([fairlead.program(name), "--help"]).stdout
    for indent, key, kind in re.findall(r"^(  |    )([a-z_]+) +(list|string|word|number|object|true\|false|KiB/s)$",
                                        re.split(r"(?im)^keys of .*$", text)[1], re.M):
        found.append(f"{group}.{key}" if len(indent) == 4 else key)
        group = key if len(indent) == 2 and kind == "object" else group
    return found


def put(content, key, value):
    """@content with @key (of a group: GROUP.KEY) set."""
    group, _, name = key.rpartition(".")
    if not group:
        return {**content, key: value}
    return {**content, group: {**content.get(group, {}), name: value}}


def misspelt(key):
    """Two letters change places."""
    group, _, name = key.rpartition(".")
    at = next((n for n in range(1, len(name) - 1) if name[n] != name[n + 1]), 0)
    wrong = name[:at] + name[at + 1] + name[at] + name[at + 2:]
    return f"{group}.{wrong}" if group else wrong


def check(program, folder, file, content):
    """What the program says about the file: status and stderr."""
    path = folder / file
    path.write_text(json.dumps(content, indent=1))
    options = ["--state", folder / "state"] if program != "fairlead-proxy" else []
    options += ["--check"] if program != "fairlead-console" else []
    return run([fairlead.program(program), "--config", path, *options])


def line_of(path, key):
    """Where the key stands in the file; of GROUP.KEY, behind its group."""
    lines, at = path.read_text().splitlines(), 0
    for name in key.split("."):
        at = next(n for n in range(at, len(lines)) if f'"{name}":' in lines[n])
    return at + 1


def complaint(done, program, path, key, expected):
    """Is this one line that names program, file, line and key? None, or what is wrong with it."""
    name = key.rpartition(".")[2]
    where = f"{program}: {path}:{line_of(path, key)}: "
    told = done.stderr
    if done.returncode != 2:
        return f"status {done.returncode}: {told!r}"
    if told.count("\n") != 1 or not told.startswith(where) or f'"{key}"' not in told or not re.search(expected, told):
        return f"not one line {where!r} with {name!r} and {expected!r}: {told!r}"
    if SECRET in told:
        return f"a secret is shown: {told!r}"
    return None


@pytest.mark.asan
@pytest.mark.parametrize("program", CASES)
def test_every_key_has_cases(program):
    assert sorted(keys(program)) == sorted(CASES[program][2])


@pytest.mark.asan
@pytest.mark.parametrize("program, key", [(program, key) for program, case in CASES.items() for key in case[2]])
def test_wrong_values(tmp_path, program, key):
    file, good, cases = CASES[program]
    bad = []
    for what, value in cases[key]:
        done = check(program, tmp_path, file, put(good, key, value))
        wrong = complaint(done, program, tmp_path / file, key, "expected|at least|at most|cannot read the file")
        bad += [f"{what}, {value!r:.60}: {wrong}"] if wrong else []
    assert not bad, "\n".join(bad)
    assert not (tmp_path / "state").exists()


@pytest.mark.asan
@pytest.mark.parametrize("program, key", [(program, key) for program, case in CASES.items() for key in case[2]])
def test_misspelt(tmp_path, program, key):
    file, good, _ = CASES[program]
    done = check(program, tmp_path, file, put(good, misspelt(key), SECRET))
    wrong = complaint(done, program, tmp_path / file, misspelt(key), rf'did you mean "{key.rpartition(".")[2]}"\?')
    assert not wrong, wrong


@pytest.fixture
def open_path():
    """A folder that other users may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become somebody else")
@pytest.mark.parametrize("program", CASES)
def test_unreadable(open_path, program):
    file, good, _ = CASES[program]
    path = open_path / file
    path.write_text(json.dumps(good))
    path.chmod(0o600)
    copy = open_path / "program"
    shutil.copy(fairlead.program(program), copy)
    options = ["--state", open_path / "state"] if program != "fairlead-proxy" else []
    done = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, "--config", path, *options])
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert str(path) in done.stderr and "Permission denied" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become somebody else")
def test_agent_without_permission(open_path):
    path = open_path / "agent.json"
    path.write_text(json.dumps(CASES["fairlead-agent"][1]))
    copy = open_path / "program"
    shutil.copy(fairlead.program("fairlead-agent"), copy)
    done = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, "--config", path, "--state", open_path / "state"])
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr and str(open_path / "state") in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small file system")
def test_agent_with_a_full_state_folder(world):
    """It ends with one line that names the folder; with room again the same token still enrols it."""
    console = world.console()
    with machine.small_disk(world.path("small")) as disk:
        machine.fill(disk)
        agent = fairlead.Agent(world, "alpha", world.agent_config("alpha"), state=disk / "state").start()
        assert agent.wait() == 1
        assert "No space left" in agent.log() and str(disk) in agent.log()
        (disk / "filler").unlink()
        agent.restart().ready()
        console.wait_agent("alpha")
        agent.stop()


def test_unreachable_console(world):
    """The agent tries on, and says at each try in one line where to and why not."""
    config = {"management_server": {"host": f"127.0.0.1:{fairlead.free_port()}", "cert_authority_fingerprint": "ab" * 32,
                                    "bootstrap_token": "x"}}
    console = world.console()
    made = world.agent_config("alpha")
    config["management_server"]["bootstrap_token"] = made["management_server"]["bootstrap_token"]
    config["management_server"]["cert_authority_fingerprint"] = made["management_server"]["cert_authority_fingerprint"]
    console.stop()
    agent = fairlead.Agent(world, "alpha", config).start()
    agent.wait_log(re.escape(config["management_server"]["host"]))
    time.sleep(3)
    assert agent.running()
    told = [line for line in agent.log().splitlines() if config["management_server"]["host"] in line and "refused" in line.lower()]
    assert len(told) >= 2 and told == [line for line in agent.log().splitlines() if " warn " in line], agent.log()
    assert all("no way to the console, trying again" in line for line in told)
    assert pathlib.Path(agent.state).is_dir() and agent.stop() == 0
