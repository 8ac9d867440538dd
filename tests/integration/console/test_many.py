"""A store with ten million things that happened to files: it starts, answers and forgets them without holding anybody up."""

import contextlib
import os
import sqlite3
import threading
import time

import pytest
import schemas

import fairlead

ROWS = int(os.environ.get("FAIRLEAD_ROWS", "10000000"))


def fill(path, rows):
    """A run that did not do @rows files, each with its reason."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;")
        database.execute(f"""
            WITH RECURSIVE count(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM count WHERE i <= {rows})
            INSERT INTO flow_errors(run, flow, source, number, name, code, text)
            SELECT x'{schemas.IDS['r']}', x'{schemas.IDS['f']}', 1, i, 'folder/' || (i / 1000) || '/file-' || i, 'EACCES', 'Permission denied' FROM count""")
        database.execute(f"UPDATE flows SET files_total = {rows}, files_failed = {rows}")
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")


class Watch(threading.Thread):
    """Asks again and again, and knows the longest that an answer took."""

    def __init__(self, console):
        super().__init__(daemon=True)
        self.console, self.stop, self.longest, self.asked = console, threading.Event(), 0.0, 0

    def run(self):
        while not self.stop.is_set():
            start = time.monotonic()
            self.console.rest("GET", "/status")
            self.longest = max(self.longest, time.monotonic() - start)
            self.asked += 1
            time.sleep(0.02)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()


def timed(what, call):
    start = time.monotonic()
    answer = call()
    took = time.monotonic() - start
    print(f"{what}: {took * 1000:.0f} ms")
    return answer, took


@pytest.mark.long
def test_ten_million_file_events(world, tmp_path):
    console = fairlead.Console(world)
    console.state.mkdir(mode=0o700)
    schemas.make(console.state / "console.db", max(schemas.STEPS), "00" * 32)
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
        database.execute("DELETE FROM api_tokens")  # so that the first start makes one
        database.execute("DELETE FROM deliveries")
        database.commit()
    timed(f"{ROWS} rows", lambda: fill(console.state / "console.db", ROWS))
    print(f"{(console.state / 'console.db').stat().st_size / 1e6:.0f} MB")
    console.start()  # which reads all of it once, to see that it is whole
    timed("start", lambda: fairlead.until("the console", lambda: (console.state / "addresses.json").exists(), timeout=300))
    console.ready()
    run = console.rest("GET", "/jobs/photos")["run"]["id"]
    pages = [("first page", f"/runs/{run}/errors?limit=1000"), ("a page in the middle", f"/runs/{run}/errors?limit=1000&after={ROWS // 2}"),
             ("the last page", f"/runs/{run}/errors?limit=1000&after={ROWS - 500}"), ("jobs", "/jobs"), ("the run", f"/runs/{run}"), ("status", "/status")]
    for what, path in pages:
        answer, took = timed(what, lambda path=path: console.rest("GET", path))
        assert took < 2 * fairlead.SLOW, what
        if "errors" in path:
            assert 400 < len(answer["items"]) <= 1000
    with Watch(console) as watch:
        timed("backup", lambda: console.cli("backup", tmp_path / "backup", timeout=600))
    print(f"status meanwhile: {watch.asked} times, at most {watch.longest * 1000:.0f} ms")
    assert watch.longest < 3 * fairlead.SLOW
    with Watch(console) as watch:
        timed("removal of the job", lambda: console.cli("job", "remove", "photos", timeout=600))
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and count(console) > 0:
            time.sleep(1)
    print(f"status meanwhile: {watch.asked} times, at most {watch.longest * 1000:.0f} ms")
    assert count(console) == 0
    assert watch.longest < 3 * fairlead.SLOW
    assert console.items("/jobs") == []
    assert console.stop() == 0


def count(console):
    with contextlib.closing(sqlite3.connect(f"file:{console.state / 'console.db'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM (SELECT 1 FROM flow_errors LIMIT 1)").fetchone()[0]
