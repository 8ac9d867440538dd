"""kill -9 on loopback, in mid-transfer: the job completes, hashes are equal, nothing is left behind."""

import fairlead
import pytest
import trees

MB = 1 << 20
SIZE = 250 * MB


def prepare(world, direct):
    console = world.console()
    programs = {"console": console, "proxy": world.proxy("dmz")}
    port = {"port": fairlead.free_port()} if direct == "allowed" else {}
    programs["source"] = world.agent("a", via=["dmz"], direct=direct, **port)
    programs["target"] = world.agent("b", via=["dmz"], direct=direct)
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "big", SIZE)
    trees.small_files(source / "small", 300)
    return console, programs, source, world.path("target")


@pytest.mark.parametrize("direct, who", [("never", "proxy"), ("never", "source"), ("never", "target"), ("never", "console"),
                                         ("allowed", "source"), ("allowed", "target")])
def test_kill(world, direct, who):
    console, programs, source, target = prepare(world, direct)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("a quarter of it", lambda: trees.on_disk(target) > SIZE // 4, 30, 0.01)
    programs[who].kill()
    assert trees.on_disk(target) < SIZE, "it was over before the kill"
    programs[who].restart()
    run = job.wait(timeout=90)
    assert trees.differences(source, target) == []
    assert fairlead.parts(target) == []
    if who != "target":  # what a killed target had counted last may be a second old
        assert SIZE <= run["bytes_moved"] <= SIZE + 20 * MB


def equal(source, target):
    """Are they, while the target still changes?"""
    try:
        return not trees.differences(source, target)
    except FileNotFoundError:
        return False


def test_goes_on_without_the_console(world):
    """The console stays away: agents finish, and tell it when it is there again."""
    console, programs, source, target = prepare(world, "never")
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("a quarter of it", lambda: trees.on_disk(target) > SIZE // 4, 30, 0.01)
    console.kill()
    programs["target"].kill()
    programs["target"].restart()
    fairlead.until("the transfer to finish", lambda: equal(source, target), 60, 0.5)
    console.restart()
    job.wait(timeout=60)
    assert fairlead.parts(target) == []


def test_again_and_again(world):
    """The target dies every second until it is done."""
    console, programs, source, target = prepare(world, "never")
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    for share in range(1, 5):
        fairlead.until("some progress", lambda: trees.on_disk(target) > SIZE * share // 6, 60, 0.01)
        programs["target"].kill()
        programs["target"].restart()
    job.wait(timeout=90)
    assert trees.differences(source, target) == []
    assert fairlead.parts(target) == []
