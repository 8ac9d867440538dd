"""Agents that reach each other without a proxy: by QUIC or TCP, whichever the network lets pass."""

import fairlead
import pytest
import trees

from .conftest import PUBLIC

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
    for name in ("a", "b"):
        world.agent(name, via=["dmz"], netns=world.lab.ns(name), port=PORT, **keys)


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
