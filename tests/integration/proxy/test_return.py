"""All endpoints come back at once, after a restart and after an upgrade: who is here already is served meanwhile."""

import contextlib

import fairlead
import pytest
from party import Crowd, Rig
from test_upgrade import Upgraded

COUNT = 500
MORE = {"limits": {"endpoints": 2 * COUNT, "sessions": 200}}  # and a crowd as big as by default


@pytest.fixture
def crowds(request):
    """A maker of crowds."""
    with contextlib.ExitStack() as stack:
        def make(rig, count, role):
            crowd = Crowd(rig, count, role)
            stack.callback(crowd.close)
            fairlead.until(f"{count} {role}", crowd.ready.is_set, 60)
            return crowd
        yield make


@contextlib.contextmanager
def closing(rig):
    try:
        yield rig.start()
    finally:
        rig.close()


def come(rig, who):
    """Register; like anybody else a newcomer may be told to come again."""
    def once():
        leg = rig.party.name()
        if rig.party(f"dial {leg} 127.0.0.1 {rig.port}") == "ok":
            rig.party(f"hello {leg} {who}")
            if rig.party(f"recv {leg}").startswith("HELLO_ACK"):
                rig.party(f"register {leg}")
                return rig.party(f"recv {leg}").startswith("REGISTERED") and leg
        rig.party(f"close {leg}")
        return None
    return fairlead.until(f"{who} to be in", once, 60)


def session_works(rig, alice, bob):
    """A new session, none of whose legs is turned away."""
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 100000") == "ok"
    for leg in (a, b):
        rig.party(f"close {leg} reset")


def test_after_a_restart(world, crowds):
    """Killed and started again: while 500 stand in line, new sessions of two who are in go before them, a session that runs
    is not cut, and the console comes in with the others."""
    with closing(Rig(world, listen=f"127.0.0.1:{fairlead.free_port()}", **MORE)) as rig:
        console, agents = crowds(rig, 1, "console"), crowds(rig, COUNT, "agents")
        rig.proxy.kill()
        rig.proxy.restart().wait_log('"listening"')
        alice, bob = come(rig, "alice"), come(rig, "bob")
        a, b = rig.raw_session(alice, bob)
        begun = 0
        while begun < 3 or not (agents.gone() and agents.there()):
            session_works(rig, alice, bob)
            assert rig.party(f"flow {a} {b} 300000") == "ok" and rig.party(f"flow {b} {a} 300000") == "ok"
            begun += 1
        fairlead.until("the console", lambda: console.gone() and console.there(), 60)
        counters = rig.counters()
        assert counters["expected"] == 2 * (begun + 1), counters
        assert counters["registered"] >= COUNT + 3 and counters["endpoints"] == COUNT + 3, counters
        assert counters["sessions_total"] == begun + 1, counters


def test_after_an_upgrade(world, crowds):
    """A new process takes over: 500 control legs go there within a second, and a session that runs does not notice."""
    with closing(Upgraded(world, **MORE)) as rig:
        console, agents = crowds(rig, 1, "console"), crowds(rig, COUNT, "agents")
        alice, bob = rig.register("alice"), rig.register("bob")
        a, b = rig.raw_session(alice, bob)
        rig.party(f"twin {a} {b}")
        rig.party.say("load 4000")
        old = rig.upgrade()
        assert rig.party.answer("load").startswith("ok ")
        rig.ends_well(old, 30)
        fairlead.until("all to be there again", lambda: all(one.gone() and one.there() for one in (console, agents)), 60)
        alice, bob = come(rig, "alice"), come(rig, "bob")
        session_works(rig, alice, bob)
        assert rig.party(f"flow {a} {b} 300000") == "ok"
        assert rig.counters()["endpoints"] == COUNT + 3
