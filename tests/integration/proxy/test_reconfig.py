"""A real proxy, under its sandbox, whose settings a scripted console changes: confirmed, not confirmed, drained."""

import json

import pytest
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]


@pytest.fixture
def rig(world):
    made = Rig(world).start()
    yield made
    made.close()


def result(rig, leg, timeout=3000):
    """The next CONFIG_RESULT: version, state, version in effect, settings, error."""
    while True:
        answer = rig.party(f"recv {leg} {timeout}")
        if not answer.startswith(("REPORT", "PING")):
            break
    assert answer.startswith("CONFIG_RESULT "), answer
    head, _, error = answer.partition(" |")
    _, version, state, effect, settings = head.split(" ", 4)
    return int(version), state, int(effect.partition("=")[2]), json.loads(settings), error.strip()


def change(rig, leg, version, within=60, **patch):
    text = json.dumps(patch, separators=(",", ":"))
    assert rig.party(f"config {leg} {version} {rig.boot} {within} {text}") == "ok"
    return result(rig, leg)


def test_confirmed_over_a_new_leg(rig):
    cons = rig.register("cons")
    assert rig.settings.startswith("CONFIG_RESULT 0 none in_effect=0 ")
    version, state, effect, settings, error = change(rig, cons, 1, limits={"endpoints": 2})
    assert (version, state, effect, error) == (1, "waiting", 0, "")
    assert settings["limits"]["endpoints"] == 2 and settings["limits"]["sessions"] == 200  # the file's
    rig.party(f"confirm {cons} 1")
    assert result(rig, cons)[1] == "waiting"  # not over this one
    again = rig.register("cons")
    rig.party(f"confirm {again} 1")
    assert result(rig, again)[:3] == (1, "applied", 1)
    rig.register("alice")
    leg = rig.dial("bob")  # the limit holds, without a restart
    rig.party(f"register {leg}")
    assert rig.party(f"recv {leg}").startswith("STATUS full")


def test_not_confirmed_is_taken_back(rig):
    cons = rig.register("cons")
    assert change(rig, cons, 1, within=5, limits={"endpoints": 1})[1] == "waiting"
    version, state, effect, settings, error = result(rig, cons, 8000)
    assert (version, state, effect) == (1, "rolled-back", 0) and "within 5 s" in error
    assert settings["limits"]["endpoints"] == 200
    rig.register("alice")
    assert change(rig, cons, 1, raw="never")[1:3] == ("refused", 0)


@pytest.mark.parametrize("patch, text", [
    ({"listen": "0.0.0.0:1"}, '"listen": cannot be changed'), ({"ca": "/etc/passwd"}, '"ca": cannot be changed'),
    ({"limits": {"endpoint": 1}}, 'did you mean "endpoints"?'), ({"limits": {"endpoints": 0}}, "from 1 to 1000000"),
])
def test_refused(rig, patch, text):
    cons = rig.register("cons")
    version, state, effect, _, error = change(rig, cons, 1, **patch)
    assert (version, state, effect) == (1, "refused", 0) and text in error


def test_drain_and_resume(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    cons = rig.register("cons")
    assert change(rig, cons, 1, drain={"on": True, "within_seconds": 600, "alternates": ["127.0.0.1:9"]})[1] == "waiting"
    for leg in (alice, bob):
        told = rig.party(f"recv {leg}").split()
        assert told[0] == "DRAIN" and int(told[1]) <= 600000 and told[2:] == ["300000", "127.0.0.1:9"]
    assert rig.reject(alice, "bob") == "draining"
    leg = rig.dial("carol")
    rig.party(f"register {leg}")
    assert rig.party(f"recv {leg}").startswith("STATUS draining")
    assert rig.party(f"flow {a} {b} 1000000") == "ok"
    again = rig.register("cons")
    assert change(rig, again, 2)[1] == "waiting"  # nothing wanted any more
    for leg in (alice, bob):
        assert rig.party(f"recv {leg}") == "DRAIN 0 0"
    rig.offer(alice, bob, "bob")


def test_agents_on_a_list(rig):
    """Who is not on it loses control legs and sessions at once and is told why; the console and newcomers are not meant."""
    alice, bob, carol = (rig.register(name) for name in ("alice", "bob", "carol"))
    among, between = rig.session(alice, bob), rig.session(alice, carol, ("alice", "carol"))
    cons = rig.register("cons")
    id_of = lambda name: rig.who(name).split()[-1]
    version, state, _, settings, error = change(rig, cons, 1, agents=[id_of("alice"), id_of("bob")])
    assert (state, error) == ("waiting", "") and settings["agents"] == [id_of("alice"), id_of("bob")]
    assert rig.told(carol).startswith("STATUS not-listed")
    assert rig.party(f"recv {between[1]}").startswith("ABORT not-listed")
    assert rig.party(f"recv {between[0]}").startswith("ABORT other-side")
    leg = rig.dial()
    rig.party(f"hello {leg} carol")
    assert rig.party(f"recv {leg}").startswith("STATUS not-listed")
    assert rig.party(f"flow {among[0]} {among[1]} 1000000") == "ok"
    rig.dial("new")
    again = rig.register("cons")
    rig.party(f"confirm {again} 1")
    assert result(rig, again)[:3] == (version, "applied", 1)
    rig.counted("end_not_listed", 3)
    assert change(rig, again, 2, agents=[])[1] == "waiting"
    rig.register("carol")
    assert change(rig, again, 3, agents=["carol"])[1] == "refused"


def test_hard_stop(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    cons = rig.register("cons")
    change(rig, cons, 1, drain={"on": True, "within_seconds": 0, "hard_stop_seconds": 1})
    assert rig.party(f"recv {a} 5000").startswith("ABORT draining")
    assert rig.party(f"recv {b}").startswith("ABORT draining")
    assert rig.party(f"recv {alice}") == "DRAIN 0 300000"
    assert rig.party(f"recv {alice} 8000").startswith("STATUS draining")
