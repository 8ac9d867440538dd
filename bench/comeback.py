"""The part of bench/run about a restart: the proxy is killed, and all its endpoints come back at once."""

import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# What is looked at is who waits for whom while the proxy has more to do than it can: so it has a part of a core, and its drivers the
# other core.
ENDPOINTS = int(os.environ.get("BENCH_ENDPOINTS", "4000"))
MBITS = int(os.environ.get("BENCH_MBITS", "1000"))  # of the session that is begun after the restart and runs meanwhile
QUOTA = int(os.environ.get("BENCH_QUOTA", "50"))  # percent of a core that the proxy has
PAUSE_MS = 50  # between sessions that are begun meanwhile
ALONE = 5  # seconds
REFUSALS = ("full", "crowded", "handshake-time", "hello-time", "first-byte", "local")
PATIENCE = 120


class Reader:
    """A driver whose lines are numbers: all of them, as they come."""

    def __init__(self, argv, stdin=subprocess.PIPE):
        self.process = subprocess.Popen([str(part) for part in argv], stdin=stdin, stdout=subprocess.PIPE, text=True)
        self.rows, self.ready = [], threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            if line.strip() == "ready":
                self.ready.set()
            else:
                self.rows.append([time.monotonic(), *map(float, line.split())])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def counters(port):
    """What the proxy's metrics say: name with labels -> number."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20).read().decode()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def refused(numbers):
    return sum(numbers[f'fairlead_proxy_legs_ended_total{{reason="{reason}"}}'] for reason in REFUSALS)


class Quota:
    """A part of one core for one process, by a control group of version 2 or 1: so that the relay is what is slow, and not its drivers."""

    def __init__(self, percent):
        root = pathlib.Path("/sys/fs/cgroup")
        own = dict(line.split(":", 2)[1:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
        old = next((name for name in own if "cpu" in name.split(",")), None)
        self.folder = (root / "cpu" / own[old].lstrip("/") if old else root / own.get("", "/").lstrip("/")) / f"fairlead-bench-{os.getpid()}"
        self.folder.mkdir()
        if old:
            (self.folder / "cpu.cfs_period_us").write_text("5000")
            (self.folder / "cpu.cfs_quota_us").write_text(str(percent * 50))
        else:
            (self.folder / "cpu.max").write_text(f"{percent * 50} 5000")

    def take(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def close(self):
        for _ in range(100):  # the last process in it takes a moment to be gone
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.05)


class Proxy:
    """One, with one worker, at a port that stays."""

    def __init__(self, bench, program, folder):
        self.program, self.bench, self.folder, self.port, self.watch = program, bench, folder, bench.free_port(), bench.free_port()
        subprocess.run([bench.BUILD / "bench/bench_relay", "setup", folder, str(self.port)], check=True)
        bench.set_config(folder / "proxy.json", workers=1, metrics=f"127.0.0.1:{self.watch}", udp="off", 
                         limits={"idle_seconds": 0})
        self.process = None
        self.quota = Quota(QUOTA) if QUOTA < 100 else None

    def start(self):
        self.process = subprocess.Popen(["taskset", "-c", "0", self.program, "--config", self.folder / "proxy.json"],
                                        stdout=subprocess.DEVNULL, stderr=(self.folder / "proxy.log").open("ab"))
        if self.quota:
            self.quota.take(self.process.pid)
        self.bench.wait_port(self.port, self.process)
        self.bench.wait_port(self.watch, self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()


def rate(rows, since, until):
    """Bytes a second of a stream between two moments."""
    rows = [row for row in rows if since <= row[1] <= until]
    return (rows[-1][2] - rows[0][2]) / (rows[-1][1] - rows[0][1]) if len(rows) > 1 else 0


def once(bench, program):
    drivers = bench.BUILD / "bench"
    with tempfile.TemporaryDirectory() as top:
        folder = pathlib.Path(top)
        proxy = Proxy(bench, program, folder)
        proxy.start()
        on = ["taskset", "-c", "1"]
        crowd = Reader([*on, drivers / "bench_back", folder, proxy.port, ENDPOINTS, "agents"])
        console = Reader([*on, "nice", "-n", "-5", drivers / "bench_back", folder, proxy.port, 1, "console"])
        readers = [crowd, console]
        try:
            if not crowd.ready.wait(PATIENCE) or not console.ready.wait(PATIENCE):
                sys.exit("bench: the endpoints did not register")
            proxy.kill()
            time.sleep(0.2)
            proxy.start()
            start = time.monotonic()
            stream = Reader([*on, "nice", "-n", "-10", drivers / "bench_relay", "stream", folder, proxy.port, MBITS])
            joins = Reader([*on, "nice", "-n", "-10", drivers / "bench_endpoints", "joins", folder, proxy.port, 100000, PAUSE_MS])
            readers += [stream, joins]
            while time.monotonic() - start < PATIENCE and not (crowd.rows and crowd.rows[-1][2] == ENDPOINTS):
                time.sleep(0.05)
            end = time.monotonic()
            numbers, cpu = counters(proxy.watch), bench.cpu_seconds(proxy.process.pid)
            time.sleep(ALONE + 1)
            return figures(crowd, console, stream, joins, start, end, numbers, cpu)
        finally:
            for reader in readers:
                reader.stop()
            proxy.kill()
            if proxy.quota:
                proxy.quota.close()


def first(rows, test):
    return next((row for row in rows if test(row)), None)


def figures(crowd, console, stream, joins, start, end, numbers, cpu):
    rows = [row for row in crowd.rows if row[1] >= start]
    when = [(first(rows, lambda row, share=share: row[2] >= share * ENDPOINTS) or [0, math.inf])[1] - start for share in (0.5, 0.95, 1)]
    most = start + when[1]
    during = [row[1] * 1000 for row in joins.rows if row[0] <= most] or [math.inf]
    alone = rate(stream.rows, end + 1, end + 1 + ALONE)
    back = first(console.rows, lambda row: row[1] >= start and row[2] == 1)
    return [*when, (back or [0, math.inf])[1] - start, rows[-1][4] - crowd.rows[0][4], refused(numbers), cpu,
            rate(stream.rows, start, most) / alone if alone else 0, len(during), statistics.median(during), max(during),
            statistics.median([row[1] * 1000 for row in joins.rows if row[0] > end + 1] or [math.inf])]


ROWS = (("s until half are back", 1), ("s until 95 % are back", 1), ("s until all are back", 1), ("s until the console is back", 2),
        ("tries that came to nothing", 0), ("of them by the proxy", 0), ("proxy's CPU s", 2), ("share of its pace that a session keeps", 2),
        ("sessions begun meanwhile", 0), ("ms for one of them, median", 0), ("ms for one of them, most", 0), ("ms for one alone", 1))


def run(bench):
    """@bench: the module of bench/run. BENCH_BEFORE names another fairlead-proxy to compare with."""
    subprocess.run(["ninja", "-C", bench.BUILD, "benches", "fairlead-proxy"], check=True, stdout=subprocess.DEVNULL)
    programs = [bench.BUILD / "fairlead-proxy"]
    if "BENCH_BEFORE" in os.environ:
        programs.append(pathlib.Path(os.environ["BENCH_BEFORE"]))
    runs = {program: [] for program in programs}
    for _ in range(bench.RUNS):
        for program in reversed(programs):
            runs[program].append(once(bench, program))
    columns = []
    for program in programs:
        columns.append([f"{statistics.median(values):.{places}f}" for values, (_, places) in zip(zip(*runs[program]), ROWS)])
        columns.append([f"{min(values):.{places}f}-{max(values):.{places}f}" for values, (_, places) in zip(zip(*runs[program]), ROWS)])
    head = ["what", "fairlead-proxy", "range", *(["before", "range"] if len(programs) > 1 else [])]
    bench.table(f"{ENDPOINTS} endpoints come back to a proxy that was killed, {QUOTA} % of a core; a raw session of {MBITS} Mbit/s and others that "
                f"are begun meanwhile; medians of {bench.RUNS} alternating runs",
                head, [[what, *row] for (what, _), *row in zip(ROWS, *columns)])
