"""How agents become known, stay who they are, and stop being welcome."""

import json
import stat

import fairlead
import machine
import pytest


@pytest.mark.asan
def test_direct(world):
    world.console()
    agent = world.agent("alpha")
    shown = world.the_console.agent("alpha")
    assert shown["state"] == "online"
    assert "direct" in shown["path"]
    for name in ("key.pem", "journal.db"):
        assert stat.S_IMODE((agent.state / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.state.stat().st_mode) == 0o700
    assert agent.stop() == 0


@pytest.mark.asan
def test_through_a_proxy(world):
    world.console()
    world.proxy("dmz")
    agent = world.agent("alpha", via=["dmz"])
    assert "dmz" in world.the_console.agent("alpha")["path"]
    assert agent.stop() == 0


def test_restart_keeps_the_identity(world):
    console = world.console()
    agent = world.agent("alpha")
    first = console.agent("alpha")["id"]
    agent.kill()
    console.wait_agent("alpha", "offline")
    config = json.loads(agent.config_path.read_text())
    del config["management_server"]["bootstrap_token"]  # not needed any more
    world.write("alpha.json", config)
    agent.restart().ready()
    assert console.wait_agent("alpha")["id"] == first
    assert len(console.items("/agents")) == 1


def test_killed_while_enrolling(world):
    """The key is made once: however often the agent dies before it is approved, it stays one agent."""
    console = world.console()
    agent = world.agent("alpha", wait=False, approval=True)
    for _ in range(3):
        agent.wait_log("has to approve")
        agent.kill()
        agent.restart()
    console.wait_agent("alpha", "pending")
    assert len(console.items("/agents")) == 1


def test_approval(world):
    console = world.console()
    agent = world.agent("alpha", wait=False, approval=True)
    agent.wait_log("has to approve")
    assert console.wait_agent("alpha", "pending")
    assert "console connected" not in agent.log()
    console.rest("POST", "/agents/alpha/approve")
    agent.ready()
    console.wait_agent("alpha")


def test_wrong_fingerprint(world):
    world.console()
    config = world.agent_config("alpha")
    print_ = config["management_server"]["cert_authority_fingerprint"]
    config["management_server"]["cert_authority_fingerprint"] = print_[:-2] + ("00" if print_[-2:] != "00" else "11")
    agent = fairlead.Agent(world, "alpha", config).start()
    assert agent.wait() == 2
    assert "cert_authority_fingerprint" in agent.log()
    assert len(agent.log().strip().splitlines()) == 1


def test_another_console(world):
    """The state of one console's agent is not used with another's file."""
    world.console()
    agent = world.agent("alpha")
    assert agent.stop() == 0
    world.console(name="other")
    fresh = world.agent_config("alpha")
    again = fairlead.Agent(world, "again", fresh, state=agent.state).start()
    assert again.wait() == 2
    assert "cert_authority_fingerprint" in again.log()


def test_one_at_a_time(world):
    world.console()
    agent = world.agent("alpha")
    second = fairlead.Agent(world, "second", agent.config_path.read_text(), state=agent.state).start()
    assert second.wait() == 1
    assert "in use by another agent" in second.log()
    assert agent.running()


@pytest.fixture
def shifted(world):
    """Environment under which a program sees a clock that is off by some days."""
    clock = machine.Clock(world)

    def shift(days):
        clock.set(days)
        return clock.env
    return shift


@pytest.mark.parametrize("days", [-400, 400])
def test_wrong_clock_of_a_newcomer(world, shifted, days):
    world.console()
    agent = fairlead.Agent(world, "alpha", world.agent_config("alpha"))
    agent.env = shifted(days)
    assert agent.start().wait() == 1
    assert "clock" in agent.log().splitlines()[-1]


@pytest.mark.parametrize("days", [-400, 400])
def test_wrong_clock_of_an_agent(world, shifted, days):
    world.console()
    agent = world.agent("alpha")
    agent.stop()
    agent.env = shifted(days)
    assert agent.start().wait() == 1
    assert "certificate is not valid by this machine's clock" in agent.log()
    agent.env = None
    agent.start().ready()  # nothing is lost by it


def test_revoked(world):
    console = world.console()
    proxy = world.proxy("dmz")
    agent = world.agent("alpha", via=["dmz"])
    console.rest("POST", "/agents/alpha/revoke")
    agent.wait_log("revoked", 20)
    assert console.agent("alpha")["state"] == "revoked"
    agent.kill()
    agent.restart()
    agent.wait_log("it is revoked", 30)
    assert agent.running() and proxy.running()
    assert "console connected" not in agent.log()
    assert agent.stop() == 0


def test_console_away_and_back(world):
    console = world.console()
    agent = world.agent("alpha")
    console.kill()
    agent.wait_log("console lost|no way to the console")
    mark = len(agent.log())
    console.restart().ready()
    fairlead.until("the agent to come back", lambda: "console connected" in agent.log()[mark:], 40)
    console.wait_agent("alpha")


def test_port_in_use(world):
    world.console()
    first = world.agent("alpha", port=fairlead.free_port())
    port = json.loads(first.config_path.read_text())["listening_port"]
    second = world.agent("beta", port=port, wait=False)
    assert second.wait() == 1
    assert f"listening_port {port}" in second.log()
