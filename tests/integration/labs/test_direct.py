"""Agents that reach each other without a proxy: by QUIC or TCP, whichever the network lets pass."""

import time

import fairlead
import pytest
import trees

from .conftest import PUBLIC
from .test_paths import Growth

A, B = "203.0.113.21", "203.0.113.22"
PORT = 3839


@pytest.fixture
def open_net(lab, world):
    """Agents a and b (not started) with public addresses, console and proxy beside them."""
    for name, address in (("dmz", PUBLIC), ("a", A), ("b", B)):
        lab.wan_host(name, address)
    world.lab = lab
    world.hq = world.console(netns=lab.ns("dmz"))
    world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    return world


def start_agents(world, **keys):
    """One way to each, the address that the console tells: on the same bridge they would find each other's IPv6 as well."""
    for name in ("a", "b"):
        world.agent(name, via=["dmz"], netns=world.lab.ns(name), port=PORT, lan_discovery=False, **keys)


def forbid(world, what):
    """Nothing of @what, an nft match, goes from one agent to the other; what is known to the firewall too."""
    for name, peer in (("a", B), ("b", A)):
        world.lab.nft(name, f"table ip cut {{ chain in {{ type filter hook input priority -300; ip saddr {peer} {what} drop; }}; }}")


def allow(world):
    for name in ("a", "b"):
        world.lab.run(name, ["nft", "delete", "table", "ip", "cut"])


def folder(world, megabytes):
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", megabytes << 20)
    return source, target


@pytest.mark.parametrize("blocked, path", [("meta l4proto udp", "direct tcp"), ("meta l4proto tcp", "direct udp"), ("", "proxy dmz tcp")])
def test_what_the_network_lets_pass(open_net, blocked, path):
    """UDP blocked between the two: TCP. TCP blocked: QUIC. Both: the proxy."""
    start_agents(open_net)
    forbid(open_net, blocked)
    source, target = folder(open_net, 8)
    run = open_net.hq.job("distribution", "one", [f"a:{source}"], [f"b:{target}"]).wait()
    assert [flow["path"] for flow in run["flows"]] == [path]
    assert trees.differences(source, target) == []


def test_transport_holds_for_peers_too(open_net):
    """`transport: udp` asks a peer by QUIC and nothing else."""
    start_agents(open_net, transport="udp")
    source, target = folder(open_net, 8)
    run = open_net.hq.job("distribution", "one", [f"a:{source}"], [f"b:{target}"]).wait()
    assert [flow["path"] for flow in run["flows"]] == ["direct udp"]
    assert trees.differences(source, target) == []


def slowly(world, rate=4096):
    """64 MB from a to b at @rate KiB/s, by b's own limit; source, target."""
    start_agents(world, rate_limit_download=rate)
    return folder(world, 64)


def begin(world, source, target):
    job = world.hq.job("distribution", "one", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("the first bytes", lambda: trees.on_disk(target) >= 1 << 20, 60)
    return job


def carries(world):
    """The ways that carry now, as the console shows them: "direct", "proxy". (Either kind of direct one may be the first to get through.)"""
    return sorted(way["via"].split()[0] for way in world.hq.items("/tunnels") if way["state"] == "carries")


def test_moves_to_a_direct_way_that_comes_up(open_net):
    """Relayed at once; when the firewall opens all goes directly, and the proxy has nothing more to do. What the relayed way was
    asked for already, up to 15 MiB, still comes by it; there is enough left after that to see."""
    source, target = slowly(open_net, 6144)
    forbid(open_net, "")
    job = begin(open_net, source, target)
    assert carries(open_net) == ["proxy"]
    allow(open_net)
    fairlead.until("a direct way", lambda: "direct" in carries(open_net), 30)
    fairlead.until("the relayed one to go", lambda: carries(open_net) == ["direct"], 30)
    job.wait()
    assert trees.differences(source, target) == []
    fairlead.until("the proxy's last word", lambda: open_net.hq.wait_proxy("dmz")["report"]["sessions"] <= 3, 20)
    assert open_net.hq.wait_proxy("dmz")["report"]["bytes"] < 56 << 20, "of 64 MB some went by"


@pytest.mark.parametrize("times", [1, 2])
def test_a_direct_way_that_breaks_is_not_missed(open_net, times):
    """Cut by a firewall in mid-transfer: the proxy takes over; and once more when it came back and went again. (The pause is
    1.5 s where the machine has nothing else to do; what is asserted leaves room for one that has.)"""
    source, target = slowly(open_net)
    job = begin(open_net, source, target)
    growth, since = Growth(target), time.monotonic()
    assert carries(open_net) == ["direct"]
    for last in range(times, 0, -1):
        forbid(open_net, "")
        fairlead.until("the proxy to carry", lambda: carries(open_net) == ["proxy"], 20)
        allow(open_net)
        if last > 1:
            fairlead.until("the direct way again", lambda: carries(open_net) == ["direct"], 20)
    run = job.wait(timeout=90)
    growth.stop()
    assert trees.differences(source, target) == []
    assert run["files_failed"] == 0
    assert growth.gap(since, 63 << 20) < 6 * fairlead.SLOW
    assert run["bytes_moved"] <= (64 + 16 * times) << 20, "no more than 16 MiB came twice each time"


@pytest.mark.long
def test_a_direct_way_comes_and_goes(open_net):
    """Every ten seconds, for a minute: no error, no pause beyond what is needed to notice, and equal files."""
    start_agents(open_net, rate_limit_download=2048)
    source, target = folder(open_net, 120)
    job = begin(open_net, source, target)
    for _ in range(3):
        forbid(open_net, "")
        before = trees.on_disk(target)
        time.sleep(10)
        assert trees.on_disk(target) - before > 8 << 20, "20 MB were due"
        allow(open_net)
        before = trees.on_disk(target)
        time.sleep(10)
        assert trees.on_disk(target) - before > 12 << 20
    run = job.wait(timeout=120)
    assert trees.differences(source, target) == []
    assert run["files_failed"] == 0
