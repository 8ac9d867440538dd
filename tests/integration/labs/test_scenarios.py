"""The promises of who can reach whom, each in a network with real NAT."""

import re
import subprocess

import pytest
import trees

from .conftest import PUBLIC



def proxy_bytes(console, name="dmz"):
    """Bytes that a proxy says it has passed on."""
    return next(p for p in console.items("/proxies") if p["name"] == name)["report"]["bytes"]


def reachable(lab, source, address, port):
    """Can a TCP connection be made at all?"""
    probe = f"import socket; socket.create_connection(('{address}', {port}), 1)"
    return subprocess.run(lab.argv(source, ["/usr/bin/python3", "-c", probe]), capture_output=True, check=False).returncode == 0


def test_two_nats_everything_arrives(homes):
    """No direct path: every kind of file crosses through the proxy, equal in name, content, mode and time."""
    source, target = homes.path("source"), homes.path("target")
    trees.odd_tree(source)
    trees.random_file(source / "300 MB", 300 << 20)
    trees.sparse_file(source / "sparse", 1 << 30)
    trees.small_files(source / "many", 20_000)
    run = homes.hq.job("distribution", "all", [f"home-a:{source}"], [f"home-b:{target}"]).wait(timeout=180)
    assert trees.differences(source, target) == []
    assert trees.leftovers(target) == []
    assert trees.disk_use(target / "sparse") < 8 << 20, "the sparse file has lost its holes"
    assert run["files_failed"] == 0
    (flow,) = run["flows"]
    assert flow["path"] == "proxy dmz tcp"
    assert not homes.hq.items(f"/runs/{run['id']}/errors")


def test_direct_path_needs_no_proxy(lab, world):
    """Two agents in one LAN, console direct: a job runs with no proxy anywhere."""
    lab.wan_host("one", "203.0.113.21")
    lab.wan_host("two", "203.0.113.22")
    console = world.console(netns=lab.ns("one"), host="203.0.113.21")
    for name in ("one", "two"):
        world.agent(name, netns=lab.ns(name), port=3839)
    source, target = world.path("source"), world.path("target")
    trees.odd_tree(source)
    run = console.job("distribution", "lan", [f"one:{source}"], [f"two:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert run["flows"][0]["path"] == "direct tcp"


def test_direct_path_is_preferred(lab, world):
    """With a proxy and a direct path, the direct one carries the data."""
    lab.wan_host("dmz", PUBLIC)
    lab.wan_host("one", "203.0.113.21")
    lab.natted("two", "203.0.113.12", "192.168.12.0/24")
    console = world.console(netns=lab.ns("dmz"))
    world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    world.agent("one", via=["dmz"], netns=lab.ns("one"), port=3839)
    world.agent("two", via=["dmz"], netns=lab.ns("two"))
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", 32 << 20)
    run = console.job("distribution", "direct", [f"one:{source}"], [f"two:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert run["flows"][0]["path"] == "direct tcp"
    assert proxy_bytes(console) < 4 << 20


def test_console_reached_only_through_the_proxy(homes):
    """Agents enrol, get jobs and report although nothing at headquarters can be dialled; and neither home can dial the other."""
    lab = homes.lab
    port = homes.hq.agents.rsplit(":", 1)[1]
    assert not reachable(lab, "home-a", "203.0.113.13", port)
    assert not reachable(lab, "dmz", "203.0.113.13", port)
    assert not reachable(lab, "home-a", "203.0.113.12", 3839)
    assert reachable(lab, "home-a", PUBLIC, 1080)
    assert {a["name"]: a["state"] for a in homes.hq.items("/agents")} == {"home-a": "online", "home-b": "online"}
    source, target = homes.path("source"), homes.path("target")
    trees.odd_tree(source)
    homes.hq.job("distribution", "hello", [f"home-b:{source}"], [f"home-a:{target}"]).wait()
    assert trees.differences(source, target) == []


def test_everything_on_one_host_and_two_proxies(world):
    """Console, two proxies and agents share a host; each agent knows another proxy first, both know both later."""
    console = world.console()
    world.proxy("p1")
    world.proxy("p2")
    world.agent("a", via=["p1"], direct="never")
    world.agent("b", via=["p2"], direct="never")
    source, target = world.path("source"), world.path("target")
    trees.odd_tree(source)
    run = console.job("distribution", "shared host", [f"a:{source}"], [f"b:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert re.fullmatch(r"proxy p[12] tcp", run["flows"][0]["path"])


def test_third_party(lab, world):
    """A contractor behind NAT delivers into a closed network through a proxy in its DMZ: no inbound port at either."""
    lab.wan_host("dmz", PUBLIC)
    lab.closed("inside", "203.0.113.20")
    lab.natted("contractor", "203.0.113.99", "192.168.77.0/24", deny=["tcp dport != 1080"])
    console = world.console(netns=lab.ns("inside"))
    world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    world.agent("server", via=["dmz"], netns=lab.ns("inside"))
    world.agent("contractor", via=["dmz"], netns=lab.ns("contractor"))
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.small_files(source, 200)
    run = console.job("consolidation", "delivery", [f"contractor:{source}"], [f"server:{target}"]).wait()
    assert trees.differences(source, target / "contractor") == []
    assert run["flows"][0]["path"] == "proxy dmz tcp"


def test_distribution_to_two_and_consolidation_from_two(homes):
    """One source to two targets, then two sources to one, each in a subfolder of its own."""
    homes.agent("hq", via=["dmz"], netns=homes.lab.ns("hq"))
    source, one, two = homes.path("source"), homes.path("one"), homes.path("two")
    trees.odd_tree(source)
    homes.hq.job("distribution", "spread", [f"home-a:{source}"], [f"home-b:{one}", f"hq:{two}"]).wait()
    assert trees.differences(source, one) == [] and trees.differences(source, two) == []
    together = homes.path("together")
    homes.hq.job("consolidation", "gather", [f"home-a:{source}", f"home-b:{one}"], [f"hq:{together}"]).wait()
    assert trees.differences(source, together / "home-a") == []
    assert trees.differences(one, together / "home-b") == []


def test_one_file(homes):
    """A job whose source is a file puts it under its own name."""
    source, target = homes.path("single.bin"), homes.path("target")
    trees.random_file(source, 3_000_001)
    homes.hq.job("distribution", "file", [f"home-a:{source}"], [f"home-b:{target}"]).wait()
    assert (target / "single.bin").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("size", [0, 4])
def test_tiny_file(homes, size):
    source, target = homes.path("tiny"), homes.path("target")
    source.write_bytes(b"four"[:size])
    homes.hq.job("distribution", "tiny", [f"home-a:{source}"], [f"home-b:{target}"]).wait()
    assert (target / "tiny").read_bytes() == b"four"[:size]
