"""bench/run paths: one job over two proxies, each capped; one of them slow; one of them killed or frozen in mid-transfer."""

import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

CAP = 100e6 / 8 / 1024  # KiB/s: 100 Mbit/s


class Pace:
    """When bytes came in at a target, watched in a thread."""

    def __init__(self, target):
        self.target, self.at, self.size, self.longest, self.since, self.over = target, None, 0, 0.0, None, False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _fill(self):
        try:
            return sum(path.lstat().st_blocks * 512 for path in pathlib.Path(self.target).rglob("*") if not path.is_dir())
        except OSError:
            return self.size

    def _watch(self):
        while not self.over:
            size, now = self._fill(), time.monotonic()
            if self.since and self.at:
                self.longest = max(self.longest, now - max(self.at, self.since))
            if size > self.size:
                self.at, self.size = now, size
            time.sleep(0.01)

    def stop(self):
        self.over = True
        self.thread.join()


def move(fairlead, folder, name, caps, break_it=None):
    """One job of the file in @folder/source. Returns (seconds, longest pause after the break, bytes sent beyond the size)."""
    world = fairlead.World("paths")
    failed = True
    source, target = folder / "source", folder / f"target-{name}"
    size = sum(path.stat().st_size for path in source.iterdir())
    try:
        console = world.console()
        proxies = {}
        for proxy, cap in caps.items():
            proxies[proxy] = world.proxy(proxy, change=lambda config, cap=cap: config.setdefault("limits", {}).update(rate_session=int(cap)))
        agents = [world.agent(agent, via=list(caps), direct="never") for agent in ("a", "b")]
        start = time.monotonic()
        job = console.job("distribution", "paths", [f"a:{source}"], [f"b:{target}"])
        pace = None
        if break_it:
            agents[1].wait_log("further way")
            pace = Pace(target)
            fairlead.until("a third of the data", lambda: pace.size > size / 3, 60, 0.01)
            pace.since = time.monotonic()
            break_it(proxies)
            fairlead.until("nearly all of the data", lambda: pace.size > 0.97 * size, 120, 0.01)
            pace.stop()
        job.wait(timeout=300)
        seconds = time.monotonic() - start
        subprocess.run(["diff", "-r", source, target], check=True)
        for proxy in proxies.values():
            proxy.signal(signal.SIGCONT) if proxy.running() else None
        # What was sent into a dead way counts as well: the source says so when that tunnel ends.
        fairlead.until("every tunnel to end at the source", lambda: agents[0].log().count("flow served") >= len(caps), 90)
        sent = sum(int(n) for n in re.findall(r"flow served.*?bytes=(\d+)", agents[0].log()))
        failed = False
    finally:
        world.close(failed=failed)
        shutil.rmtree(target, ignore_errors=True)
    return seconds, pace.longest if pace else 0.0, max(0, sent - size)


def run(bench):
    sys.path.insert(0, str(bench.ROOT / "tests/integration"))
    import fairlead

    megabytes = int(os.environ.get("BENCH_MB", "300"))
    cases = {
        "one proxy, 100 Mbit/s": ({"east": CAP}, None),
        "two, 100 Mbit/s each": ({"east": CAP, "west": CAP}, None),
        "two, 100 and 10 Mbit/s": ({"east": CAP, "west": CAP / 10}, None),
        "two, one killed": ({"east": CAP, "west": CAP}, lambda proxies: proxies["east"].kill()),
        "two, one frozen": ({"east": CAP, "west": CAP}, lambda proxies: proxies["east"].signal(signal.SIGSTOP)),
    }
    found = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "source"
        source.mkdir()
        with open(source / "big", "wb") as big:
            for _ in range(megabytes):
                big.write(os.urandom(1000000))
        for _ in range(bench.RUNS):  # alternating, so that a busy minute hits all alike
            for number, (name, (caps, break_it)) in enumerate(cases.items()):
                found[name].append(move(fairlead, pathlib.Path(folder), str(number), caps, break_it))
    rate = {name: statistics.median(megabytes * 8 / runs[0] for runs in found[name]) for name in cases}
    alone = rate["one proxy, 100 Mbit/s"]
    goals = {"two, 100 Mbit/s each": ("≥ 180 Mbit/s", rate["two, 100 Mbit/s each"] >= 180),
             "two, 100 and 10 Mbit/s": ("≥ 0.90 × one", rate["two, 100 and 10 Mbit/s"] >= 0.9 * alone)}
    rows = []
    for name, runs in found.items():
        broken = cases[name][1] is not None
        gap, again = statistics.median(r[1] for r in runs), statistics.median(r[2] for r in runs) / (1 << 20)
        if broken:
            goals[name] = ("gap ≤ 2 s, ≤ 16 MiB", gap <= 2 and again <= 16)
        goal, met = goals.get(name, ("", True))
        rows.append([name, f"{rate[name]:.0f}", f"{rate[name] / alone:.2f}", f"{gap:.2f}" if broken else "", f"{again:.1f}",
                     goal, "" if not goal else "met" if met else "MISSED"])
    bench.table(f"One job of {megabytes} MB over proxies that are capped, medians of {bench.RUNS} alternating runs",
                ["ways", "Mbit/s", "× one", "longest pause s", "sent again MiB", "goal", ""], rows)
