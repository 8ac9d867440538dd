"""Agents behind routers of all kinds move data without a proxy in between, where their routers can be made to let them through; where
not, over the proxy as ever, and it is said why. What the routers do is shown in test_nat.py."""

import itertools
import re
import time

import fairlead
import pytest
import trees

from .conftest import PUBLIC
from .test_nat import KINDS, can_meet
from .test_paths import Growth

pytestmark = pytest.mark.early
PUNCHED, RELAYED = "direct udp, punched", "proxy dmz tcp"
OWN_PORTS = "no packet came through: one of the NATs gives each destination a port of its own"
SLOWLY = {"rate_limit_download": 4096}  # KiB/s; the relayed way brings the 15 MiB that it was asked for before it goes


def begin(world, megabytes):
    """A file on its way from a to b: the job, and where it comes from and goes to. b dials, so b is who asks for meetings."""
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    trees.random_file(source / "file", megabytes << 20)
    job = world.hq.job("distribution", "one", [f"a:{source}"], [f"b:{target}"])
    fairlead.until("the first bytes", lambda: trees.on_disk(target) >= 256 << 10, 60)
    return job, source, target


def ways(world, state):
    return {way["via"]: way["text"] for way in world.hq.items("/tunnels") if way["state"] == state}


def carries(world):
    return sorted(ways(world, "carries"))


def until_punched(world, timeout=30):
    fairlead.until("a punched way", lambda: PUNCHED in carries(world), timeout)
    fairlead.until("the relayed one to go", lambda: carries(world) == [PUNCHED], timeout)


def why_not(world, timeout=20):
    """Why nothing was punched, when it is known."""
    def vain():
        return [text for via, text in ways(world, "failed").items() if "punch" in via]
    return fairlead.until("a reason", vain, timeout)[0]


def hurry(job):
    """All is seen for which it had to last, and no way comes or goes any more: the rest as fast as it goes."""
    job.console.rest("PATCH", "/agents/b/settings", {"rate_limit_download": 0})


def finish(job, source, target, path):
    run = job.wait(timeout=90)
    assert [flow["path"] for flow in run["flows"]] == [path]
    assert run["files_failed"] == 0
    assert trees.differences(source, target) == []
    return run


def counted(world, end):
    """b, who dials, has counted a try with this end; REST, command and metrics all tell."""
    fairlead.until("b to have counted", lambda: metrics(world).get(f'fairlead_console_punches_total{{end="{end}"}}'), 15)
    shown, got = world.hq.cli("agent", "show", "b").stdout, world.hq.rest("GET", "/agents/b")["punches"]
    assert got["tried"] >= 1 and (got["through"] >= 1) == (end == "through") and (end in got["vain"]) == (end != "through"), got
    assert re.search(rf"^holes punched +{got['through']} of {got['tried']}{'' if end == 'through' else re.escape(f' ({end} ')}", shown, re.M), shown
    assert metrics(world)["fairlead_console_punches_tried_total"] >= got["tried"]
    assert world.hq.rest("GET", "/agents/a")["punches"]["tried"] == 0  # who is called counts none


def metrics(world):
    text = world.lab.run("dmz", ["curl", "-s", "--cacert", str(world.hq.ca), f"https://{world.hq.ui}/metrics"])
    return {name: float(value) for name, value in re.findall(r"^(\S+?(?:\{.*\})?) (\S+)$", text, re.M) if float(value)}


@pytest.mark.parametrize("kind_a, kind_b", itertools.product(KINDS, repeat=2))
def test_every_pair(across, kind_a, kind_b):
    """Begins over the proxy, and leaves it where any program could get through; else it stays and says why."""
    world = across(kind_a, kind_b, **SLOWLY)
    job, source, target = begin(world, 40 if can_meet(kind_a, kind_b) else 100)  # it lasts until the reason is known, and longer
    if can_meet(kind_a, kind_b):
        until_punched(world)
        finish(job, source, target, PUNCHED)
        counted(world, "through")
    else:
        assert why_not(world) == OWN_PORTS
        assert carries(world) == [RELAYED]
        shown = world.hq.cli("agent", "show", "b").stdout
        assert OWN_PORTS in shown and RELAYED in shown, shown
        counted(world, "no-packet")
        hurry(job)
        finish(job, source, target, RELAYED)
    print(f"{kind_a} -> {kind_b}: {'punched' if can_meet(kind_a, kind_b) else 'relayed'}")


@pytest.mark.asan
def test_everything_arrives(across):
    """Every kind of file through the hole, and next to nothing by the proxy; both ways, so that each has dialled the other."""
    world = across("port-restricted", "port-restricted")
    source, target, back = world.path("source"), world.path("target"), world.path("back")
    trees.odd_tree(source)
    trees.random_file(source / "200 MB", 200 << 20)
    trees.small_files(source / "many", 2000)
    run = world.hq.job("distribution", "there", [f"a:{source}"], [f"b:{target}"]).wait(timeout=180)
    assert trees.differences(source, target) == []
    assert [flow["path"] for flow in run["flows"]] == [PUNCHED]
    run = world.hq.job("distribution", "back", [f"b:{target}"], [f"a:{back}"]).wait(timeout=180)
    assert trees.differences(source, back) == []
    assert [flow["path"] for flow in run["flows"]] == [PUNCHED]


def test_at_no_port(across):
    """Agents that answer at no port of their own have one as long as they need it."""
    world = across("port-restricted", "address-restricted", port=0, **SLOWLY)
    job, source, target = begin(world, 40)
    until_punched(world)
    finish(job, source, target, PUNCHED)


@pytest.mark.parametrize("kind_a, kind_b", [("full-cone", "port-restricted"), ("port-restricted", "full-cone")])
def test_routers_that_take_what_comes_unasked(across, kind_a, kind_b):
    """Where nothing is between the two, one poke comes before the other has left; then a router that takes it spoils the port. One of the
    other kind makes up for it. (With two of this kind it is a matter of luck here, and of distance elsewhere.)"""
    world = across(kind_a, kind_b, silent=False, **SLOWLY)
    job, source, target = begin(world, 40)
    until_punched(world)
    finish(job, source, target, PUNCHED)


# ---- what there is to say when it cannot be ----

def test_udp_that_goes_nowhere(across):
    world = across("port-restricted", "udp-blocked", **SLOWLY)
    job, source, target = begin(world, 80)
    assert why_not(world, 30).startswith("no way to the proxy by UDP")
    assert carries(world) == [RELAYED]
    hurry(job)
    finish(job, source, target, RELAYED)


def test_a_peer_that_uses_tcp_only(across):
    world = across("port-restricted", "port-restricted", transport="tcp", **SLOWLY)
    job, source, target = begin(world, 16)
    fairlead.until("what is tried", lambda: carries(world), 20)
    time.sleep(2)
    assert ways(world, "failed") == {}  # nothing is tried that cannot be
    finish(job, source, target, RELAYED)


@pytest.fixture
def pair(lab, world):
    """Function: agents a and b behind port-restricted routers, each with keys of its own, and a proxy whose file @change alters."""
    def make(keys_a, keys_b, change=None):
        lab.wan_host("dmz", PUBLIC)
        world.lab, world.hq = lab, world.console(netns=lab.ns("dmz"))
        world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"), change=change)
        for name, address, lan, keys in (("a", "203.0.113.11", "192.168.11.0/24", keys_a), ("b", "203.0.113.12", "192.168.12.0/24", keys_b)):
            lab.natted(name, address, lan)
            setattr(world, name, world.agent(name, via=["dmz"], netns=lab.ns(name), **keys))
        return world
    return make


def test_a_callee_without_udp(pair):
    world = pair({"transport": "tcp"}, SLOWLY)
    job, source, target = begin(world, 16)
    assert why_not(world) == "one side of the meeting does not come by UDP"
    finish(job, source, target, RELAYED)


def test_a_callee_that_does_not_want_it(pair):
    world = pair({"direct": "never"}, SLOWLY)
    job, source, target = begin(world, 16)
    assert why_not(world) == "one side of the meeting does not come by UDP"
    finish(job, source, target, RELAYED)


def test_a_caller_that_does_not_want_it(pair):
    world = pair({}, {"direct": "never", **SLOWLY})
    job, source, target = begin(world, 16)
    time.sleep(2)
    assert ways(world, "failed") == {}
    finish(job, source, target, RELAYED)


def test_a_proxy_without_udp(pair):
    world = pair({}, SLOWLY, lambda config: config.update(udp="off"))
    job, source, target = begin(world, 16)
    assert why_not(world) == "no proxy of ours arranges meetings"
    finish(job, source, target, RELAYED)


# ---- what becomes of it ----

def test_a_router_forgets(across):
    """Both of them, as when they are switched off and on: until somebody sends something nothing comes in, neither through the hole nor from
    the proxy. The transfer goes on over the proxy or the old hole, whichever is there first, and through a hole in the end."""
    world = across("port-restricted", "port-restricted", **SLOWLY)
    job, source, target = begin(world, 120)
    growth, since = Growth(target), time.monotonic()
    until_punched(world)
    for name in "ab":
        world.lab.forget(name)
    time.sleep(6 * fairlead.SLOW)
    until_punched(world, 60)
    run = finish(job, source, target, PUNCHED)
    growth.stop()
    assert growth.gap(since, 119 << 20) < 8 * fairlead.SLOW
    assert run["bytes_moved"] <= (120 + 32) << 20


@pytest.mark.parametrize("becomes", ["symmetric", "udp-blocked"])
@pytest.mark.parametrize("whose", "ab")
def test_a_router_becomes_another(across, whose, becomes):
    """In mid-transfer it has other ports, or lets no UDP pass: the hole is of no use any more, and the proxy carries on."""
    world = across("port-restricted", "port-restricted", **SLOWLY)
    job, source, target = begin(world, 80)
    growth, since = Growth(target), time.monotonic()
    until_punched(world)
    world.lab.router(whose, nat=becomes)
    world.lab.forget(whose, udp_only=True)
    fairlead.until("the proxy to carry", lambda: carries(world) == [RELAYED], 30)
    run = finish(job, source, target, RELAYED)
    growth.stop()
    assert growth.gap(since, 79 << 20) < 6 * fairlead.SLOW
    assert run["bytes_moved"] <= (80 + 32) << 20


def test_it_is_tried_again(across):
    """A hole that was lost, by a router that is itself again: no sooner than a direct way would be, and no later than that by much."""
    world = across("port-restricted", "port-restricted", **SLOWLY)
    job, source, target = begin(world, 120)
    until_punched(world)
    world.lab.router("a", nat="udp-blocked")
    world.lab.forget("a")
    fairlead.until("the proxy to carry", lambda: RELAYED in carries(world), 30)
    world.lab.router("a")
    world.lab.forget("a")
    until_punched(world, 60)
    finish(job, source, target, PUNCHED)
