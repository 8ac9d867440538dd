"""Agents find each other on a LAN by multicast, and at fixed addresses that agent.json names."""

import json
import sys

import fairlead
import pytest
import trees

PORT = 3839

# A stranger on the LAN: datagrams of all sorts for some seconds, most of them well-formed ones that ask, from many ports of
# himself; and he counts what others of each address announce meanwhile.
STRANGER = """
import collections, json, os, socket, struct, time
GROUP = ("239.192.70.76", 3840)
own = "10.77.0.99"
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ear.bind(("", GROUP[1]))
ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP[0]) + socket.inet_aton(own))
ear.setblocking(False)
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
heard, sent, start = collections.Counter(), 0, time.monotonic()
while time.monotonic() - start < 4:
    for port in range(1, 40):
        good = b"FLLN" + struct.pack(">BBH", 1, 1, port) + os.urandom(48)
        for datagram in (good, good[:-1], good + b"x", b"", os.urandom(56), os.urandom(1400)):
            mouth.sendto(datagram, GROUP)
            sent += 1
    while True:
        try:
            data, (host, _) = ear.recvfrom(2000)
        except BlockingIOError:
            break
        heard[host] += host != own
    time.sleep(0.01)
print(json.dumps([sent, time.monotonic() - start, heard]))
"""


def job(world, name, source, target):
    """A small file from one agent to another. Returns its path, once it is there."""
    here, there = world.path(f"source-{name}"), world.path(f"target-{name}")
    here.mkdir()
    trees.random_file(here / "file", 100000)
    run = world.hq.job("distribution", name, [f"{source}:{here}"], [f"{target}:{there}"]).wait()
    assert trees.differences(here, there) == []
    return run["flows"][0]["path"]


def until_direct(world, source, target):
    """Small jobs until one goes without a proxy. The other addresses that the console knows lead nowhere."""
    count = iter(range(1000))
    fairlead.until(f"{source} goes to {target} directly", lambda: job(world, f"{source}-{target}-{next(count)}", source, target).startswith("direct"), 60)


@pytest.fixture
def apart(lab, world):
    """A function that starts agents behind NATs of their own, by name with keys of their agent.json."""
    lab.wan_host("dmz", "203.0.113.80")
    world.lab, world.hq = lab, world.console(netns=lab.ns("dmz"))
    world.proxy("dmz", address="203.0.113.80:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))

    def start(**agents):
        for number, (name, keys) in enumerate(agents.items(), 11):
            lab.natted(name, f"203.0.113.{number}", f"192.168.{number}.0/24")
            world.agent(name, via=["dmz"], netns=lab.ns(name), **{"port": PORT, **keys})
        return world
    return start


@pytest.mark.parametrize("family", [4, 6])
def test_found_by_multicast(apart, family):
    """Machines that come to one LAN while they run; nobody told the console. One with discovery off is not found."""
    world = apart(a={}, b={}, silent={"lan_discovery": False})
    assert job(world, "before", "a", "b") == "proxy dmz tcp"
    hosts = {name: f"10.77.0.{number}/24" if family == 4 else "" for number, name in enumerate(("a", "b", "silent"), 1)}
    if family == 4:
        for name in hosts:
            world.lab.run(name, ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])
    world.lab.switch("desk", hosts)
    until_direct(world, "a", "b")
    assert job(world, "silent", "silent", "b") == "proxy dmz tcp"


def test_known_hosts(apart):
    """A router that passes the port on, and an agent that was told of it beside addresses of nobody and of another agent."""
    lead = ["203.0.113.99:3839", "203.0.113.11:3839", "203.0.113.12:3839"]
    world = apart(other={}, a={}, b={"known_hosts": lead, "lan_discovery": False})
    assert job(world, "before", "a", "b") == "proxy dmz tcp"
    for name in ("other", "a"):
        world.lab.opened(name, "tcp", PORT)
    until_direct(world, "a", "b")


def test_stranger_on_the_lan(apart):
    """Whatever somebody sends to the group, agents find each other, and say no more than one datagram in two seconds."""
    world = apart(a={}, b={})
    world.lab.host("stranger")
    world.lab.switch("desk", {"a": "10.77.0.1/24", "b": "10.77.0.2/24", "stranger": "10.77.0.99/24"})
    until_direct(world, "a", "b")
    sent, seconds, heard = json.loads(world.lab.run("stranger", [sys.executable, "-c", STRANGER]))
    assert sent > 1000
    for host in ("10.77.0.1", "10.77.0.2"):
        assert 1 <= heard[host] <= seconds / 2 + 2, heard
    assert job(world, "after", "a", "b").startswith("direct")


@pytest.mark.long
def test_moves_to_the_lan(apart):
    """A transfer that runs over the proxy when both machines come to one LAN goes on there, and the proxy has nothing more to do."""
    world = apart(a={}, b={"rate_limit_download": 2048})
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", 160 << 20)
    run = world.hq.job("distribution", "one", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("the first bytes", lambda: trees.on_disk(target) >= 1 << 20, 60)
    world.lab.switch("desk", {"a": "10.77.0.1/24", "b": "10.77.0.2/24"})

    def carries():
        return sorted(way["via"].split()[0] for way in world.hq.items("/tunnels") if way["state"] == "carries")
    fairlead.until("the LAN alone to carry", lambda: carries() == ["direct"], 60)
    world.hq.rest("PATCH", "/agents/b/settings", {"rate_limit_download": 0})
    run.wait()
    assert trees.differences(source, target) == []
    assert world.hq.wait_proxy("dmz")["report"]["bytes"] < 150 << 20, "of 160 MB the rest went by"
