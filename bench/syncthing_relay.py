"""The part of bench/run about Syncthing: the same clients through fairlead-proxy and through strelaysrv, in turn."""

import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

DEVICES = 400  # registered, for the memory of each
IDLE = 300  # sessions without traffic

# Ours / strelaysrv at most.
GOALS = {"CPU s/GB": 0.40, "KB per registered device": 0.5, "KB per idle session": 0.15, "CPU ms per registration": 0.5}


def fairlead_config(bench, folder, port):
    """proxy.json of a proxy that is a relay as well."""
    own = bench.free_port()
    subprocess.run([bench.BUILD / "bench/bench_relay", "setup", folder, str(own)], check=True)
    path = folder / "proxy.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "syncthing": {"listen": f"127.0.0.1:{port}", "allow": "any"}}))
    return path


def peers(bench, folder):
    driver = bench.BUILD / "bench/bench_relay"
    for name in ("fairlead-proxy", "strelaysrv"):
        port, own = bench.free_port(), folder / name
        own.mkdir()
        # Devices' keys for the driver come with "setup".
        config = fairlead_config(bench, own, port)
        argv = [bench.BUILD / "fairlead-proxy", "--config", config]
        if name == "strelaysrv":
            argv = ["strelaysrv", "-pools", "", "-keys", own, "-listen", f"127.0.0.1:{port}",
                    "-status-srv", f"127.0.0.1:{bench.free_port()}"]
        peer = bench.Peer(name, argv, port, [driver, "syncthing", own, port])
        peer.port = port
        yield peer


def row(what, pair, digits, worst=None):
    """One figure of ours and of theirs, with the goal that stands for it."""
    ratio = pair[0] / pair[1] if pair[1] else float("inf")
    goal = GOALS.get(what)
    told = f"{ratio:.2f}" if goal is None else f"{ratio:.2f} <= {goal:.2f} {'met' if ratio <= goal else 'MISSED'}"
    if worst is not None:
        told = f"{ratio:.2f} >= {worst:.2f} {'met' if ratio >= worst else 'MISSED'}"
    return [what, f"{pair[0]:.{digits}f}", f"{pair[1]:.{digits}f}", told]


def one_session(bench, both):
    count = bench.MEGABYTES * 1000 * 1000
    for _ in range(bench.RUNS):
        for peer in both:
            peer.measure(count, 1)
    return [row("CPU s/GB", [peer.cost(1) for peer in both], 3), row("Gbit/s", [peer.speed(1) for peer in both], 1, 1.2)]


def per_item(bench, peer, count, make):
    """KB and CPU ms that each of @count costs, and what keeps them alive."""
    make(20)  # what is only paid once
    memory, cpu = bench.resident_kb(peer.process.pid), bench.cpu_seconds(peer.process.pid)
    kept = make(count)
    time.sleep(1)
    return ((bench.resident_kb(peer.process.pid) - memory) / count, (bench.cpu_seconds(peer.process.pid) - cpu) * 1000 / count, kept)


def session(v1, port, device, waiting):
    """A session of @device with itself. strelaysrv refuses a side that joins before its session has begun to run: then another."""
    for _ in range(9):
        with contextlib.suppress(AssertionError):
            return v1.session(port, device, waiting, device)
    return v1.session(port, device, waiting, device)


def standing(bench, v1, both, folder):
    """Registered devices and idle sessions: what they hold."""
    devices = [v1.Device(folder, f"device{number}") for number in range(DEVICES + 21)]
    registered, idle = [], []
    for peer in both:
        fresh = iter(devices)
        memory, cpu, kept = per_item(bench, peer, DEVICES, lambda count: [v1.joined(peer.port, next(fresh)) for _ in range(count)])
        registered.append((memory, cpu))
        target = next(fresh)
        waiting = v1.joined(peer.port, target)
        memory, _, sessions = per_item(bench, peer, IDLE, lambda count: [session(v1, peer.port, target, waiting) for _ in range(count)])
        idle.append(memory)
        for one in (waiting, *kept, *(side for pair in sessions for side in pair)):
            one.close()
    return [row("KB per registered device", [each[0] for each in registered], 1),
            row("CPU ms per registration", [each[1] for each in registered], 2), row("KB per idle session", idle, 1)]


def sync_once(uri, source, target, netns=(None, None)):
    """Seconds from the daemons' meeting until the last file is there. @target is left as it is then."""
    import fairlead  # pylint: disable=import-outside-toplevel
    import syncthing  # pylint: disable=import-outside-toplevel

    world, failed = fairlead.World("bench"), True
    os.environ["STMONITORED"] = "yes"  # no process above the one that works: its time would get lost, and a kill leave the other
    try:
        first, second = syncthing.pair(world, uri, source, target, netns)
        for daemon in (first, second):
            daemon.wait_log("Established secure connection", 90)
        start = time.monotonic()
        want = syncthing.sizes(source)
        fairlead.until("all files", lambda: syncthing.sizes(target) == want, 900, 0.05)
        seconds = time.monotonic() - start
        syncthing.wait_equal(source, target, 10)
        shutil.rmtree(source / ".stfolder", ignore_errors=True)
        failed = False
        return seconds
    finally:
        for program in world.programs:  # nothing of theirs is kept, and they take their time to stop
            program.kill()
        world.close(failed=failed)


def daemons(bench, v1, both, folder):
    source = folder / "source"
    total, files = bench.make_files(source)
    asks = v1.Device(folder, "asks")
    took, cpu = [[], []], [[], []]
    for _ in range(max(1, bench.RUNS // 2)):
        for number, peer in enumerate(both):
            before = bench.cpu_seconds(peer.process.pid)
            uri = f"relay://127.0.0.1:{peer.port}/?id={v1.shown_id(peer.port, asks)}"
            took[number].append(sync_once(uri, source, folder / "target"))
            shutil.rmtree(folder / "target")
            cpu[number].append((bench.cpu_seconds(peer.process.pid) - before) / (total / 1e9))
    return [row(f"daemons, {total / 1e6:.0f} MB in {files} files: s", [statistics.median(each) for each in took], 1),
            row("daemons: relay's CPU s/GB", [statistics.median(each) for each in cpu], 3)]


def run(bench):
    """@bench: the module of bench/run, whose helpers these are."""
    for name, package in (("strelaysrv", "syncthing-relaysrv"), ("syncthing", "syncthing")):
        if not shutil.which(name):
            bench.missing(name, package)
            return
    subprocess.run(["ninja", "-C", bench.BUILD, "bench/bench_relay", "fairlead-proxy"], check=True, stdout=subprocess.DEVNULL)
    for path in ("tests/integration", "tests/integration/proxy"):
        sys.path.insert(0, str(bench.ROOT / path))
    import relay_v1 as v1  # pylint: disable=import-outside-toplevel

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder, both = pathlib.Path(name), []
        for peer in peers(bench, folder):
            stack.callback(peer.stop)
            both.append(peer)
        rows = one_session(bench, both) + standing(bench, v1, both, folder) + daemons(bench, v1, both, folder)
    bench.table(f"The same Syncthing clients through both, {bench.MEGABYTES} MB a run, medians of {bench.RUNS} alternating runs "
                f"(daemons: {max(1, bench.RUNS // 2)}); {DEVICES} registered devices, {IDLE} idle sessions",
                ["what", "fairlead-proxy", "strelaysrv", "ours / theirs"], rows)
