"""Agents find each other on a LAN by multicast, and at fixed addresses that agent.json names."""

import fairlead
import pytest
import trees

PORT = 3839


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
