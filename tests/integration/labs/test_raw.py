"""Raw sessions with real programs: who may, who must, and what is said when that does not fit."""

import re

import fairlead
import pytest
import trees

POLICIES = ("never", "allowed", "required")


def sessions(proxy):
    """Pairs (raw, reason) of the sessions that a proxy has ended so far."""
    return re.findall(r'session ended .* raw="?(\w+)"? .* reason="?([\w-]+)"?', proxy.log())


def set_policy(console, proxy, policy):
    console.cli("proxy", "set", proxy, f"raw={policy}")


@pytest.fixture
def hub(world):
    """A console, reached directly, a proxy, and four agents over TCP: hub, and one of each policy."""
    world.hq = world.console()
    world.gate = world.proxy("gate")
    world.agent("hub", direct="never", transport="tcp")
    for policy in POLICIES:
        world.agent(policy, direct="never", transport="tcp", raw=policy)
    world.source = world.path("source")
    world.source.mkdir()
    trees.random_file(world.source / "file", 100_000)
    return world


def test_policies(hub):
    """The table of a proxy's policy and an agent's: what works is raw if it may be, and what does not fit says why."""
    for policy in POLICIES:
        set_policy(hub.hq, "gate", policy)
        before = len(sessions(hub.gate))
        jobs = {other: hub.hq.job("distribution", f"{policy}-{other}", [f"hub:{hub.source}"], [f"{other}:{hub.path(f'{policy}-{other}')}"])
                for other in POLICIES}
        raw = 0
        for other, job in jobs.items():
            if {policy, other} == {"never", "required"}:
                text = fairlead.until("the reason to be told", lambda job=job: re.search(
                    "raw is required", job.run()["flows"][0]["text"] or ""), 30)
                assert text, job.run()
                job.do("stop")
            else:
                job.wait()
                assert trees.differences(hub.source, hub.path(f"{policy}-{other}")) == []
                raw += policy != "never" and other != "never"
        fairlead.until("the sessions to be over", lambda: sum(
            reason == "done" for _, reason in sessions(hub.gate)[before:]) >= sum({policy, other} != {"never", "required"} for other in POLICIES))
        done = [said for said, reason in sessions(hub.gate)[before:] if reason == "done"]
        assert done.count("yes") == raw, (policy, sessions(hub.gate)[before:])


def test_console_that_requires_raw(world):
    """A console with raw: required is not reached by a proxy that never is, and the agent says so."""
    console = world.console(extra=["--config", world.write("console.json", {"raw": "required"})])
    gate = world.proxy("gate", change=lambda config: config.update(raw="never"))
    agent = world.agent("a", via=["gate"], wait=False)
    agent.wait_log("raw is required", 30)
    gate.stop()
    gate.config_path.write_text(gate.config_path.read_text().replace('"raw": "never"', '"raw": "required"'))
    gate.restart()
    agent.ready()
    console.wait_agent("a")


@pytest.mark.parametrize("program, name, keys", [("fairlead-agent", "agent.json", None), ("fairlead-console", "console.json", {})])
def test_required_and_udp_is_refused(world, program, name, keys):
    """QUIC legs are never raw: who requires both has made a mistake, and hears of it at once."""
    console = world.console()
    content = world.agent_config("a") if keys is None else keys
    path = world.write(name, {**content, "raw": "required", "transport": "udp"})
    made = fairlead.Program(world, "bad", [fairlead.program(program), "--config", path, "--state", world.path("bad")]).start()
    assert made.wait() == 2
    assert re.search(r'"raw": "required": not with "transport": "udp"', made.log()), made.log()
    assert console.running()
