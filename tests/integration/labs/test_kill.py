"""kill -9 of each party in the middle of a transfer: the run completes, and nothing that was verified is sent twice."""

import json
import re
import time

import fairlead
import pytest
import trees

MB = 1 << 20
SIZE = 300 * MB
SLACK = 16 * MB


def counted(proxy):
    """Bytes of sessions that a proxy process has passed on since it started."""
    mark = proxy.log_path.stat().st_size
    proxy.signal(fairlead.signal.SIGUSR1)

    def look():
        with open(proxy.log_path, "rb") as file:
            file.seek(mark)
            return re.search(r"\bbytes=(\d+)", file.read().decode(errors="replace"))
    return int(fairlead.until("the proxy's counters", look).group(1))


def victims(world):
    return {"proxy": world.dmz, "console": world.hq, "source": world.a, "target": world.b}


@pytest.mark.parametrize("who", ["proxy", "console", "source", "target"])
def test_kill_one(homes, who):
    source, target = homes.path("source"), homes.path("target")
    source.mkdir()
    trees.random_file(source / "big", SIZE)
    trees.small_files(source / "small", 1000)
    job = homes.hq.job("distribution", "kill", [f"home-a:{source}"], [f"home-b:{target}"])
    fairlead.until("a third of the data", lambda: trees.on_disk(target) > SIZE // 3, every=0.01)
    victim = victims(homes)[who]
    passed = counted(homes.dmz) if who == "proxy" else 0
    before = trees.on_disk(target)
    victim.kill()
    if who == "proxy":  # what went through after the question and before the kill
        passed += max(0, trees.on_disk(target) - before)
    assert trees.on_disk(target) < SIZE, "the transfer was over before the kill"
    victim.restart()
    run = job.wait(timeout=90)
    assert trees.differences(source, target) == []
    assert trees.leftovers(target) == []
    total = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    passed += counted(homes.dmz)
    assert passed <= total + SLACK, f"{passed - total} bytes over the size went through the proxy"
    assert run["files_failed"] == 0, json.dumps(run)


def test_kill_all_at_once(homes):
    """Everything dies together, as when the power goes."""
    source, target = homes.path("source"), homes.path("target")
    source.mkdir()
    trees.random_file(source / "big", SIZE)
    job = homes.hq.job("distribution", "power", [f"home-a:{source}"], [f"home-b:{target}"])
    fairlead.until("a third of the data", lambda: trees.on_disk(target) > SIZE // 3, every=0.01)
    for program in victims(homes).values():
        program.kill()
    for program in victims(homes).values():
        program.restart()
    homes.hq.ready()
    job.wait(timeout=90)
    assert trees.differences(source, target) == []
    assert trees.leftovers(target) == []


def test_job_done_while_the_console_is_away(homes):
    """Agents go on without the console and report when it is back."""
    source, target = homes.path("source"), homes.path("target")
    source.mkdir()
    trees.random_file(source / "big", SIZE)
    job = homes.hq.job("distribution", "alone", [f"home-a:{source}"], [f"home-b:{target}"])
    fairlead.until("some data", lambda: trees.on_disk(target) > SIZE // 10, every=0.01)
    homes.hq.kill()
    fairlead.until("the file to be whole", lambda: (target / "big").exists(), 60)
    time.sleep(0.5)
    homes.hq.restart().ready()
    job.wait(timeout=60)
    assert trees.differences(source, target) == []
