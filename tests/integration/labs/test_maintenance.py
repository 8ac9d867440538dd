"""A proxy is upgraded, or drained, while a real job runs through it: the transfer does not notice."""

import json
import re

import fairlead
import trees

MB = 1 << 20
SIZE = 128 * MB
RATE = 12 * 1024  # KiB/s: the transfer takes eleven seconds, whatever the machine can


def start_transfer(world):
    """A job of one big file. Returns it with source and target."""
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "big", SIZE)
    return world.hq.job("distribution", "move", [f"home-a:{source}"], [f"home-b:{target}"]), source, target


def with_settings(world, **settings):
    """The proxy started again with more in its file."""
    proxy = world.dmz
    proxy.stop()
    proxy.config_path.write_text(json.dumps({**json.loads(proxy.config_path.read_text()), "limits": {"rate_proxy": RATE}, **settings}))
    proxy.restart()
    world.hq.wait_proxy("dmz")
    for name in ("home-a", "home-b"):
        world.hq.wait_agent(name)


def ended(*programs):
    """Sessions that ended: (bytes, reason) of each."""
    found = []
    for one in programs:
        for line in re.findall(r".*session ended.*", one.log()):
            numbers = dict(re.findall(r"(\w+)=\"?([\w-]+)", line))
            found.append((int(numbers["up"]) + int(numbers["down"]), numbers["reason"]))
    return found


def upgrade(world, number):
    """A new process takes over; the old one is gone when this returns."""
    old = world.dmz
    new = fairlead.Program(world, f"dmz{number}", [*old.argv, *([] if "--take-over" in old.argv else ["--take-over"])], old.netns).start()
    new.wait_log("taken over")
    old.wait_log("handed over")
    assert old.wait(30) == 0
    assert "cut_sessions=0" in old.log(), old.log()[-500:]
    world.dmz = new
    return old


def test_upgraded_twice_in_mid_transfer(homes):
    """One tunnel carries all of it, through three processes; agents and console keep theirs too."""
    with_settings(homes, handover=str(homes.path("handover.sock")))
    job, source, target = start_transfer(homes)
    olds = []
    for part in (8, 3):
        fairlead.until("some data", lambda share=part: trees.on_disk(target) > SIZE // share, 60, every=0.02)
        olds.append(upgrade(homes, len(olds) + 2))
        assert trees.on_disk(target) < SIZE, "the transfer was over before the upgrade"
    run = job.wait(timeout=90)
    assert trees.differences(source, target) == []
    assert run["files_failed"] == 0 and run["flows"][0]["path"] == "proxy dmz tcp", run
    assert ended(*olds) == []
    fairlead.until("the tunnel's end", lambda: [size for size, reason in ended(homes.dmz) if size > SIZE and reason == "done"], 60)
    # what was up before is the same still: a second line would be a second tunnel
    for agent in (homes.a, homes.b):
        assert len(re.findall("console connected", agent.log())) == 2, agent.log()  # at the start, and after with_settings()
    for name in ("home-a", "home-b"):
        homes.hq.wait_agent(name)


def test_drained_under_load(homes):
    """Agents leave and nothing new comes in, but what runs there ends by itself: no session is lost."""
    with_settings(homes)
    job, source, target = start_transfer(homes)
    fairlead.until("some data", lambda: trees.on_disk(target) > SIZE // 8, 60, every=0.02)
    homes.hq.cli("proxy", "drain", "dmz", "--within", "1")
    assert trees.on_disk(target) < SIZE, "the transfer was over before the drain"
    run = job.wait(timeout=90)
    assert trees.differences(source, target) == [] and run["files_failed"] == 0
    fairlead.until("the tunnel's end", lambda: ended(homes.dmz), 60)
    assert [reason for _, reason in ended(homes.dmz)] == ["done"]
    homes.hq.cli("proxy", "resume", "dmz")
