"""Legs by QUIC through real programs: any mix with TCP, and what happens to UDP on real lines."""

import pytest
import trees

BOTH = ("tcp", "udp")


def paths(run):
    return [flow["path"] for flow in run["flows"]]


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_any_mix_carries_both_kinds_of_job(world, first, second):
    """A on TCP or UDP, B on TCP or UDP: distribution, then consolidation, equal hashes, and the path is told as it is."""
    console = world.console()
    world.proxy("dmz")
    world.agent("a", via=["dmz"], direct="never", transport=first)
    world.agent("b", via=["dmz"], direct="never", transport=second)
    source, target, together = world.path("source"), world.path("target"), world.path("together")
    trees.odd_tree(source)
    trees.random_file(source / "large", 20 << 20)
    run = console.job("distribution", "out", [f"a:{source}"], [f"b:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert paths(run) == [f"proxy dmz {second}"], "who asks tells its own leg's kind"
    run = console.job("consolidation", "in", [f"b:{target}"], [f"a:{together}"]).wait()
    assert trees.differences(target, together / "b") == []
    assert paths(run) == [f"proxy dmz {first}"]


def test_three_endpoints_on_mixed_transports(world):
    """The console by UDP, one agent by UDP, one by TCP, one left to choose."""
    console = world.console(extra=["--config", world.write("console.json", {"transport": "udp"})])
    proxy = world.proxy("dmz")
    for name, transport in (("u", "udp"), ("t", "tcp"), ("x", "auto")):
        world.agent(name, via=["dmz"], direct="never", transport=transport)
    source, one, two = world.path("source"), world.path("one"), world.path("two")
    trees.odd_tree(source)
    run = console.job("distribution", "spread", [f"u:{source}"], [f"t:{one}", f"x:{two}"]).wait()
    assert trees.differences(source, one) == [] and trees.differences(source, two) == []
    assert paths(run) == ["proxy dmz tcp", "proxy dmz tcp"], "on a short line auto is TCP"
    agents = {agent["name"]: agent["path"] for agent in console.items("/agents")}
    assert agents == {"u": "proxy dmz udp", "t": "proxy dmz udp", "x": "proxy dmz udp"}, "the console's own leg"
    assert proxy.running()
