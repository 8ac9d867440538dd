"""The console with real agents and a proxy: enrolment, approval, revocation, orders, and its own death in the middle of a run."""

import json
import os
import shutil
import time

import pytest

import fairlead

pytestmark = pytest.mark.asan


def big(world, name="src", size=300):
    """A folder with a file of @size MB that takes some seconds to cross."""
    folder = world.path(name)
    folder.mkdir()
    block = os.urandom(1 << 20)
    with open(folder / "big", "wb") as file:
        for n in range(size):
            file.write(n.to_bytes(4, "big") + block[4:])
    return folder


def small(world, name="small"):
    folder = world.path(name)
    folder.mkdir()
    (folder / "f").write_text(name)
    return folder


def kinds(console):
    return [event["kind"] for event in console.items("/events?limit=1000")]


def refuse(console, method, path, body=None):
    with pytest.raises(fairlead.Rest) as caught:
        console.rest(method, path, body)
    return caught.value.status, caught.value.answer


@pytest.fixture
def direct(world):
    """A console and two agents on it, without a proxy. What b takes is limited, so that there is time for orders in between."""
    world.console()
    world.a = world.agent("a", port=fairlead.free_port())
    world.b = world.agent("b", port=fairlead.free_port(), rate_limit_download=64 << 10)
    return world


def test_enrolment_through_a_proxy(world):
    console = world.console(extra=("--agents", ":0"))
    assert refuse(console, "POST", "/agent-configs", {})[0] == 409
    world.proxy("dmz")
    agent = world.agent("a", via=["dmz"], tags=["home"])
    assert "host" not in world.agent_config("x", via=["dmz"])["management_server"]
    shown = console.agent("a")
    assert shown["path"] == "proxy dmz tcp" and shown["tags"] == ["home"]
    assert shown["software"].startswith("fairlead-agent") and shown["expires"] and shown["system"]
    assert {"proxy.added", "proxy.connected", "agent.enrolled", "agent.online"} <= set(kinds(console))
    def both():  # the first report may be from before the agent came
        report = console.items("/proxies")[0].get("report")
        return report and report["endpoints"] >= 2 and report
    assert "reasons" in fairlead.until("a report of both endpoints", both, 30)
    agent.stop()
    console.wait_agent("a", "offline")
    agent.restart().ready()
    console.wait_agent("a")
    assert kinds(console).count("agent.enrolled") == 1


def test_names_are_unique(world):
    console = world.console()
    first = fairlead.Agent(world, "one", world.agent_config("same")).start().ready()
    second = fairlead.Agent(world, "two", world.agent_config("same")).start().ready()
    assert {agent["name"] for agent in console.items("/agents")} == {"same", "same-2"}
    assert first.running() and second.running()
    status, answer = refuse(console, "GET", "/agents/sane")
    assert status == 404 and 'did you mean "same"' in answer["detail"]
    agents = console.items("/agents")
    assert console.rest("GET", f"/agents/{agents[0]['id'][:10]}")["name"] == agents[0]["name"]


def test_approval(world):
    console = world.console()
    world.proxy("dmz")
    agent = world.agent("shy", via=["dmz"], approval=True, wait=False)
    agent.wait_log("administrator has to approve")
    assert console.wait_agent("shy", "pending")["expires"] is None
    assert console.rest("GET", "/status")["agents"] == {"total": 1, "online": 0, "pending": 1}
    console.kill()
    console.restart().ready()  # it is not forgotten
    assert console.agent("shy")["state"] == "pending"
    assert console.rest("POST", "/agents/shy/approve")["state"] == "offline"
    assert refuse(console, "POST", "/agents/shy/approve")[0] == 409
    agent.ready()
    console.wait_agent("shy")


def test_a_revoked_token_enrols_nobody(world):
    console = world.console()
    config = world.agent_config("late")
    token = console.items("/agent-configs")[0]["id"]
    console.rest("DELETE", f"/agent-configs/{token}")
    agent = fairlead.Agent(world, "late", config).start()
    time.sleep(2)
    assert console.items("/agents") == [] and "enrolled agent" not in agent.log()
    assert agent.stop() is not None


def test_a_revoked_agent_is_out_at_once(direct):
    console = direct.the_console
    job = console.job("distribution", "j", [f"a:{big(direct)}"], [f"b:{direct.path('dst')}"])
    job.wait_bytes(1 << 20)
    assert console.rest("POST", "/agents/a/revoke")["state"] == "revoked"
    run = job.wait(states=("failed", "partial"), timeout=5)
    assert run["flows"][0]["text"] == "agent a was revoked"
    assert refuse(console, "POST", "/agents/a/revoke")[0] == 409
    direct.a.wait_log("is revoked|denied|revoked")
    status, answer = refuse(console, "POST", "/jobs", {"kind": "distribution", "name": "k", "from": ["a:/x"], "to": ["b:/y"]})
    assert status == 400 and answer["field"] == "from" and "revoked" in answer["detail"]
    direct.a.stop()
    direct.a.restart()
    time.sleep(3)
    assert console.agent("a")["state"] == "revoked"
    # A job that names it fails at once, with the reason.
    run = fairlead.Job(console, job.do("start")).wait(states=("failed",), timeout=5)
    assert run["number"] == 2 and run["flows"][0]["text"] == "agent a was revoked"


def test_jobs_are_checked(direct):
    console = direct.the_console
    body = {"kind": "distribution", "name": "j", "from": ["a:/x"], "to": ["a:/y"]}
    status, answer = refuse(console, "POST", "/jobs", body)
    assert status == 400 and answer["field"] == "to" and "same agent" in answer["detail"]
    status, answer = refuse(console, "POST", "/jobs", {**body, "to": ["bb:/y"]})
    assert status == 400 and 'did you mean "b"' in answer["detail"]
    held = console.rest("POST", "/jobs", {**body, "to": ["b:/y"], "hold": True})
    assert held["state"] == "held" and held["run"] is None
    status, answer = refuse(console, "POST", "/jobs", {**body, "to": ["b:/y"]})
    assert status == 409 and answer["field"] == "name"
    for verb in ("pause", "resume", "stop"):
        assert refuse(console, "POST", f"/jobs/j/{verb}")[0] == 409
    assert console.rest("DELETE", "/jobs/j")["name"] == "j"
    assert console.items("/jobs") == []


def test_what_was_not_done_is_listed(direct):
    console = direct.the_console
    run = console.job("distribution", "j", ["a:/nonexistent/folder"], [f"b:{direct.path('dst')}"]).wait(states=("failed", "partial"))
    flow = run["flows"][0]
    errors = console.items(f"/runs/{run['id']}/errors")
    assert flow["text"] or errors
    assert console.items(f"/runs/{run['id'][:12]}/errors?after={errors[-1]['n'] if errors else 0}") == []
    for error in errors:
        assert error["source"] == "a" and error["target"] == "b" and error["code"] and error["text"]


def test_orders(direct):
    console = direct.the_console
    job = console.job("distribution", "j", [f"a:{big(direct)}"], [f"b:{direct.path('dst')}"])
    job.wait_bytes(1 << 20)
    assert job.do("pause")["state"] == "paused"
    assert refuse(console, "DELETE", "/jobs/j")[0] == 409
    assert refuse(console, "POST", "/jobs/j/start")[0] == 409
    fairlead.until("the flow to pause", lambda: job.run()["flows"][0]["state"] == "paused", 10)
    time.sleep(1)  # what was asked for already still comes: at most a window
    before = job.run()["bytes_done"]
    time.sleep(1)
    assert job.run()["bytes_done"] == before < 300 << 20
    console.kill()
    console.restart().ready()  # a paused run stays paused
    console.wait_agent("b")
    assert job.run()["state"] == "paused"
    job.do("resume")
    job.wait_bytes(before + 1)
    run = job.do("stop")["run"]
    assert run["state"] == "stopped" and run["ended"]
    fairlead.until("nothing left behind", lambda: not fairlead.parts(direct.path("dst")), 10)
    job.do("start")
    assert job.wait()["number"] == 2
    assert [run["number"] for run in console.items("/jobs/j/runs")] == [2, 1]
    assert (direct.path("dst") / "big").stat().st_size == 300 << 20


def test_consolidation(direct):
    console = direct.the_console
    direct.agent("c", port=0)
    job = console.job("consolidation", "all", [f"a:{small(direct, 'one')}", f"b:{small(direct, 'two')}"], [f"c:{direct.path('all')}"])
    run = job.wait()
    assert len(run["flows"]) == 2 and run["files_done"] == 2 and run["list_complete"]
    assert (direct.path("all") / "a" / "f").read_text() == "one"
    assert (direct.path("all") / "b" / "f").read_text() == "two"


def test_the_console_dies_in_the_middle(direct):
    console = direct.the_console
    job = console.job("distribution", "j", [f"a:{big(direct)}"], [f"b:{direct.path('dst')}"])
    job.wait_bytes(1 << 20)
    console.kill()
    target = direct.path("dst") / "big"
    fairlead.until("the agents to finish without it", target.exists, 60)
    console.restart().ready()
    run = job.wait()
    assert run["number"] == 1 and run["bytes_done"] == 300 << 20
    # And nobody keeps what is over: a further run starts from a clean table.
    job.do("start")
    assert job.wait()["files_same"] == 1


def test_work_waits_for_an_agent(direct):
    console = direct.the_console
    direct.a.stop()
    console.wait_agent("a", "offline")
    job = console.job("distribution", "j", [f"a:{small(direct)}"], [f"b:{direct.path('dst')}"])
    time.sleep(1)
    run = job.run()
    assert run["state"] in ("waiting", "running") and run["ended"] is None
    direct.a.restart()
    assert job.wait()["files_done"] == 1


def test_a_source_that_moved_is_found(world):
    """The target learns the source's new address while the flow waits."""
    console = world.console()
    world.agent("b", port=0)
    a = world.agent("a", port=fairlead.free_port())
    a.stop()
    console.wait_agent("a", "offline")
    job = console.job("distribution", "j", [f"a:{small(world)}"], [f"b:{world.path('dst')}"])
    config = json.loads(a.config_path.read_text())
    a.config_path.write_text(json.dumps({**config, "listening_port": fairlead.free_port()}))
    a.restart()
    assert job.wait()["flows"][0]["path"] == "direct tcp"


def test_two_agents_with_one_identity(world):
    """A copied state directory: the newest tunnel counts, and neither the console nor the work is lost."""
    console = world.console()
    world.agent("a", port=0)
    state = world.folder / "state-a"
    copy = world.folder / "state-copy"
    shutil.copytree(state, copy)
    clone = fairlead.Agent(world, "clone", world.agent_config("a"), state=copy).start()
    clone.wait_log("console connected")
    assert len(console.items("/agents")) == 1 and console.agent("a")["state"] == "online"
