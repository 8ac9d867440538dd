"""Fixtures of the labs: hosts and NATs in network namespaces (scripts/netlab.py) beside real programs (fairlead.py)."""

import netlab
import pytest

PUBLIC = "203.0.113.80"


@pytest.fixture
def lab(request):
    """An empty lab; it goes after the world whose programs run in it."""
    why_not = netlab.available()
    if why_not:
        pytest.skip(f"no network namespaces: {why_not}")
    with netlab.Lab("lab") as made:
        yield made


@pytest.fixture
def homes(lab, world):
    """home-a and home-b behind NATs of their own, hq with the console behind one too, dmz with the proxy; nothing else is reachable.

    Agents home-a, home-b and hq are enrolled through the proxy. Gives a world with .lab, .hq (the console), .dmz (the proxy), .a, .b.
    """
    lab.wan_host("dmz", PUBLIC)
    lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
    lab.natted("home-b", "203.0.113.12", "192.168.12.0/24")
    lab.natted("hq", "203.0.113.13", "10.9.0.0/24")
    world.lab = lab
    world.hq = world.console(netns=lab.ns("hq"))
    world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    world.a = world.agent("home-a", via=["dmz"], netns=lab.ns("home-a"))
    world.b = world.agent("home-b", via=["dmz"], netns=lab.ns("home-b"))
    return world
