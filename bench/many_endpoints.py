"""The part of bench/run about numbers: what an endpoint and an idle session cost, and who waits behind silent connections."""

import contextlib
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REGISTERED = 2000  # endpoints of which each run measures memory and CPU
IDLE = 2000  # idle sessions of ours, each used once in both directions
IDLE_THEIRS = 300  # strelaysrv takes its time to make them
SILENT = 1000  # connections that never say a word
JOINS = 30
MANY, MANY_SESSIONS = 10_000, 5_000

GOAL_ENDPOINT_KB, GOAL_SESSION_KB, GOAL_REGISTRATION = 16, 4, 0.5
GOAL_DELAY_MS, GOAL_MANY_MB = 50, 256


class Crowd:
    """A driver that keeps endpoints, sessions or devices at a relay until it is left."""

    def __init__(self, bench, what, folder, port, count):
        self.process = subprocess.Popen([bench.BUILD / "bench/bench_endpoints", what, folder, str(port), str(count)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"bench: the driver of {count} {what} gave up with status {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def relay(bench, name, folder):
    """A fresh fairlead-proxy or strelaysrv, so that no run begins with the memory of another."""
    port = bench.free_port()
    argv = [bench.BUILD / "fairlead-proxy", "--config", folder / "proxy.json"]
    subprocess.run([bench.BUILD / "bench/bench_endpoints", "setup", folder, str(port)], check=True)
    if name == "strelaysrv":
        argv = ["strelaysrv", "-pools", "", "-keys", folder, "-listen", f"127.0.0.1:{port}",
                "-status-srv", f"127.0.0.1:{bench.free_port()}"]
    peer = bench.Peer(name, argv, port, [])
    peer.port = port
    try:
        yield peer
    finally:
        peer.stop()


def cost(bench, peer, count, crowd):
    """KiB and CPU ms that each of @count costs while @crowd, a context, keeps them."""
    memory, cpu = bench.resident_kb(peer.process.pid), bench.cpu_seconds(peer.process.pid)
    with crowd():
        time.sleep(1)  # for what ends a little later than the driver's part
        return ((bench.resident_kb(peer.process.pid) - memory) / count, (bench.cpu_seconds(peer.process.pid) - cpu) * 1000 / count)


def registered(bench, name, folder):
    what = "registered" if name == "fairlead-proxy" else "devices"
    with relay(bench, name, folder) as peer:
        with Crowd(bench, what, folder, peer.port, 50):
            pass  # what is only paid once
        return cost(bench, peer, REGISTERED, lambda: Crowd(bench, what, folder, peer.port, REGISTERED))


@contextlib.contextmanager
def syncthing_sessions(peer, folder, count):
    """Idle sessions of a device with itself. strelaysrv refuses a side that joins before its session has begun to run: then another."""
    import relay_v1 as v1  # pylint: disable=import-outside-toplevel
    device = v1.Device(folder, "device")
    waiting, kept = v1.joined(peer.port, device), []
    while len(kept) < count:
        with contextlib.suppress(AssertionError):
            kept.append(v1.session(peer.port, device, waiting, device))
    yield
    for one in (waiting, *(side for pair in kept for side in pair)):
        one.close()


def idle(bench, name, folder):
    with relay(bench, name, folder) as peer:
        if name == "fairlead-proxy":
            with Crowd(bench, "sessions", folder, peer.port, 50):
                pass
            return cost(bench, peer, IDLE, lambda: Crowd(bench, "sessions", folder, peer.port, IDLE))
        return cost(bench, peer, IDLE_THEIRS, lambda: syncthing_sessions(peer, folder, IDLE_THEIRS))


def joins(bench, folder, port):
    out = subprocess.run([bench.BUILD / "bench/bench_endpoints", "joins", folder, str(port), str(JOINS)], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return [float(line) * 1000 for line in out.split()]


def join_delay(bench, folder):
    """Milliseconds until a session stands, median: alone, and behind silent connections from many networks."""
    with relay(bench, "fairlead-proxy", folder) as peer, contextlib.ExitStack() as stack:
        alone = statistics.median(joins(bench, folder, peer.port))
        for number in range(SILENT):
            silent = stack.enter_context(socket.socket())
            silent.bind((f"127.{1 + number % 200}.{number // 200}.1", 0))
            silent.connect(("127.0.0.1", peer.port))
        return alone, statistics.median(joins(bench, folder, peer.port))


def many(bench, folder):
    """As many endpoints as the descriptors of this machine allow, and idle sessions: MB, CPU % of a core, and their number."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(MANY, files - 2 * MANY_SESSIONS - 2000)
    with relay(bench, "fairlead-proxy", folder) as peer, \
            Crowd(bench, "registered", folder, peer.port, count), Crowd(bench, "sessions", folder, peer.port, MANY_SESSIONS):
        before = bench.cpu_seconds(peer.process.pid)
        time.sleep(10)
        return bench.resident_kb(peer.process.pid) / 1000, (bench.cpu_seconds(peer.process.pid) - before) * 10, count


def medians(runs):
    return [statistics.median(values) for values in zip(*runs)]


def ranges(runs, digits):
    """Least and most of each figure of several runs, as text."""
    return [f"{min(values):.{places}f}-{max(values):.{places}f}" for values, places in zip(zip(*runs), digits)]


def run(bench):
    """@bench: the module of bench/run, whose helpers these are."""
    subprocess.run(["ninja", "-C", bench.BUILD, "bench/bench_endpoints", "fairlead-proxy"], check=True, stdout=subprocess.DEVNULL)
    for path in ("tests/integration", "tests/integration/proxy"):
        sys.path.insert(0, str(bench.ROOT / path))
    names = ["fairlead-proxy"]
    if shutil.which("strelaysrv"):
        names.append("strelaysrv")
    else:
        bench.missing("strelaysrv", "syncthing-relaysrv")
    each, sessions, delays = {name: [] for name in names}, {name: [] for name in names}, []
    with tempfile.TemporaryDirectory() as top:
        folder = {name: pathlib.Path(top) / name for name in names}
        for path in folder.values():
            path.mkdir()
        for _ in range(bench.RUNS):
            for name in names:
                each[name].append(registered(bench, name, folder[name]))
                sessions[name].append(idle(bench, name, folder[name]))
            delays.append(join_delay(bench, folder["fairlead-proxy"]))
        memory, cpu, count = many(bench, folder["fairlead-proxy"])
    kb, ms = zip(*(medians(each[name]) for name in names))
    session_kb, session_ms = zip(*(medians(sessions[name]) for name in names))
    alone, behind = medians(delays)

    spread = [ranges(each[name], (1, 2)) + ranges(sessions[name], (1, 2)) for name in names]
    waits = ranges([[after - before] for before, after in delays], (2,))[0]

    def beside(row, what, values, digits, absolute=None, relative=None):
        own = bench.verdict(values[0], absolute, True) if absolute else f"{values[0]:.{digits}f}"
        if len(values) == 1:
            return [what, own, spread[0][row], "-", "-", "-"]
        return [what, own, spread[0][row], f"{values[1]:.{digits}f}", spread[1][row],
                bench.verdict(values[0] / values[1], relative, True)]

    bench.table(f"Many endpoints at one relay, loopback, medians of {bench.RUNS} alternating runs: {REGISTERED} endpoints, "
                f"{IDLE} idle raw sessions (strelaysrv {IDLE_THEIRS}), {SILENT} silent connections",
                ["what", "fairlead-proxy", "range", "strelaysrv", "range", "ours / theirs"],
                [beside(0, "KiB per registered endpoint", kb, 1, absolute=GOAL_ENDPOINT_KB),
                 beside(1, "CPU ms per registration", ms, 2, relative=GOAL_REGISTRATION),
                 beside(2, "KiB per idle session", session_kb, 1, absolute=GOAL_SESSION_KB),
                 beside(3, "CPU ms per session", session_ms, 2),
                 ["ms more for a session behind silent ones", bench.verdict(max(0, behind - alone), GOAL_DELAY_MS, True), waits, "-", "-", "-"],
                 [f"MB of {count} endpoints and {MANY_SESSIONS} idle sessions", bench.verdict(memory, GOAL_MANY_MB, True), "-", "-", "-", "-"],
                 ["% of a core while they are idle", f"{cpu:.1f}", "-", "-", "-", "-"]])
    if count < MANY:
        print(f"bench: {count} endpoints in place of {MANY}: no more descriptors may be opened here", file=sys.stderr)
