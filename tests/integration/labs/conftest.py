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

    Agents home-a and home-b are enrolled through the proxy, and are not to punch their routers: what they do is done over the proxy.
    Gives a world with .lab, .hq (the console), .dmz (the proxy), .a, .b.
    """
    lab.wan_host("dmz", PUBLIC)
    lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
    lab.natted("home-b", "203.0.113.12", "192.168.12.0/24")
    lab.natted("hq", "203.0.113.13", "10.9.0.0/24")
    world.lab = lab
    world.hq = world.console(netns=lab.ns("hq"))
    world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    world.a = world.agent("home-a", via=["dmz"], netns=lab.ns("home-a"), direct="never")
    world.b = world.agent("home-b", via=["dmz"], netns=lab.ns("home-b"), direct="never")
    return world


@pytest.fixture
def across(lab, world):
    """Function: agents a and b behind routers of two kinds (netlab.NATS), console and proxy at a public address; nothing else is reachable.

    @silent: as Lab.router() has it, of both. @keys: of both agents' configuration. Gives a world with .lab, .hq (the console), .dmz (the
    proxy), .a, .b; test_nat.py shows what the routers do.
    """
    def make(kind_a, kind_b, silent=True, **keys):
        lab.wan_host("dmz", PUBLIC)
        lab.natted("a", "203.0.113.11", "192.168.11.0/24", nat=kind_a, silent=silent)
        lab.natted("b", "203.0.113.12", "192.168.12.0/24", nat=kind_b, silent=silent)
        world.lab = lab
        world.hq = world.console(netns=lab.ns("dmz"))
        world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
        world.a = world.agent("a", via=["dmz"], netns=lab.ns("a"), **keys)
        world.b = world.agent("b", via=["dmz"], netns=lab.ns("b"), **keys)
        return world
    return make
