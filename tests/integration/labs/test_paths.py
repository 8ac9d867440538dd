"""Several proxies at once: their rates add up, a slow one holds nothing back, and one that goes is not missed."""

import signal
import threading
import time

import fairlead
import pytest
import trees

MB = 1 << 20
RATE = 8  # MiB/s of a capped proxy: far from what a busy machine can do
ADDRESSES = {"east": "203.0.113.81", "west": "203.0.113.82"}


@pytest.fixture
def two(lab, world):
    """home-a and home-b behind NATs of their own, headquarters behind one too, and two proxies on hosts of their own.

    Gives a function that starts all with a cap on each proxy in KiB/s (0: none); the world has .hq, .a, .b, .proxies by name.
    """
    def start(**rates):
        lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
        lab.natted("home-b", "203.0.113.12", "192.168.12.0/24")
        lab.natted("hq", "203.0.113.13", "10.9.0.0/24")
        world.lab, world.hq, world.proxies = lab, world.console(netns=lab.ns("hq")), {}
        for name, address in ADDRESSES.items():
            def cap(config, rate=rates.get(name, 0)):
                config.setdefault("limits", {})["rate_session"] = rate
            lab.wan_host(name, address)
            world.proxies[name] = world.proxy(name, address=f"{address}:1080", listen="0.0.0.0:1080", netns=lab.ns(name), change=cap)
        world.a = world.agent("home-a", via=list(ADDRESSES), netns=lab.ns("home-a"), direct="never")
        world.b = world.agent("home-b", via=list(ADDRESSES), netns=lab.ns("home-b"), direct="never")
        for agent in (world.a, world.b):
            for address in ADDRESSES.values():
                agent.wait_log(rf"registered at proxy.*{address}")
        return world
    return start


class Growth:
    """Watches how a target grows, in a thread: the longest time without growth, and the rate between two fills."""

    def __init__(self, target):
        self.target, self.samples, self.over = target, [], False
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.over:
            self.samples.append((time.monotonic(), trees.on_disk(self.target)))
            time.sleep(0.02)

    def stop(self):
        self.over = True
        self.thread.join()

    def gap(self, since, until):
        """Seconds without a byte, the longest, while the fill was below @until."""
        longest, last, fill = 0, since, None
        for at, size in self.samples:
            if at < since or size >= until:
                continue
            if fill is None or size > fill:
                longest, last, fill = max(longest, at - last), at, size
        return longest

    def rate(self, low, high):
        """Bytes a second between two fills."""
        first = next(sample for sample in self.samples if sample[1] >= low)
        last = next(sample for sample in self.samples if sample[1] >= high)
        return (last[1] - first[1]) / (last[0] - first[0])


def start_job(world, size):
    """A file of @size on its way from home-a to home-b."""
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "big", size)
    job = world.hq.job("distribution", "paths", [f"home-a:{source}"], [f"home-b:{target}"])
    return source, target, job


def ways(world):
    """State and note of each way, by the proxy's name, as the console shows them."""
    found = {}
    for tunnel in world.hq.items("/tunnels"):
        assert (tunnel["source"]["name"], tunnel["target"]["name"]) == ("home-a", "home-b")
        assert tunnel["relayed"] and tunnel["since"]
        found[tunnel["via"].split()[1]] = tunnel
    return found


def states(world):
    return {name: tunnel["state"] for name, tunnel in ways(world).items()}


def passed(world):
    """Bytes that each proxy says it has passed on."""
    return {proxy["name"]: proxy["report"]["bytes"] for proxy in world.hq.items("/proxies")}


def test_rates_add_up(two):
    world = two(east=RATE * 1024, west=RATE * 1024)
    source, target, job = start_job(world, 64 * MB)
    growth = Growth(target)
    world.b.wait_log("further way")
    low = trees.on_disk(target) + 2 * MB  # from here on both carry
    job.wait()
    growth.stop()
    assert trees.differences(source, target) == []
    rate = growth.rate(low, low + 20 * MB)
    assert rate >= 1.7 * RATE * MB, f"{rate / MB:.1f} MiB/s over two proxies of {RATE} MiB/s"
    fairlead.until("both proxies to report what they passed", lambda: all(n > 12 * MB for n in passed(world).values()))


def test_a_slow_one_does_not_hold_back(two):
    """What is first asked for over the slow one alone would take it half a minute."""
    world = two(east=RATE * 1024, west=64)
    begin = time.monotonic()
    source, target, job = start_job(world, 48 * MB)
    job.wait()
    took = time.monotonic() - begin
    assert trees.differences(source, target) == []
    assert took < 20, f"{took:.1f} s"


def die(world):
    world.proxies["east"].kill()


def drop(world):
    """A firewall between that says nothing."""
    world.lab.nft("east", """
table ip cut {
  chain input { type filter hook input priority -10; policy drop; }
  chain output { type filter hook output priority -10; policy drop; }
}
""")


def freeze(world):
    world.proxies["east"].signal(signal.SIGSTOP)


def drain(world):
    world.hq.cli("proxy", "drain", "east")


@pytest.mark.parametrize("how", [die, drop, freeze, drain], ids=lambda how: how.__name__)
def test_a_proxy_goes_in_mid_transfer(two, how):
    """No run fails, data flows on, and little comes twice."""
    size = 64 * MB
    rate = (RATE // 2 if how is die else RATE) * 1024  # slow enough to be looked at meanwhile
    world = two(east=rate, west=rate)
    source, target, job = start_job(world, size)
    growth = Growth(target)
    world.b.wait_log("further way")
    fairlead.until("a quarter of the data", lambda: trees.on_disk(target) > size // 4, every=0.01)
    if how is die:
        fairlead.until("both ways to be shown", lambda: states(world) == {"east": "carries", "west": "carries"})
    broken = time.monotonic()
    how(world)
    if how is die:  # the others cut the way to the console as well, for some seconds
        gone = fairlead.until("the lost way to be shown", lambda: states(world).get("east") == "failed" and ways(world))
        assert gone["west"]["state"] == "carries"
        table = world.hq.cli("tunnel", "list").stdout
        assert "home-a" in table and "east" in table and "carries" in table
    run = job.wait(timeout=90)
    growth.stop()
    if how is freeze:
        world.proxies["east"].signal(signal.SIGCONT)
    if how is drop:
        world.lab.nft("east", "delete table ip cut")
    assert trees.differences(source, target) == []
    assert trees.leftovers(target) == []
    assert run["files_failed"] == 0
    assert run["bytes_moved"] <= size + 16 * MB
    gap = growth.gap(broken, size - MB)
    assert gap <= 5, f"nothing came for {gap:.1f} s"
    print(f"{how.__name__}: gap {gap:.2f} s, {max(0, run['bytes_moved'] - size) / MB:.1f} MiB twice")
