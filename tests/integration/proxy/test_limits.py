"""Rates of a real proxy: ten real sessions over several workers share them evenly, and they hold. Rates are compared with the wall time
that was measured, so that a busy machine makes a run longer and not wrong."""

import fairlead
import party
import pytest

KIB = 1024
RATE = 4096  # KiB/s: far below what any machine relays


@pytest.fixture
def rig(world):
    made = party.Rig(world)
    yield made
    made.close()


def sessions(rig, count):
    """@count sessions of alice and bob: their legs in pairs."""
    a, b = rig.register("alice"), rig.register("bob")
    return [rig.session(a, b) for _ in range(count)]


def race(rig, pairs, warm, ms):
    """Bytes a second of each pair."""
    answer = rig.party(f"race {warm} {ms} " + " ".join(f"{a} {b}" for a, b in pairs), timeout=60).split()
    assert all(word.isdigit() for word in answer), answer
    return [int(word) * 1e6 / int(answer[0]) for word in answer[1:]]


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values))


def limits(**keys):
    return {**party.CONFIG["limits"], **keys}


def test_ten_sessions_share_the_proxy(rig):
    rig.config["limits"] = limits(rate_proxy=RATE)
    rig.start()
    got = race(rig, sessions(rig, 10), 1000, 10000)
    assert sum(got) == pytest.approx(RATE * KIB, rel=0.05), got
    assert jain(got) >= 0.95, got


def test_agents_and_sessions_have_their_own(rig):
    rig.config["limits"] = limits(rate_agent=RATE, rate_session=RATE // 8)
    rig.start()
    alice, bob, carol = (rig.register(who) for who in ("alice", "bob", "carol"))
    one = [rig.session(alice, bob) for _ in range(10)]
    two = [rig.session(carol, carol, ("carol", "carol")) for _ in range(2)]
    got = race(rig, one + two, 1000, 2500)
    assert sum(got[:10]) == pytest.approx(RATE * KIB, rel=0.1), got
    assert got[10:] == pytest.approx([RATE // 8 * KIB] * 2, rel=0.1), got


def test_a_change_reaches_running_sessions(rig):
    rig.start()
    console = rig.register("cons")
    pairs = sessions(rig, 4)
    free = race(rig, pairs, 100, 300)
    assert sum(free) > 2 * RATE * KIB, free
    rig.party(f'config {console} 1 {rig.boot} 60 {{"limits":{{"rate_proxy":{RATE}}}}}')
    race(rig, pairs, 1, 1500)  # what was on its way
    assert sum(race(rig, pairs, 1, 2500)) == pytest.approx(RATE * KIB, rel=0.1)


def test_ten_sessions_without_a_rate(rig):
    rig.start()
    got = race(rig, sessions(rig, 10), 500, 2000)
    assert jain(got) >= 0.95, got


def test_volume_of_a_day(rig):
    rig.config["limits"] = limits(volume_agent_day=1)
    rig.start()
    a, b = rig.register("alice"), rig.register("bob")
    one, other = rig.session(a, b)
    assert rig.party(f"flow {one} {other} 2000000").startswith("failed")
    fairlead.until("the session's record", lambda: rig.ended("reason", "volume"))
    assert rig.reject(a, "bob") == "volume"
    assert rig.reject(b, "alice") == "volume"
    rig.register("carol")  # registering is not a matter of volume


def test_legs_of_an_agent(rig):
    rig.config["limits"] = limits(legs_agent=3)
    rig.start()
    legs = [rig.dial("alice") for _ in range(3)]
    more = rig.dial()
    rig.party(f"hello {more} alice")
    assert rig.party(f"recv {more}").split()[:2] == ["STATUS", "full"]
    rig.party(f"close {legs[0]}")
    rig.counted("end_gone")
    rig.dial("alice")
    rig.dial("bob")
