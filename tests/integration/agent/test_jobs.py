"""Whole jobs on loopback: what arrives, by which path, and what is told about it."""

import os
import re
import shutil

import fairlead
import pytest
import trees

MB = 1 << 20


def pair(world, direct="never", raw=None, **keys):
    console = world.console()
    world.proxy("dmz", change=raw and (lambda config: config.update(raw=raw)))
    port = {"port": fairlead.free_port()} if direct == "allowed" else {}
    world.agent("a", via=["dmz"], direct=direct, **port, **keys)
    world.agent("b", via=["dmz"], direct=direct, **keys)
    return console


@pytest.mark.asan
@pytest.mark.parametrize("raw", ["never", "allowed", "required"])
def test_raw(world, raw):
    """With and without the outer TLS around a session the same arrives; raw ones are moved within the kernel."""
    console = pair(world, raw=raw)
    source, target = world.path("source"), world.path("target")
    trees.odd_tree(source)
    trees.random_file(source / "big", 40 * MB)
    console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"]).wait()
    assert trees.differences(source, target) == []
    (proxy,) = [one for one in world.programs if isinstance(one, fairlead.Proxy)]
    ended = lambda: [int(n) for n in re.findall(r"session ended .*spliced=(\d+)", proxy.log()) if int(n) > 20 * MB or raw == "never"]
    spliced = fairlead.until("the session's record", ended)
    assert all(n == 0 for n in spliced) == (raw == "never")


@pytest.mark.asan
@pytest.mark.parametrize("direct", ["never", "allowed"])
def test_distribution(world, direct):
    console = pair(world, direct)
    source, target = world.path("source"), world.path("deep/target")
    trees.odd_tree(source)
    trees.random_file(source / "big", 20 * MB)
    run = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert fairlead.parts(target) == []
    assert run["files_failed"] == 0
    assert run["bytes_done"] == run["bytes_total"]
    assert ("direct" if direct == "allowed" else "dmz") in run["flows"][0]["path"]


def test_distribution_to_many(world):
    console = pair(world)
    world.agent("c", via=["dmz"], direct="never")
    source = world.path("source")
    source.mkdir()
    trees.small_files(source / "small", 500)
    run = console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('tb')}", f"c:{world.path('tc')}"]).wait()
    assert len(run["flows"]) == 2
    for name in ("tb", "tc"):
        assert trees.differences(source, world.path(name)) == []


def test_consolidation(world):
    console = pair(world)
    world.agent("c", via=["dmz"], direct="never")
    for name in "ab":
        world.path(f"s{name}").mkdir()
        trees.random_file(world.path(f"s{name}") / "file", 3 * MB)
    console.job("consolidation", "j", [f"a:{world.path('sa')}", f"b:{world.path('sb')}"], [f"c:{world.path('all')}"]).wait()
    for name in "ab":
        assert trees.differences(world.path(f"s{name}"), world.path("all") / name) == []


def test_again_moves_nothing(world):
    console = pair(world)
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", 5 * MB)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    first = job.wait()
    assert first["bytes_moved"] >= 5 * MB
    job.do("start")
    fairlead.until("the second run", lambda: job.run()["number"] > first["number"])
    second = job.wait()
    assert second["bytes_moved"] == 0
    assert second["files_same"] == 1


def test_single_file(world):
    console = pair(world)
    source = world.path("one.bin")
    trees.random_file(source, MB)
    console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('target')}"]).wait()
    assert (world.path("target") / "one.bin").read_bytes() == source.read_bytes()


def test_pause_resume_stop(world):
    console = pair(world)
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", 500 * MB)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("the first bytes", lambda: trees.on_disk(target) > 10 * MB, every=0.01)
    job.do("pause")
    paused = job.wait(("paused",))
    assert paused["bytes_done"] < 500 * MB, "it was over before the pause"
    size = trees.on_disk(target)
    fairlead.time.sleep(1)
    assert trees.on_disk(target) <= size + 16 * MB
    job.do("resume")
    run = job.wait()
    assert trees.differences(source, target) == []
    assert run["bytes_moved"] <= 500 * MB + 16 * MB

    shutil.rmtree(target)
    second = console.job("distribution", "k", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("the first bytes again", lambda: trees.on_disk(target) > 10 * MB, every=0.01)
    second.do("stop")
    second.wait(("stopped",))
    fairlead.until("the temporary files to go", lambda: not fairlead.parts(target))  # the run is stopped once that is ordered


def test_missing_source(world):
    console = pair(world)
    job = console.job("distribution", "j", [f"a:{world.path('nothing')}"], [f"b:{world.path('target')}"])
    run = job.wait(("failed", "partial"))
    assert run["state"] == "failed"
    assert run["flows"][0]["text"] or job.errors()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a small file system")
def test_disk_full(world):
    console = pair(world)
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    target.mkdir()
    trees.write(source / "small", b"fits")
    trees.random_file(source / "big", 20 * MB)
    fairlead.subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(target)], check=True)
    try:
        job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
        run = job.wait(("partial", "failed"))
        assert run["files_failed"] == 1
        errors = job.errors()
        assert [e["name"] for e in errors] == ["big"], errors
        assert (target / "small").read_bytes() == b"fits"
    finally:
        fairlead.subprocess.run(["umount", "-l", str(target)], check=False)


def test_storage_path(world):
    store = world.path("store")
    store.mkdir()
    console = pair(world, folders_storage_path=str(store))
    trees.random_file(store / "file", MB)
    job = console.job("distribution", "j", [f"a:{store}"], [f"b:{world.path('target')}"])
    job.wait()
    assert trees.differences(store, world.path("target")) == []


def test_away_and_back(world):
    """A job ordered while its source is away starts when it comes."""
    console = pair(world)
    source = next(p for p in world.programs if p.name == "a")
    source.kill()
    console.wait_agent("a", "offline")
    folder = world.path("source")
    folder.mkdir()
    trees.random_file(folder / "file", MB)
    job = console.job("distribution", "j", [f"a:{folder}"], [f"b:{world.path('target')}"])
    fairlead.until("a reason", lambda: "no way to a" in (job.run()["flows"][0]["text"] or ""))
    source.restart()
    job.wait()
    assert trees.differences(folder, world.path("target")) == []


def test_many_jobs_at_once(world):
    """Twenty jobs among four agents, ordered in one go: each agent is source and target of several."""
    console = world.console()
    world.proxy("dmz")
    names = ["a", "b", "c", "d"]
    for name in names:
        world.agent(name, via=["dmz"], direct="never")
        world.path(name).mkdir()
        trees.small_files(world.path(name), 50)
    jobs = []
    for number in range(20):
        source, target = names[number % 4], names[(number + 1 + number // 4 % 3) % 4]
        folder = world.path(f"target-{number}")
        jobs.append((source, folder, console.job("distribution", f"j{number}", [f"{source}:{world.path(source)}"], [f"{target}:{folder}"])))
    for source, folder, job in jobs:
        job.wait(timeout=90)
        assert trees.differences(world.path(source), folder) == []


def test_retry_of_single_files(world):
    """What a run has not done is done by another one, these files alone: nothing beside them is looked at."""
    console = pair(world)
    source, target = world.path("source"), world.path("target")
    for name in ("in/deep/x", "in/y", "z", "other"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    for name in ("in/deep/x", "in/y", "z"):
        (target / name).mkdir(parents=True)  # in the way
        (target / name / "mine").write_text("mine")
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
    run = job.wait(("partial",))
    assert {error["name"] for error in job.errors()} == {"in/deep/x", "in/y", "z"}
    for name in ("in/deep/x", "in/y", "z"):
        shutil.rmtree(target / name)
    (target / "other").unlink()
    for body, status in (({"files": ["other"]}, 400), ({"files": []}, 400), ({"file": "z"}, 400)):
        with pytest.raises(fairlead.Rest) as caught:
            console.rest("POST", f"/runs/{run['id']}/retry", body)
        assert caught.value.status == status
    assert console.cli("run", "retry", run["id"][:8], "--file", "in/deep/x").stdout == "job j: run 2 started\n"
    second = job.wait()
    assert (target / "in/deep/x").read_text() == "in/deep/x"
    assert not any((target / name).exists() for name in ("in/y", "z", "other"))
    assert (second["files_total"], second["files_done"]) == (1, 1)
    console.rest("POST", f"/runs/{run['id']}/retry")
    assert job.wait()["files_total"] == 3
    assert (target / "z").read_text() == "z" and (target / "in/y").read_text() == "in/y" and not (target / "other").exists()
    with pytest.raises(fairlead.Rest) as caught:
        console.rest("POST", f"/runs/{second['id']}/retry")
    assert caught.value.status == 409
    console.rest("POST", f"/jobs/{job.id}/start")
    job.wait()
    assert trees.differences(source, target) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become somebody else")
def test_modes_that_let_nobody_read(world):
    """What its own mode closes, small or large, comes also to an agent that is not root: it has a file of that mode then."""
    console = world.console()
    world.agent("a", port=fairlead.free_port())
    source, home, copy = world.path("source"), world.path("home"), world.path("program")
    source.mkdir()
    home.mkdir()
    world.folder.chmod(0o711)
    shutil.copy(fairlead.program("fairlead-agent"), copy)
    for name, size in (("small", 1000), ("large", 80 * MB)):
        with open(source / name, "wb") as file:
            file.write(b"x")
            file.truncate(size)
        (source / name).chmod(0o200)
    agent = fairlead.Agent(world, "b", world.agent_config("b"), state=home / "state")
    for path in (home, agent.config_path):
        os.chown(path, 65534, 65534)
    agent.argv[0] = str(copy)
    agent.prefix = lambda: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    agent.start().ready()
    console.job("distribution", "j", [f"a:{source}"], [f"b:{home}/target"]).wait()
    assert trees.differences(source, home / "target") == []


def test_a_source_that_is_not_there(world):
    console = world.console()
    world.agent("a", port=fairlead.free_port())
    world.agent("b")
    job = console.job("distribution", "j", [f"a:{world.path('nowhere')}"], [f"b:{world.path('target')}"])
    assert job.wait(("failed",))["flows"][0]["text"] == "the source cannot be read: there is no such file or folder"
