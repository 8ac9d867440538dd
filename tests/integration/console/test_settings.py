"""Settings of a running proxy, ordered at a real console by REST and the CLI: applied, refused, rolled back, pushed again, drained."""

import json
import os
import re
import socket
import subprocess
import threading
import time

import fairlead
import pytest

MIB = 1 << 20


class Gate:
    """A forwarder before a proxy. Shut, it lets nobody in any more; what is open stays."""

    def __init__(self, port):
        self.target, self.shut = port, False
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            if self.shut:
                client.close()
                continue
            try:
                other = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for pair in ((client, other), (other, client)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.server.close()


@pytest.fixture
def gate(world):
    """A console that reaches its proxy through a gate."""
    world.console()
    port = fairlead.free_port()
    made = Gate(port)
    made.proxy = world.proxy("p", address=made.address, listen=f"127.0.0.1:{port}")
    yield made
    made.close()


def settings(world, name="p"):
    return world.the_console.rest("GET", f"/proxies/{name}/settings")


def settled(world, name="p", state="applied", timeout=20):
    return fairlead.until(f"settings {state}", lambda: (s := settings(world, name))["state"] == state and s, timeout, 0.1)


def test_weight(world):
    """How often agents choose a proxy is the console's own to say; it outlives a restart, and agents hear of it."""
    console = world.console()
    world.proxy("p")
    agent = world.agent("a", via=["p"])
    assert console.rest("GET", "/proxies/p")["weight"] == 100
    assert "weight 300" in console.cli("proxy", "set", "p", "weight=300").stdout
    agent.wait_log(r"proxies from the console.*revision=2")
    assert console.rest("GET", "/proxies/p")["weight"] == 300
    for bad in (0, 1001, "heavy", None):
        with pytest.raises(fairlead.Rest) as caught:
            console.rest("PATCH", "/proxies/p", {"weight": bad})
        assert caught.value.status == 400
    assert console.cli("proxy", "set", "p", "weight=0", check=False).returncode == 1
    console.kill()
    console.restart().ready()
    assert console.rest("GET", "/proxies/p")["weight"] == 300


def test_who_may_use_a_proxy(world):
    """Agents are named at the console; the proxy turns the others away, who come by another one, and all of it can be read."""
    console = world.console()
    for name in ("p", "q"):
        world.proxy(name)
    for name in ("a", "b"):
        world.agent(name, via=["p", "q"])
    assert console.rest("GET", "/proxies/p")["agents"] == [] and console.rest("GET", "/proxies/p")["syncthing_allow"] == []
    with pytest.raises(fairlead.Rest) as caught:
        console.rest("PATCH", "/proxies/p/settings", {"agents": ["a", "bb"]})
    assert caught.value.status == 400 and caught.value.answer["field"] == "agents" and '"bb"' in caught.value.answer["detail"]
    assert "applied" in console.cli("proxy", "set", "p", "agents=a", "syncthing.allow=any", timeout=90).stdout
    shown = console.rest("GET", "/proxies/p")
    assert [a["name"] for a in shown["agents"]] == ["a"] and shown["agents"][0]["id"] == console.agent("a")["id"]
    assert shown["settings"]["wanted"]["agents"] == [console.agent("a")["id"]] and shown["syncthing_allow"] == ["any"]
    fairlead.until("b by the other proxy", lambda: (agent := console.agent("b"))["state"] == "online" and " q " in f" {agent['path']} ")
    fairlead.until("the refusal", lambda: console.rest("GET", "/proxies/p")["report"]["reasons"].get("not-listed"))
    text = console.cli("proxy", "show", "p").stdout
    assert re.search(r"^agents +a$", text, re.M) and re.search(r"^syncthing +any$", text, re.M) and re.search(r"^weight +100$", text, re.M)
    assert re.search(r"^agents +all$", console.cli("proxy", "show", "q").stdout, re.M)
    console.cli("proxy", "set", "p", "agents=")
    assert console.rest("GET", "/proxies/p")["agents"] == []


def test_what_a_proxy_uses(world):
    """Version and processor time, in all and now, by REST and the CLI."""
    console = world.console()
    world.proxy("p")
    report = fairlead.until("a load", lambda: (r := console.rest("GET", "/proxies/p").get("report")) and "cpu_percent" in r and r, 20)
    assert re.fullmatch(r"fairlead \d+\.\d+\.\d+", report["software"]) and report["cpu_us"] > 0 and 0 <= report["cpu_percent"] < 100 * os.cpu_count()
    assert console.items("/proxies/p/history")[-1]["cpu_us"] > 0
    text = console.cli("proxy", "show", "p").stdout
    assert re.search(r"^cpu +\d+\.\d s in all, \d+\.\d % of a core now$", text, re.M) and re.search(r"^version +fairlead \d", text, re.M)


def test_set_by_the_cli(world):
    console = world.console()
    proxy = world.proxy("p")
    pid = proxy.pid
    done = console.cli("proxy", "set", "p", "limits.endpoints=17", "raw=never")
    assert done.stdout == "proxy p: applied (settings version 1, confirmed)\n"
    shown = console.rest("GET", "/proxies/p")
    assert shown["settings"]["wanted"] == {"limits": {"endpoints": 17}, "raw": "never"}
    assert shown["settings"]["state"] == "applied" and shown["settings"]["error"] == ""
    assert shown["settings"]["effective"]["limits"]["endpoints"] == 17
    assert shown["settings"]["effective"]["limits"]["sessions"] == 20000
    text = console.cli("proxy", "show", "p").stdout
    assert "version 1, applied" in text and "limits.endpoints = 17" in text
    console.cli("proxy", "set", "p", "raw=", "limits.sessions=5")  # on top of what was wanted before
    assert settings(world)["wanted"] == {"limits": {"endpoints": 17, "sessions": 5}}
    assert settings(world)["effective"]["raw"] == "allowed"
    assert proxy.running() and proxy.pid == pid
    kinds = [event["kind"] for event in console.items("/events")]
    assert kinds.count("proxy.connected") == 1 and "proxy.lost" not in kinds  # though there were new legs


@pytest.mark.parametrize("words, status, text", [
    (["limits.endpoint=3"], 1, 'refused: "limits.endpoint": unknown key (did you mean "endpoints"?)'),
    (["limits.endpoints=many"], 1, "expected a whole number from 1 to 1000000"),
    (["listen=0.0.0.0:1"], 1, '"listen": cannot be changed while the program runs'),
    (["limits.endpoints"], 2, "expected KEY=VALUE"), (["=3"], 2, "expected KEY=VALUE"), (["a..b=3"], 2, "expected KEY=VALUE"), ([], 2, "KEY=VALUE"),
    (["raw=never", "--confirm-within", "3"], 2, "5 to 60"), (["raw=never", "--timeout", "soon"], 2, "expected seconds"),
])
def test_wrong_words(world, words, status, text):
    console = world.console()
    world.proxy("p")
    done = console.cli("proxy", "set", "p", *words, check=False)
    assert done.returncode == status and text in done.stderr, done
    assert settings(world)["wanted"] == {}


def test_refused_leaves_what_is_good(world):
    console = world.console()
    world.proxy("p")
    console.cli("proxy", "set", "p", "limits.endpoints=17")
    assert console.cli("proxy", "set", "p", "limits.endpointz=1", check=False).returncode == 1
    now = settings(world)
    assert now["state"] == "refused" and now["wanted"] == {"limits": {"endpoints": 17}} and now["tried"]["limits"]["endpointz"] == 1
    assert now["effective"]["limits"]["endpoints"] == 17
    console.cli("proxy", "set", "p", "limits.sessions=9")
    assert settings(world)["wanted"] == {"limits": {"endpoints": 17, "sessions": 9}}


def test_rest(world):
    console = world.console()
    world.proxy("p")
    console.rest("PUT", "/proxies/p/settings", {"limits": {"endpoints": 3}, "raw": None})
    assert settled(world)["wanted"] == {"limits": {"endpoints": 3}}
    console.rest("PUT", "/proxies/p/settings", {})
    assert settled(world)["wanted"] == {}
    for method, path, body, text in (
            ("PUT", "/proxies/q/settings", {}, "no proxy"), ("PUT", "/proxies/p/settings", {"x": "y" * 5000}, "at most 4096 bytes"),
            ("PUT", "/proxies/p/settings?confirm_within=61", {}, "from 5 to 60"), ("PATCH", "/proxies/p/settings", [], "must be a JSON object"),
            ("PUT", "/proxies/p/settings", None, "not valid JSON"), ("POST", "/proxies/p/resume", None, "is not draining"), ("POST", "/proxies/p/drain", {"within": -1}, "within"),
            ("POST", "/proxies/p/drain", {"withn": 1}, "did you mean"), ("DELETE", "/proxies/p/settings", None, "GET")):
        with pytest.raises(fairlead.Rest) as refused:
            console.rest(method, path, body)
        assert text in str(refused.value), refused.value
    deep = {}
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(fairlead.Rest, match="nested"):
        console.rest("PUT", "/proxies/p/settings", deep)


def test_a_limit_holds_under_a_running_transfer(world):
    """The first half at full speed; then a limit is set, and the same sessions go on slowly, without a restart or a new session."""
    console = world.console()
    proxy = world.proxy("p")
    source, target = world.path("from"), world.path("to")
    source.mkdir(), target.mkdir()
    for i in range(8):
        (source / f"f{i}").write_bytes(os.urandom(8 * MIB))
    world.agent("a", via=["p"], direct="never"), world.agent("b", via=["p"], direct="never")
    console.cli("proxy", "set", "p", f"limits.rate_proxy={4 * 1024}")  # 4 MiB/s, both directions together
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    job.wait_bytes(4 * MIB)
    sessions = console.rest("GET", "/proxies/p").get("report", {}).get("sessions_total")
    start, before = time.monotonic(), job.run()["bytes_done"]
    time.sleep(3)
    slow = (job.run()["bytes_done"] - before) / (time.monotonic() - start)
    assert slow < 8 * MIB, slow
    console.cli("proxy", "set", "p", "limits.rate_proxy=")  # and none again
    start = time.monotonic()
    assert job.wait(timeout=30)["files_done"] == 8
    assert time.monotonic() - start < 8  # at 4 MiB/s the rest would take 10 s and more
    assert proxy.running() and sessions is None or console.rest("GET", "/proxies/p")["report"]["sessions_total"] >= sessions


def test_not_confirmed_is_rolled_back(world, gate):
    console = world.the_console
    console.cli("proxy", "set", "p", "limits.endpoints=17")
    gate.shut = True
    done = console.cli("proxy", "set", "p", "limits.endpoints=18", "--confirm-within", "5", check=False)
    assert done.returncode == 1 and "rolled back: not confirmed over a new leg within 5 s" in done.stderr
    now = settings(world)
    assert now["state"] == "rolled back" and now["wanted"] == {"limits": {"endpoints": 17}}
    assert now["effective"]["limits"]["endpoints"] == 17
    gate.shut = False
    console.cli("proxy", "set", "p", "limits.endpoints=19")
    assert settings(world)["effective"]["limits"]["endpoints"] == 19
    assert any(e["kind"] == "proxy.settings" and "rolled back" in e["text"] for e in console.items("/events"))


def test_console_killed_between(world, gate):
    """Killed after CONFIG, before CONFIG_CONFIRM: when it is back in time its first leg confirms."""
    console = world.the_console
    gate.shut = True
    console.rest("PUT", "/proxies/p/settings?confirm_within=30", {"limits": {"endpoints": 18}})
    gate.proxy.wait_log("settings changed, to be confirmed")
    console.kill()
    gate.shut = False
    console.restart().ready()
    assert settled(world)["effective"]["limits"]["endpoints"] == 18
    gate.proxy.wait_log("settings confirmed")


def test_console_killed_for_too_long(world):
    console = world.console()
    proxy = world.proxy("p")
    proxy.signal(19)  # SIGSTOP: CONFIG waits in its socket
    console.rest("PUT", "/proxies/p/settings?confirm_within=5", {"limits": {"endpoints": 18}})
    time.sleep(0.3)
    console.kill()
    proxy.signal(18)
    proxy.wait_log("settings changed, to be confirmed")
    proxy.wait_log("settings rolled back", 15)
    console.restart().ready()
    now = settled(world, state="rolled back")
    assert now["wanted"] == {} and now["effective"]["limits"]["endpoints"] == 20000


def test_pushed_again_after_a_restart(world):
    console = world.console()
    proxy = world.proxy("p")
    console.cli("proxy", "set", "p", "limits.endpoints=17")
    proxy.kill()
    proxy.restart()
    proxy.wait_log("settings confirmed", 40)
    assert settled(world)["effective"]["limits"]["endpoints"] == 17
    console.kill()  # a console that is started again finds all well and leaves it
    console.restart().ready()
    console.wait_proxy("p")
    time.sleep(1)
    assert settled(world)["version"] == 2 and proxy.log().count("settings changed") == 1


def test_ordered_while_the_proxy_is_away(world):
    console = world.console()
    proxy = world.proxy("p")
    proxy.kill()
    done = console.cli("proxy", "set", "p", "limits.endpoints=17", "--timeout", "1", check=False)
    assert done.returncode == 3 and "it gets the settings when it is" in done.stderr
    proxy.restart()
    assert settled(world, timeout=40)["effective"]["limits"]["endpoints"] == 17


def test_drain_under_a_running_job(world):
    """Two proxies. The one that carries is drained: the job ends well, the agents go to the other, and nobody comes back before resume."""
    console = world.console()
    one, two = world.proxy("one"), world.proxy("two")
    source, target = world.path("from"), world.path("to")
    source.mkdir(), target.mkdir()
    for i in range(6):
        (source / f"f{i}").write_bytes(os.urandom(4 * MIB))
    console.cli("proxy", "set", "one", f"limits.rate_proxy={3 * 1024}")
    a, b = world.agent("a", via=["one"], direct="never"), world.agent("b", via=["one"], direct="never")
    for agent in (a, b):
        fairlead.until("two proxies", lambda log=agent: len({line for line in log.log().splitlines() if "registered at proxy" in line}) >= 2)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    job.wait_bytes(2 * MIB)
    done = console.cli("proxy", "drain", "one", "--within", "1", "--hard-stop", "4")
    assert done.stdout.startswith("proxy one: draining (")
    shown = console.rest("GET", "/proxies/one")
    assert shown["draining"] and shown["state"] == "connected"
    assert shown["settings"]["effective"]["drain"]["alternates"] == [two.address]
    assert "draining" in console.cli("proxy", "list").stdout
    run = job.wait(timeout=60)
    assert run["files_done"] == 6 and run["files_failed"] == 0
    def alone():
        report = console.rest("GET", "/proxies/one").get("report", {})
        return report.get("endpoints") == 1 and report.get("sessions") == 0
    fairlead.until("the console alone at the proxy", alone, 30, 0.2)
    assert console.rest("GET", "/proxies/two")["report"]["endpoints"] == 3
    console.wait_agent("a"), console.wait_agent("b")
    one.kill()  # drain outlives a restart: it is what is wanted
    one.restart()
    one.wait_log("settings confirmed", 40)
    assert console.rest("GET", "/proxies/one")["draining"]
    done = console.cli("proxy", "resume", "one")
    assert done.stdout.startswith("proxy one: not draining any more")
    assert settings(world, "one")["wanted"] == {"limits": {"rate_proxy": 3 * 1024}}
    assert not console.rest("GET", "/proxies/one")["draining"]
    assert json.loads(console.cli("--json", "proxy", "show", "one").stdout)["settings"]["state"] == "applied"


def test_the_form_has_every_key():
    """The page's form is made from the programs' own tables: a key that may change is in it, with the words of --help."""
    check = [fairlead.ROOT / "scripts/settings-keys", "--check", fairlead.BUILD]
    assert subprocess.run(check, capture_output=True, text=True, check=False).returncode == 0, "run scripts/settings-keys"
    table = json.loads((fairlead.ROOT / "web/src/settings.json").read_text())
    for program in ("proxy", "agent"):
        shown = subprocess.run([fairlead.program(f"fairlead-{program}"), "--help"], capture_output=True, text=True, check=True).stdout
        assert len(table[program]) == shown.count("(live)\n") > 3
    assert {"agents", "syncthing.allow", "raw", "limits.schedule", "limits.rate_agent"} <= {key["path"] for key in table["proxy"]}
