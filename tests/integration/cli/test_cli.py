"""The command line against a real console, proxy and agents: exit statuses, what goes to which stream, and clear errors."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import fairlead
import pytest


def bare(*arguments, **env):
    """fairlead without any settings but @env."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FAIRLEAD_") or k == "FAIRLEAD_BUILD"}
    return subprocess.run([fairlead.program("fairlead"), *map(str, arguments)], capture_output=True, text=True, check=False,
                          timeout=60, stdin=subprocess.DEVNULL, env={**clean, **env})


def one_line(done, status, *words):
    assert done.returncode == status, (done.returncode, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fairlead: ")
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.asan
@pytest.mark.parametrize("line, words", [
    ("jbo list", ['"jbo"', 'did you mean "job"']),
    ("job strat x", ['did you mean "job start"']),
    ("job show", ['"ID"']),
    ("job list --jsn", ['did you mean "--json"']),
    ("job create sync", ["not in this version"]),
    ("job create distribution --name x --from a:/x", ["--to"]),
    ("status", ["no token", "FAIRLEAD_TOKEN"]),
    ("status --token-file /nowhere", ["/nowhere", "No such file"]),
    ("proxy add", ['"NAME"']),
])
def test_wrong_usage(line, words):
    one_line(bare(*line.split()), 2, *words)


@pytest.mark.asan
@pytest.mark.parametrize("line, words", [
    ("help", ["job create distribution", "FAIRLEAD_CONSOLE", "Exit status"]),
    ("--help", ["proxy add NAME"]),
    ("help job", ["job wait ID", "job create consolidation"]),
    ("job wait --help", ["--timeout", "Example"]),
    ("--version", ["fairlead "]),
])
def test_help(line, words):
    done = bare(*line.split())
    assert done.returncode == 0 and not done.stderr
    for word in words:
        assert word in done.stdout


def test_help_fits_a_terminal():
    """That of all programs and all commands, in 80 columns."""
    listed = bare("--help").stdout
    words = set(re.findall(r"^  ([a-z]+(?: [a-z]+)*)", listed.split("\nSettings")[0], re.M))
    assert {"job create distribution", "mail set", "status"} <= words and len(words) > 40
    texts = [bare("help", *line.split()).stdout for line in sorted(words)]
    for name in ("fairlead-proxy", "fairlead-agent", "fairlead-console"):
        texts.append(subprocess.run([fairlead.program(name), "--help"], capture_output=True, text=True, check=True).stdout)
    assert [line for line in "".join([listed, *texts]).splitlines() if len(line) > 79] == []


def test_settings(world):
    """Each setting by option and by variable; what is wrong with one is told."""
    console = world.console()
    url = f"https://{console.ui}"
    token_file = str(console.state / "admin.token")
    good = {"FAIRLEAD_CONSOLE": url, "FAIRLEAD_CA": console.ca}
    for token in (console.token, token_file):
        assert bare("status", FAIRLEAD_TOKEN=token, **good).returncode == 0
    assert bare("--console", url, "--ca", console.ca, "--token-file", token_file, "status").returncode == 0
    assert bare("status", "--console", console.ui, "--ca", console.ca, "--token-file", token_file).returncode == 0
    one_line(bare("status", FAIRLEAD_TOKEN="wrong", **good), 1, "token", url)
    one_line(bare("status", FAIRLEAD_TOKEN="two words", **good), 2, "token")
    one_line(bare("status", FAIRLEAD_TOKEN=token_file, FAIRLEAD_CONSOLE=url), 1, "certificate", "--ca")
    one_line(bare("status", "--ca", "/etc/hostname", FAIRLEAD_TOKEN=token_file, FAIRLEAD_CONSOLE=url), 1, "--ca")
    one_line(bare("status", "--ca", "/nowhere", FAIRLEAD_TOKEN=token_file, FAIRLEAD_CONSOLE=url), 2, "/nowhere")
    one_line(bare("status", "--console", "http://x", FAIRLEAD_TOKEN=token_file), 2, "https://")
    closed = f"https://127.0.0.1:{fairlead.free_port()}"
    one_line(bare("status", "--console", closed, FAIRLEAD_TOKEN=token_file), 1, closed, "FAIRLEAD_CONSOLE")


def failure(done, status):
    """What a script gets that asked for JSON: one document on stdout that says why, the same line as ever on stderr."""
    told = json.loads(done.stdout)
    assert set(told) == {"error"} and told["error"]["exit"] == status == done.returncode, done.stdout
    assert done.stderr.strip().splitlines()[-1] == f"fairlead: {told['error']['text']}"
    return told["error"]["text"]


def test_json_also_of_what_went_wrong(world):
    """With --json stdout holds JSON whatever happens, and nothing but JSON."""
    console = world.console()
    assert '"nosuch"' in failure(console.cli("--json", "job", "show", "nosuch", check=False), 1)
    assert '"nosuch"' in failure(console.cli("job", "wait", "nosuch", "--json", check=False), 1)
    assert "oen" in failure(console.cli("--json", "job", "create", "distribution", "--name", "x", "--from", "oen:/x", "--to", "two:/y",
                                        check=False), 1)
    assert '"ID"' in failure(bare("--json", "job", "show"), 2)
    assert "no token" in failure(bare("status", "--json"), 2)
    closed = f"https://127.0.0.1:{fairlead.free_port()}"
    console.cli("user", "add", "vera", "--role", "viewer")
    assert json.loads(console.cli("--json", "user", "remove", "vera").stdout) == {"name": "vera"}
    console.cli("hook", "add", "h", "--url", "http://127.0.0.1:9/", "--event", "run.failed")
    assert json.loads(console.cli("--json", "hook", "remove", "h").stdout)["name"] == "h"
    assert closed in failure(bare("--json", "status", "--console", closed, FAIRLEAD_TOKEN="x"), 1)


def test_more_was_not_done_than_is_listed(world):
    """Of very many files that cannot be moved the first are listed, and how many more there are."""
    console = world.console()
    world.agent("one", port=fairlead.free_port())
    world.agent("two")
    source = world.path("source")
    source.mkdir()
    for i in range(10020):
        os.mkfifo(source / f"{i}")
    console.cli("job", "create", "distribution", "--name", "pipes", "--from", f"one:{source}", "--to", f"two:{world.path('target')}")
    done = console.cli("job", "wait", "pipes", "--timeout", "60", check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len([line for line in lines if "(special)" in line]) == 10000
    assert "and 20 more" in lines[-1]


def test_follow_ends_with_its_reader(world):
    """`fairlead event list --follow | head -1` ends, though nothing happens that could not be told."""
    console = world.console()
    settings = {"FAIRLEAD_CONSOLE": f"https://{console.ui}", "FAIRLEAD_CA": console.ca, "FAIRLEAD_TOKEN": console.token}
    console.cli("proxy", "add", "gate", "--address", f"127.0.0.1:{fairlead.free_port()}")
    with subprocess.Popen([fairlead.program("fairlead"), "event", "list", "--follow"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **settings}) as follower:
        assert "gate" in follower.stdout.readline()
        fairlead.until("quiet", lambda: console.cli("event", "list", "--kind", "proxy.unreachable").stdout)
        time.sleep(2)
        follower.stdout.close()
        assert follower.wait(20 * fairlead.SLOW) in (0, -signal.SIGPIPE)


def test_files_come_alone_on_stdout(world):
    console = world.console()
    added = console.cli("proxy", "add", "gate", "--address", f"127.0.0.1:{fairlead.free_port()}")
    assert "PRIVATE KEY" in json.loads(added.stdout)["identity"]
    assert not added.stderr
    made = json.loads(console.cli("--json", "proxy", "add", "other", "--address", "a.example:1,b.example:2").stdout)
    assert made["id"] and made["config"]["identity"] and len(made["addresses"]) == 2
    agent = json.loads(console.cli("agent", "config", "--via", "gate", "--tag", "x", "--name", "desk").stdout)
    assert agent["device_name"] == "desk" and agent["tags"] == ["x"] and len(agent["mc_proxy"]) == 1
    assert json.loads(console.cli("--json", "agent", "config").stdout)["id"]
    one_line(console.cli("agent", "config", "--via", "gat", check=False), 1, '"gat"')
    one_line(console.cli("proxy", "add", "bad", "--address", "nohost", check=False), 2, "nohost", "HOST:PORT")
    assert "gate" in console.cli("proxy", "list").stdout
    console.cli("proxy", "remove", "other")
    assert "proxy other was removed" in console.cli("event", "list").stdout


def test_job(world):
    """A job from its creation to its end, and one that cannot end well."""
    console = world.console()
    world.proxy("gate")
    world.agent("one", via=["gate"])
    world.agent("two", via=["gate"])
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    (source / "file").write_bytes(os.urandom(300000))
    job = json.loads(console.cli("--json", "job", "create", "distribution", "--name", "web", "--hold", "--from",
                                 f"one:{source}", "--to", f"two:{target}").stdout)
    one_line(console.cli("job", "wait", "web", check=False), 1, "job start")
    console.cli("job", "start", job["id"])
    done = console.cli("job", "wait", job["id"][:8], "--timeout", "60")
    assert "run 1 done: 1 of 1 files" in done.stdout
    assert (target / "file").read_bytes() == (source / "file").read_bytes()
    run = json.loads(console.cli("--json", "job", "wait", "web").stdout)
    assert run["state"] == "done"
    assert "done" in console.cli("job", "list").stdout
    assert str(source) in console.cli("job", "show", "web").stdout
    console.cli("job", "create", "distribution", "--name", "lost", "--from", f"one:{world.path('missing')}", "--to",
                f"two:{target}")
    lost = console.cli("job", "wait", "lost", "--timeout", "60", check=False)
    assert lost.returncode == 1
    assert "one → two" in lost.stdout and "failed" in lost.stdout
    one_line(console.cli("job", "create", "distribution", "--name", "x", "--from", "oen:/x", "--to", "two:/y", check=False),
             1, '"oen"', '"one"')
    console.cli("job", "remove", "lost")
    one_line(console.cli("job", "show", "lost", check=False), 1, '"lost"')


def test_wait_ends_in_time(world):
    """An agent that is gone: status 3 after the time-out, not much later."""
    console = world.console()
    world.proxy("gate")
    world.agent("one", via=["gate"])
    two = world.agent("two", via=["gate"])
    two.stop()
    world.path("source").mkdir()
    console.cli("job", "create", "distribution", "--name", "web", "--from", f"one:{world.path('source')}", "--to", "two:/tmp/x")
    before = time.monotonic()
    done = console.cli("job", "wait", "web", "--timeout", "2", check=False)
    assert done.returncode == 3 and "not finished in time" in done.stderr
    assert 1.5 < time.monotonic() - before < 10


def test_wait_lives_through_a_restart(world):
    console = world.console()
    world.proxy("gate")
    world.agent("one", via=["gate"])
    two = world.agent("two", via=["gate"])
    source = world.path("source")
    source.mkdir()
    (source / "file").write_text("x")
    two.stop()
    console.cli("job", "create", "distribution", "--name", "web", "--from", f"one:{source}", "--to", f"two:{world.path('t')}")
    found = {}
    waiter = threading.Thread(target=lambda: found.update(done=console.cli("job", "wait", "web", "--timeout", "90", check=False)))
    waiter.start()
    time.sleep(1)
    console.stop()
    time.sleep(1.5)
    console.start().ready()
    two.start()
    waiter.join(120)
    assert found["done"].returncode == 0, found["done"].stderr
    assert found["done"].stderr.count("asking again") == 1
