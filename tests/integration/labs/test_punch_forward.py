"""Forwarded ports between agents behind routers: at once over the proxy, and through a hole as soon as there is one."""

import os
import threading
import time

import fairlead
import pytest

from .test_forward import PORT, TARGET, Server, dial, flow, open_ways, refusal_of, vain_ways
from .test_paths import passed
from .test_punch import PUNCHED, RELAYED

pytestmark = pytest.mark.early
FORWARD = {"listen": [f"127.0.0.1:{PORT}"], "connect": [f"127.0.0.1:{TARGET}"]}
MB = 1 << 20


def echo(connection):
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def there_and_back(sock, data):
    """Whether @data comes back."""
    sock.settimeout(30 * fairlead.SLOW)
    sender = threading.Thread(target=lambda: sock.sendall(data))
    sender.start()
    got = bytearray()
    while len(got) < len(data) and (more := sock.recv(1 << 16)):
        got += more
    sender.join()
    return bytes(got) == data


def works(world):
    with dial(world, at="a") as sock:
        return there_and_back(sock, b"new")


def start(world):
    """The job, and a connection made before any tunnel is there: it is accepted as soon as a listens."""
    Server(world, echo, at="b")
    world.job = world.hq.job("forward", "way", [f"a:127.0.0.1:{PORT}"], [f"b:127.0.0.1:{TARGET}"])

    def early():
        try:
            return dial(world, at="a")
        except ConnectionRefusedError:
            return None
    return fairlead.until("a to listen", early, 20, every=0.01)


def until_path(world, path, timeout=30):
    fairlead.until(f"{path}, not {flow(world.job).get('path')}", lambda: flow(world.job).get("path") == path, timeout)


def who(world):
    """Who uses which way now."""
    return [(way["via"], way["newest"], way["connections"]) for way in open_ways(world)]


def until_who(world, *wanted):
    fairlead.until(f"{wanted}, not {who(world)}", lambda: who(world) == list(wanted), 20)


def ways(world):
    """What has carried new connections so far, in this order."""
    return [line.split('path="')[1].split('"')[0] for line in world.a.log().splitlines() if "forward: way" in line]


@pytest.mark.asan
def test_new_connections_move(across):
    """What runs stays at the proxy and dies with it; what is new has no need of it."""
    world = across("port-restricted", "port-restricted", forward=FORWARD)
    early = start(world)
    assert there_and_back(early, b"at once")
    until_path(world, PUNCHED)
    assert ways(world) == [RELAYED, PUNCHED]
    assert there_and_back(early, os.urandom(MB))  # it has not been touched
    until_who(world, (PUNCHED, True, 0), (RELAYED, False, 1))
    shown = world.hq.cli("job", "show", "way").stdout
    assert "direct udp, punched" in shown and "0 open, takes new ones" in shown and "1 open, runs out" in shown, shown
    before = passed(world)["dmz"]
    with dial(world, at="a") as sock:
        began = time.monotonic()
        assert there_and_back(sock, os.urandom(16 * MB))
        print(f"{32 / (time.monotonic() - began):.0f} MiB/s")
    assert there_and_back(early, os.urandom(2 * MB))  # over the proxy, whose report is fresh when it shows this
    fairlead.until("a report of the proxy", lambda: passed(world)["dmz"] >= before + 4 * MB, 30)
    time.sleep(3 * fairlead.SLOW)
    assert passed(world)["dmz"] < before + 12 * MB
    late = dial(world, at="a")
    assert there_and_back(late, b"late")
    world.dmz.kill()
    assert refusal_of(early)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        assert there_and_back(late, os.urandom(MB)) and works(world)
    assert ways(world) == [RELAYED, PUNCHED]
    world.dmz.restart()
    fairlead.until("a to be there", lambda: world.hq.agent("a")["state"] == "online", 40)
    assert there_and_back(late, b"and later") and works(world)
    until_who(world, (PUNCHED, True, 1))
    assert RELAYED in vain_ways(world)
    assert flow(world.job)["path"] == PUNCHED and ways(world) == [RELAYED, PUNCHED]


def test_a_hole_that_closes(across):
    """The proxy has new connections again, and the next hole has them when there is one."""
    world = across("port-restricted", "port-restricted", forward=FORWARD)
    early = start(world)
    until_path(world, PUNCHED)
    world.lab.router("b", nat="udp-blocked")
    until_path(world, RELAYED, 40)
    assert works(world) and there_and_back(early, b"still there")
    world.lab.router("b")
    until_path(world, PUNCHED, 150)
    assert works(world) and there_and_back(early, b"still there")


def test_no_hole(across):
    """Where none can be punched the proxy carries on, and it is counted why."""
    world = across("symmetric", "symmetric", forward=FORWARD)
    early = start(world)
    fairlead.until("a try in vain", lambda: (world.hq.rest("GET", "/agents/a").get("punches") or {}).get("vain") == {"no-packet": 1}, 30)
    assert there_and_back(early, b"all the same") and works(world)
    assert ways(world) == [RELAYED]
    until_who(world, (RELAYED, True, 1))
    assert any("no packet came through" in text for text in vain_ways(world).values()), vain_ways(world)
