"""The part of bench/run about the console: thousands of agents that report, browsers that follow, and how long a page's calls take.

BENCH_AGENTS (2000), BENCH_JOBS (200), BENCH_BROWSERS (50), BENCH_SECONDS (30).
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

AGENTS = int(os.environ.get("BENCH_AGENTS", "2000"))
JOBS = int(os.environ.get("BENCH_JOBS", "200"))
BROWSERS = int(os.environ.get("BENCH_BROWSERS", "50"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "30"))
EVERY = 5  # seconds between two reports of an agent
GOAL_MS = 100
# What a page asks for while it is open, and how often in a minute (web/src/live.ts).
CALLS = {"/status": 12, "/proxies": 12, "/agents": 2, "/throughput": 2, "/jobs?flows=1": 30, "/flows?limit=100": 30}


class Client:
    """One browser's connection."""

    def __init__(self, console):
        host, port = console["ui"].rsplit(":", 1)
        self.connection = http.client.HTTPSConnection(host, int(port), context=console["context"], timeout=60)
        self.headers = {"Authorization": f"Bearer {console['token']}", "Accept-Encoding": "gzip"}

    def call(self, method, path, body=None, **headers):
        """Returns (seconds, status, headers, body)."""
        start = time.monotonic()
        self.connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), {**self.headers, **headers})
        answer = self.connection.getresponse()
        text = answer.read()
        return time.monotonic() - start, answer.status, answer.headers, text


@contextlib.contextmanager
def console(bench, folder):
    """A console on @folder/state; a dictionary of what is needed to reach it."""
    state = folder / "state"
    (state / "addresses.json").unlink(missing_ok=True)
    log = open(folder / "console.log", "ab")
    process = subprocess.Popen([bench.BUILD / "fairlead-console", "--state", state, "--ui", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--log-level", os.environ.get("BENCH_LOG", "error"),
                                *getattr(bench, "CONSOLE_OPTIONS", [])],
                               stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (state / "addresses.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: the console did not start: {(folder / 'console.log').read_text()[-500:]}")
            time.sleep(0.05)
        made = json.loads((state / "addresses.json").read_text())
        yield {**made, "process": process, "token": (state / "admin.token").read_text().strip(), "context": ssl.create_default_context(cafile=state / "ca.pem")}
    finally:
        process.terminate()
        process.wait()
        log.close()


def enrol(bench, folder):
    """Agents' keys of the console's own authority, and their rows in its store."""
    with contextlib.closing(sqlite3.connect(folder / "state/console.db")) as database:
        key = database.execute("SELECT value FROM settings WHERE key = 'authority.key'").fetchone()[0]
        (folder / "ca.key").write_text(key)
        (folder / "ca.pem").write_text((folder / "state/ca.pem").read_text())
        ids = subprocess.run([bench.BUILD / "bench/bench_fleet", "setup", folder, str(AGENTS)], check=True, capture_output=True, text=True).stdout.split()
        rows = [(bytes.fromhex(one), f"agent-{number:05}", 1, b"\0" * 16, "", "", "", "", 1, 1, 2 ** 31) for number, one in enumerate(ids)]
        database.executemany("INSERT INTO agents VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.commit()


def order(client):
    """Jobs that have a flow to each agent, all told."""
    each = max(1, AGENTS // JOBS)
    for number in range(JOBS):
        targets = [f"agent-{(number * each + i) % AGENTS:05}:/srv/data" for i in range(each)]
        source = f"agent-{(number * each + each) % AGENTS:05}:/srv/data"
        _, status, _, text = client.call("POST", "/jobs", {"kind": "distribution", "name": f"job-{number}", "from": [source], "to": targets})
        if status != 201:
            sys.exit(f"bench: no job: {text.decode()}")


class Reader(threading.Thread):
    """A browser that follows: counts what the stream brings."""

    def __init__(self, reach, stop):
        super().__init__(daemon=True)
        self.client, self.stop, self.bytes = Client(reach), stop, 0
        self.client.connection.request("GET", "/api/v1/events", headers={**self.client.headers, "Accept": "text/event-stream"})
        self.answer = self.client.connection.getresponse()

    def run(self):
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while not self.stop.is_set() and (line := self.answer.readline()):
                self.bytes += len(line)


class Page(threading.Thread):
    """A share of the browsers' calls, at the pace of their pages, with the tag of the answer before; how long each took."""

    def __init__(self, reach, stop, share, shares):
        super().__init__(daemon=True)
        self.client, self.stop, self.took, self.sizes = Client(reach), stop, {}, {}
        self.due = [(60 / (count * BROWSERS) * (share + 1), 60 / (count * BROWSERS) * shares, path) for path, count in CALLS.items()]
        self.tags = {}

    def run(self):
        start = time.monotonic()
        while not self.stop.is_set():
            self.due.sort()
            at, every, path = self.due[0]
            time.sleep(max(0, min(0.5, start + at - time.monotonic())))
            if time.monotonic() < start + at:
                continue
            self.due[0] = (at + every, every, path)
            headers = {"If-None-Match": self.tags[path]} if path in self.tags else {}
            seconds, status, got, text = self.client.call("GET", path, **headers)
            if status not in (200, 304):
                sys.exit(f"bench: {path}: {status}")
            self.tags[path] = got.get("ETag") or ""
            self.took.setdefault(path, []).append(seconds)
            self.sizes[path] = max(self.sizes.get(path, 0), len(text))


def handler_times(reach):
    """{upper bound in ms: requests up to it} of reading requests, from the console's own /metrics: without the client's part, and the queue's."""
    connection = http.client.HTTPSConnection(*reach["ui"].rsplit(":", 1), context=reach["context"], timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return {float(bound) * 1000: int(n) for bound, n in re.findall(r'request_seconds_bucket\{kind="read",le="([^"]+)"\} (\d+)', text)}


def handler_p99(before, after):
    """The bound below which 99 of 100 requests between two looks were."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    return next(bound for bound in sorted(counts) if counts[bound] >= 0.99 * counts[float("inf")])


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0


def measure(bench, reach):
    """Calls at the pace of all browsers together over SECONDS; rows for the table, and the console's share of a CPU."""
    stop, shares = threading.Event(), 8
    readers = [Reader(reach, stop) for _ in range(BROWSERS)]
    pages = [Page(reach, stop, share, shares) for share in range(shares)]
    cpu, start = bench.cpu_seconds(reach["process"].pid), time.monotonic()
    for thread in readers + pages:
        thread.start()
    for number in range(SECONDS):  # something happens meanwhile, for who follows
        time.sleep(1)
        if number % 5 == 0:
            Client(reach).call("POST", "/agent-configs", {"tags": ["bench"]})
    stop.set()
    for page in pages:
        page.join(60)
    busy = (bench.cpu_seconds(reach["process"].pid) - cpu) / (time.monotonic() - start)
    heard = min(reader.bytes for reader in readers)
    rows, everything = [], []
    for path in CALLS:
        took = [seconds for page in pages for seconds in page.took.get(path, [])]
        everything += took
        size = max(page.sizes.get(path, 0) for page in pages)
        rows.append([path, f"{len(took)}", f"{size / 1000:.0f} KB", *(f"{percentile(took, part) * 1000:.1f}" for part in (0.5, 0.99))])
    rows.append(["all of a page's calls", f"{len(everything)}", "", *(f"{percentile(everything, part) * 1000:.1f}" for part in (0.5, 0.99))])
    return rows, busy, heard, percentile(everything, 0.99) * 1000


def run(bench):
    subprocess.run(["ninja", "-C", bench.BUILD, "--quiet", "bench/bench_fleet", "fairlead-console"], check=True)
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as name:
        folder = pathlib.Path(name)
        (folder / "state").mkdir(mode=0o700)
        with console(bench, folder):
            pass
        enrol(bench, folder)
        with console(bench, folder) as reach:
            alone = bench.resident_kb(reach["process"].pid)
            started, cpu = time.monotonic(), bench.cpu_seconds(reach["process"].pid)
            fleet = subprocess.Popen([bench.BUILD / "bench/bench_fleet", "run", folder, reach["agents"], str(AGENTS), str(EVERY)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                if fleet.stdout.readline().strip() != "ready":
                    sys.exit("bench: the agents gave up")
                there = time.monotonic() - started
                spent = (bench.cpu_seconds(reach["process"].pid) - cpu) * 1000 / AGENTS
                order(Client(reach))
                time.sleep(2 * EVERY)  # until all report
                with_all = bench.resident_kb(reach["process"].pid)
                cpu, start = bench.cpu_seconds(reach["process"].pid), time.monotonic()
                time.sleep(2 * EVERY)
                quiet = (bench.cpu_seconds(reach["process"].pid) - cpu) / (time.monotonic() - start)
                before = handler_times(reach)
                rows, busy, heard, worst = measure(bench, reach)
                inside = handler_p99(before, handler_times(reach))
                bench.table(f"{AGENTS} agents that report each {EVERY} s, {JOBS} jobs, {BROWSERS} browsers", ["call", "number", "answer", "median ms", "p99 ms"], rows)
                print(f"  all agents connected within {there:.1f} s, {spent:.1f} ms of the console's CPU each; memory {alone / 1024:.0f} MiB before, "
                      f"{with_all / 1024:.0f} MiB with them ({(with_all - alone) / AGENTS:.0f} KiB each), {bench.resident_kb(reach['process'].pid) / 1024:.0f} MiB with the browsers")
                print(f"  the console's CPU: {quiet * 100:.0f} % of one with the reports alone, {busy * 100:.0f} % with the browsers; each stream brought at least {heard} bytes")
                print(f"  p99 below {GOAL_MS} ms: {'yes' if worst < GOAL_MS else 'NO'}; inside the console, as it counts itself, at most {inside:g} ms")
            finally:
                fleet.stdin.close()
                fleet.wait()
