"""Agents that punch over distances, and through firewalls of IPv6 that change no address."""

import fairlead
import pytest

from .test_punch import PUNCHED, SLOWLY, begin, finish, until_punched

PUBLIC = "203.0.113.80"


def start(world, lab, address, listen, **keys):
    """Console and proxy on dmz, an agent each on a and b."""
    world.lab, world.hq = lab, world.console(netns=lab.ns("dmz"))
    world.dmz = world.proxy("dmz", address=address, listen=listen, netns=lab.ns("dmz"))
    for name in ("a", "b"):
        setattr(world, name, world.agent(name, via=["dmz"], netns=lab.ns(name), **keys))
    return world


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "open"])
def test_over_distances(lab, world, silent):
    """Proxy and agents tens of milliseconds from each other. Where routers take what comes unasked, both agents have to have sent before
    anything arrives (test_nat.py); told at one moment, they have."""
    lab.wan_host("dmz", PUBLIC)
    for name, public, lan, delay in (("a", "203.0.113.11", "192.168.11.0/24", 30), ("b", "203.0.113.12", "192.168.12.0/24", 50)):
        lab.far(name, public, lan, "dmz", fairlead.program("bench/bench_link"), silent=silent, delay=delay)
    world = start(world, lab, f"{PUBLIC}:1080", "0.0.0.0:1080", **SLOWLY)
    job, source, target = begin(world, 40)
    until_punched(world)
    finish(job, source, target, PUNCHED)


def test_through_firewalls_of_ipv6(lab, world):
    """Each has an address of its own that all the world may know, and a router that lets nobody in unasked."""
    lab.wan_host("dmz", PUBLIC)
    lab.wan_host6("dmz", 80)
    lab.firewalled6("a", 11)
    lab.firewalled6("b", 12)
    world = start(world, lab, "[2001:db8::80]:1080", "[::]:1080", **SLOWLY)
    job, source, target = begin(world, 40)
    until_punched(world)
    finish(job, source, target, PUNCHED)
