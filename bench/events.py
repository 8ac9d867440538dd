"""The part of bench/run about what has happened: a console with ten million events, found by every filter, saved as a file, beside the calls of a page.

BENCH_EVENTS (10000000), BENCH_CALLS (100, of each kind); BENCH_KEPT: a folder where the filled store is kept for the next time.
"""

import contextlib
import os
import pathlib
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

import console as base

EVENTS = int(os.environ.get("BENCH_EVENTS", "10000000"))
CALLS = int(os.environ.get("BENCH_CALLS", "100"))
AGENTS, JOBS = 2000, 200
FIRST = 1700000000
GOAL_MS = 100
INDEXES = ("time", "level", "kind", "about")


def rows(agents, jobs):
    """Events of a fleet that is seldom quiet; a thousandth are errors."""
    dice, when = random.Random(1), FIRST
    for number in range(EVENTS):
        when += dice.random() < 0.7
        agent, job = dice.choice(agents), dice.choice(jobs)
        kind, level, text, about = dice.choices((
            ("agent.online", 0, f"agent {agent[1]} is online by proxy hub-{number % 20} tcp", agent[0]),
            ("agent.offline", 1, f"agent {agent[1]} is offline: connection reset by peer", agent[0]),
            ("run.started", 0, f"run {number} of job {job[1]} started", job[0]),
            ("run.finished", 0, f"run {number} of job {job[1]} is done", job[0])), (40, 40, 10, 10))[0]
        if dice.random() < 0.001:
            kind, level, text = "run.finished", 2, f"run {number} of job {job[1]} failed: disk full at {agent[1]}"
        yield when, level, kind, about, text, about


def fill(path):
    """Into a store whose console does not run; indexes are made at the end, as that is faster."""
    agents = [(os.urandom(16), f"agent-{number:05}") for number in range(AGENTS)]
    jobs = [(os.urandom(16), f"nightly-{number:03}") for number in range(JOBS)]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        made = [database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (f"events_{name}",)).fetchone()[0] for name in INDEXES]
        database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; BEGIN;" + "".join(f"DROP INDEX events_{name};" for name in INDEXES))
        database.executemany("INSERT INTO agents VALUES(?, ?, 1, zeroblob(16), '', '', '', '', 1, 1, 2147483647)", agents)
        database.executemany("INSERT INTO jobs(id, name, kind, created) VALUES(?, ?, 0, 1)", jobs)
        database.executemany("INSERT INTO events(time, level, kind, subject, text, about) VALUES(?, ?, ?, ?, ?, ?)", rows(agents, jobs))
        database.executescript("BEGIN; " + ";".join(made) + "; INSERT INTO events_text(rowid, text) SELECT n, text FROM events; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")


def questions():
    middle = FIRST + int(EVENTS * 0.35)
    window = f"since={middle}&until={middle + 3600}"
    return {
        "the newest": "", "in the middle of all": f"before={EVENTS // 2}", "errors": "level=error", "warnings": "level=warn", "one kind": "kind=run.finished",
        "one agent": "agent=agent-00777", "one job": "job=nightly-077", "an hour of long ago": window, "an hour, errors": f"{window}&level=error",
        "one agent, one kind, an hour": f"agent=agent-00777&kind=agent.offline&{window}", "a text in half of all": "text=agent", "a text in few": f"text=run%20{EVENTS // 3}%20",
        "a text in none": "text=no%20such%20thing", "a text in one kind": "kind=agent.online&text=agent-00777", "errors with a text": "level=error&text=agent-00777",
        "what no event is": "level=error&kind=agent.online",
    }


def ask(client, query):
    """Returns (seconds, items, whether it says that more may follow)."""
    seconds, status, _, text = client.call("GET", f"/events?order=newest&limit=100&{query}")
    if status != 200:
        sys.exit(f"bench: {query}: {text.decode()}")
    answer = base.json.loads(text)
    return seconds, len(answer["items"]), answer["next"] is not None


def times(took):
    return [f"{base.percentile(took, part) * 1000:.1f}" for part in (0.5, 0.99)]


def measure_pages(client, stop, took):
    while not stop.is_set():
        for path in ("/status", "/jobs?flows=1", "/flows?limit=100", "/events?order=newest&limit=100"):
            took.append(client.call("GET", path)[0])
        time.sleep(0.05)


def run(bench):
    kept = os.environ.get("BENCH_KEPT")
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as name:
        folder = pathlib.Path(kept or name)
        store = folder / "state/console.db"
        if not store.exists():
            (folder / "state").mkdir(mode=0o700, parents=True)
            with base.console(bench, folder):
                pass
            started = time.monotonic()
            fill(store)
            print(f"  {EVENTS} events written in {time.monotonic() - started:.0f} s", flush=True)
        (folder / "console.json").write_text(f'{{"events_kept": {max(EVENTS, 1000) * 2}}}')
        bench.CONSOLE_OPTIONS = ["--config", str(folder / "console.json")]
        started = time.monotonic()
        with base.console(bench, folder) as reach:
            begun = time.monotonic() - started
            client = base.Client(reach)
            table = []
            worst = 0
            for what, query in questions().items():
                took = [ask(client, query) for _ in range(CALLS)]
                seconds = [row[0] for row in took]
                worst = max(worst, base.percentile(seconds, 0.99) * 1000)
                table.append([what, f"{took[0][1]}{' and more' if took[0][2] else ''}", *times(seconds)])
            bench.table(f"{EVENTS} events, each question {CALLS} times", ["events", "found", "median ms", "p99 ms"], table)
            stop, alone, beside = threading.Event(), [], []
            for path in ("/status", "/jobs?flows=1", "/flows?limit=100"):
                alone += [client.call("GET", path)[0] for _ in range(CALLS)]
            reader = threading.Thread(target=measure_pages, args=(base.Client(reach), stop, beside))
            reader.start()
            started = time.monotonic()
            _, status, _, text = client.call("GET", f"/events?export=csv&until={FIRST + 140000}")
            spent = time.monotonic() - started
            stop.set()
            reader.join()
            lines = text.count(b"\r\n") - 1
            print(f"  a page's other calls: median {times(alone)[0]} ms, p99 {times(alone)[1]} ms; while {lines} events are saved as CSV ({lines / spent:.0f} a second): "
                  f"median {times(beside)[0]} ms, p99 {times(beside)[1]} ms")
            print(f"  the store: {store.stat().st_size / 1e6:.0f} MB, {store.stat().st_size / EVENTS:.0f} bytes an event; the console was there after {begun:.1f} s, and has "
                  f"{bench.resident_kb(reach['process'].pid) / 1024:.0f} MiB; p99 below {GOAL_MS} ms: {'yes' if worst < GOAL_MS else 'NO'}")
        if kept:
            return
        shutil.rmtree(folder / "state", ignore_errors=True)
