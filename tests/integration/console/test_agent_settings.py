"""Settings of running agents, ordered at a real console: how fast they may send and receive, which proxies they use first. Applied, waiting while the agent
is away, refused; kept by both sides."""

import json
import ssl
import time
import urllib.error
import urllib.request

import fairlead
import pytest
import trees

MIB = 1 << 20


def pair(world, **keys):
    console = world.console()
    world.proxy("p")
    return console, world.agent("a", via=["p"], direct="never", **keys), world.agent("b", via=["p"], direct="never")


def settings(console, agent="a"):
    return console.rest("GET", f"/agents/{agent}/settings")


def start(world, console, size):
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "big", size)
    return console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('target')}"]), source


def rate(job, seconds):
    """Bytes a second over @seconds of a transfer that goes on."""
    look = lambda: (time.monotonic(), job.run()["bytes_moved"])
    before = look()
    time.sleep(seconds)
    after = look()
    return (after[1] - before[1]) / (after[0] - before[0])


@pytest.mark.parametrize("agent, key", [("a", "rate_limit_upload"), ("b", "rate_limit_download")])
def test_a_limit_bites_and_is_lifted(world, agent, key):
    """What runs is held back at once, at 3 MiB/s, and let go at once; nothing of it is lost."""
    console, *_ = pair(world)
    done = console.cli("agent", "set", agent, f"{key}=3072")
    assert done.stdout == f"agent {agent}: applied (settings version 1, it says so)\n"
    job, source = start(world, console, 120 * MIB)
    job.wait_bytes(2 * MIB)
    assert 3 * MIB * 0.8 < rate(job, 4) < 3 * MIB * 1.2
    console.cli("agent", "set", agent, f"{key}=")
    began = time.monotonic()
    job.wait()
    assert time.monotonic() - began < 25  # at 3 MiB/s it would be 35
    assert trees.differences(source, world.path("target")) == []
    assert settings(console, agent)["wanted"] == {}


def test_a_limit_comes_into_a_running_transfer(world):
    """From agent.json, then less of it by the console in mid-transfer, through its schedule."""
    console, *_ = pair(world, rate_limit_upload=8192)
    job, source = start(world, console, 60 * MIB)
    job.wait_bytes(4 * MIB)
    assert settings(console)["version"] == 0
    console.cli("agent", "set", "a", 'rate_limit_schedule=["daily 00:00-24:00 rate_limit_upload=1024"]')
    time.sleep(1)
    assert rate(job, 4) < 1.3 * MIB
    assert settings(console)["effective"]["rate_limit_upload"] == 8192
    console.cli("agent", "set", "a", "rate_limit_schedule=[]", "rate_limit_upload=0")
    job.wait()
    assert trees.differences(source, world.path("target")) == []


def test_an_agent_that_is_away(world):
    """It waits until the agent is back; then the agent has it, keeps it when it starts without a console, and says so again."""
    console, a, _ = pair(world)
    a.stop()
    console.wait_agent("a", "offline")
    late = console.cli("agent", "set", "a", "rate_limit_upload=100", check=False)
    assert late.returncode == 3 and "it gets the settings when it is" in late.stderr
    assert (settings(console)["state"], settings(console)["wanted"]) == ("waiting", {"rate_limit_upload": 100})
    assert "effective" not in settings(console)
    console.kill()
    console.restart().ready()
    assert settings(console)["state"] == "waiting"
    a.restart().ready()
    fairlead.until("it to be applied", lambda: settings(console)["state"] == "applied")
    assert settings(console)["effective"]["rate_limit_upload"] == 100
    a.kill()
    console.wait_agent("a", "offline")
    a.restart().ready()
    console.wait_agent("a")
    fairlead.until("the agent to tell", lambda: settings(console).get("effective", {}).get("rate_limit_upload") == 100)
    assert settings(console)["version"] == 1  # nothing was sent again
    assert "version 1, applied" in console.cli("agent", "show", "a").stdout


def test_a_console_that_has_forgotten(world):
    """A store that knows nothing of an agent's settings takes them back: what is shown is what holds."""
    console, a, _ = pair(world)
    backup = console.rest("GET", "/agents/a/settings")
    assert backup["state"] == "none"
    console.stop()
    saved = (console.state / "console.db").read_bytes()
    console.start().ready()
    console.wait_agent("a")
    console.cli("agent", "set", "a", "rate_limit_upload=100")
    console.stop()
    for part in console.state.glob("console.db*"):
        part.unlink()
    (console.state / "console.db").write_bytes(saved)
    console.start().ready()
    console.wait_agent("a")
    fairlead.until("the agent to have none", lambda: settings(console).get("effective", {}).get("rate_limit_upload") == 0)
    console.cli("agent", "set", "a", "rate_limit_upload=200")
    assert settings(console)["effective"]["rate_limit_upload"] == 200


def test_refused(world):
    """With the reason, and what held before still holds."""
    console, a, _ = pair(world)
    console.cli("agent", "set", "a", "rate_limit_upload=100")
    for words, said in [(["rate_limit_uplod=1"], "did you mean"), (["rate_limit_upload=-1"], "from 0 to 67108864"), (["device_name=x"], "while"),
                        (["rate_limit_schedule=mon 8-9"], "expected")]:
        done = console.cli("agent", "set", "a", *words, check=False)
        assert done.returncode == 1 and "was refused" in done.stderr and said in done.stderr, done.stderr
        assert settings(console)["wanted"] == {"rate_limit_upload": 100}
        assert settings(console)["state"] == "refused" and settings(console)["error"]
        fairlead.until("the agent to be sent nothing more", lambda: settings(console)["effective"]["rate_limit_upload"] == 100)
    with pytest.raises(fairlead.Rest) as caught:
        console.rest("PATCH", "/agents/a/settings", {"prefer": ["q"]})
    assert caught.value.status == 400 and caught.value.answer["field"] == "prefer"
    console.cli("agent", "set", "a", "rate_limit_upload=300")
    assert settings(console)["state"] == "applied" and a.running()
    console.cli("agent", "revoke", "a")
    assert console.cli("agent", "set", "a", "rate_limit_upload=1", check=False).returncode == 1


def test_all_with_a_tag(world):
    """One order for all who carry a tag; each keeps what it had besides, and each says how it went."""
    console = world.console()
    world.proxy("p")
    for name, tags in (("a", ["branch", "nas/1"]), ("b", ["branch"]), ("c", ["office"])):
        world.agent(name, via=["p"], tags=tags)
    console.cli("agent", "set", "a", "rate_limit_download=700")
    done = console.cli("tag", "set", "branch", "rate_limit_upload=512")
    assert done.returncode == 0 and len([line for line in done.stdout.splitlines() if " applied" in line]) == 2
    assert settings(console, "a")["effective"]["rate_limit_upload"] == settings(console, "b")["effective"]["rate_limit_upload"] == 512
    assert settings(console, "a")["wanted"] == {"rate_limit_download": 700, "rate_limit_upload": 512} and settings(console, "c")["wanted"] == {}
    refused = console.cli("tag", "set", "branch", "rate_limit_uplod=1", check=False)
    assert refused.returncode == 1 and refused.stdout.count("did you mean") == 2 and refused.stdout.count(" refused") == 2
    assert settings(console, "b")["wanted"] == {"rate_limit_upload": 512}
    assert console.cli("tag", "set", "nas/1", "rate_limit_upload=").returncode == 0  # any tag can be named
    assert settings(console, "a")["effective"]["rate_limit_upload"] == 0 and settings(console, "b")["effective"]["rate_limit_upload"] == 512
    for path, status in (("/agent-settings?tag=nobody", 404), ("/agent-settings", 400)):
        with pytest.raises(fairlead.Rest) as caught:
            console.rest("PATCH", path, {"rate_limit_upload": 1})
        assert caught.value.status == status and caught.value.answer["field"] == "tag"
    long = console.rest("PATCH", "/agent-settings?tag=branch", {"rate_limit_schedule": ["x" * 5000]})
    assert [("at most" in item["problem"], item["settings"]["state"]) for item in long["items"]] == [(True, "applied"), (True, "refused")]
    assert "settings of 0" not in str(console.items("/events")) and "settings of 2 agents" in " ".join(e["text"] for e in console.items("/events") if e["kind"] == "agents.ordered")
    assert [item["name"] for item in console.items("/agent-settings?tag=office")] == ["c"]


def test_a_tag_with_one_that_is_away(world):
    console, a, _ = pair(world, tags=["t"])
    a.stop()
    console.wait_agent("a", "offline")
    late = console.cli("tag", "set", "t", "rate_limit_upload=9", check=False)
    assert late.returncode == 3 and " waiting" in late.stdout
    a.restart().ready()
    fairlead.until("it to be applied", lambda: " applied" in console.cli("tag", "show", "t").stdout)


def test_tag_and_audit(world):
    """Two people at once: the second is told so; and what each did is found afterwards."""
    console, *_ = pair(world)
    url = f"https://{console.ui}/api/v1/agents/a/settings"
    context = ssl.create_default_context(cafile=console.ca)
    context.check_hostname = False
    headers = {"Authorization": f"Bearer {console.token}", "Content-Type": "application/json"}
    call = lambda method, body=None, **more: urllib.request.urlopen(
        urllib.request.Request(url, method=method, data=body and json.dumps(body).encode(), headers=headers | more), context=context)
    tag = call("GET").headers["ETag"]
    assert call("PUT", {"rate_limit_upload": 5}, **{"If-Match": tag}).status == 202
    with pytest.raises(urllib.error.HTTPError) as caught:
        call("PUT", {"rate_limit_upload": 6}, **{"If-Match": tag})
    assert caught.value.code == 412
    fairlead.until("it to be applied", lambda: settings(console)["state"] == "applied")
    (entry,) = [e for e in console.items("/audit") if e["subject"].endswith("/agents/a/settings")]
    assert (entry["before"]["wanted"], entry["after"]["wanted"]) == ({}, {"rate_limit_upload": 5})
    assert [e["text"] for e in console.items("/events") if e["kind"] == "agent.settings"] == ["settings of agent a, version 1: applied"]


def test_prefer(world):
    """The proxy that is preferred carries, however heavy the other is; and the order is kept when the agent starts anew."""
    console = world.console()
    for name in "pq":
        world.proxy(name)
    console.cli("proxy", "set", "p", "weight=1000")
    console.cli("proxy", "set", "q", "weight=1")
    for name in "ab":
        agent = world.agent(name, via=["p", "q"], direct="never")
        console.cli("agent", "set", name, "prefer=q")
        fairlead.until("both proxies", lambda: agent.log().count("registered at proxy") >= 2)
    source = world.path("source")
    source.mkdir()
    (source / "one").write_text("x")
    for number in range(4):
        run = console.job("distribution", f"j{number}", [f"a:{source}"], [f"b:{world.path(f't{number}')}"]).wait()
        assert "proxy q " in run["flows"][0]["path"]


def test_twenty_proxies(world):
    """As many as there may be, at the console and at an agent; one more is refused, and says why."""
    console = world.console()
    names = [f"p{number}" for number in range(20)]
    for name in names:
        world.proxy(name, wait=False)
    for name in names:
        console.wait_proxy(name)
    more = console.cli("proxy", "add", "more", "--address", "127.0.0.1:1", check=False)
    assert more.returncode == 1 and "20" in more.stderr, more.stderr
    agent = world.agent("a", via=names)
    fairlead.until("the agent at all of them", lambda: agent.log().count("registered at proxy") >= 20)
    assert all(proxy["state"] == "connected" for proxy in console.items("/proxies"))
