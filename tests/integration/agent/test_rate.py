"""An agent's own limits hold for all that it moves, whatever it moves over: forwarded connections, legs over TCP and over QUIC; and for all of it together."""

import socket
import threading
import time

import fairlead
import pytest
import trees

MIB = 1 << 20
LIMIT_KIB = 2048
SECONDS = 4


def pair(world, forward=None, transport="tcp", **limits):
    """Agents a and b over one proxy; @limits are a's. @forward: (port at a, port that it leads to, from b)."""
    console = world.console()
    world.proxy("p")
    listen = {"forward": {"listen": [f"127.0.0.1:{forward[0]}"]}} if forward else {}
    connect = {"forward": {"connect": [f"127.0.0.1:{forward[1]}"]}} if forward else {}
    world.agent("a", via=["p"], direct="never", transport=transport, **limits, **listen)
    world.agent("b", via=["p"], direct="never", transport=transport, **connect)
    return console


class Meter:
    """Connections to it are read from or written to without pause; counts the bytes."""

    def __init__(self, sends):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.sends, self.bytes = sends, 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=pour if self.sends else self.drain, args=(connection,), daemon=True).start()

    def drain(self, connection):
        try:
            while data := connection.recv(65536):
                self.bytes += len(data)
        except OSError:
            pass


def pour(connection):
    block = bytes(65536)
    try:
        while True:
            connection.sendall(block)
    except OSError:
        pass


def rate(count):
    """Bytes a second by @count over SECONDS, once what the buffers on the way take at once has passed."""
    fairlead.until("bytes to flow", lambda: count() > 2 * MIB, timeout=30)
    before = time.monotonic(), count()
    time.sleep(SECONDS)
    after = time.monotonic(), count()
    return (after[1] - before[1]) / (after[0] - before[0])


def holds(speed, limit_kib=LIMIT_KIB):
    assert limit_kib * 1024 * 0.6 < speed < limit_kib * 1024 * 1.2, f"{speed / MIB:.2f} MiB/s at a limit of {limit_kib / 1024:.0f} MiB/s"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("key, sends", [("rate_limit_upload", False), ("rate_limit_download", True)])
def test_a_forwarded_port_keeps_the_limit(world, transport, key, sends):
    """Several connections of one forward share the limit of the agent that listens, up and down; lifted, they go on faster."""
    target = Meter(sends)
    port = fairlead.free_port()
    console = pair(world, forward=(port, target.port), transport=transport, **{key: LIMIT_KIB})
    job = console.job("forward", "way", [f"a:127.0.0.1:{port}"], [f"b:127.0.0.1:{target.port}"])
    flow = lambda: job.run()["flows"][0]
    fairlead.until("the forward to run", lambda: flow()["state"] == "moving", 30)
    got = [0]

    def take(connection):
        try:
            while data := connection.recv(65536):
                got[0] += len(data)
        except OSError:
            pass

    clients = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(3)]
    for client in clients:
        client.settimeout(None)
        threading.Thread(target=take if sends else pour, args=(client,), daemon=True).start()
    count = (lambda: got[0]) if sends else (lambda: target.bytes)
    holds(rate(count))
    assert flow()["path"] == f"proxy p {transport}"
    console.cli("agent", "set", "a", f"{key}=0")
    before = count()
    fairlead.until("it to go faster", lambda: count() - before > 40 * MIB, timeout=15)  # at the limit it would be 20 s
    for client in clients:
        client.close()
    target.socket.close()


@pytest.mark.parametrize("agent, key", [("a", "rate_limit_upload"), ("b", "rate_limit_download")])
def test_a_transfer_over_quic_keeps_the_limit(world, agent, key):
    console = pair(world, transport="udp")
    console.cli("agent", "set", agent, f"{key}={LIMIT_KIB}")
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "big", 48 * MIB)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('target')}"])
    holds(rate(lambda: (job.run() or {"bytes_moved": 0})["bytes_moved"]))
    assert job.run()["flows"][0]["path"] == "proxy p udp"
    console.cli("agent", "set", agent, f"{key}=0")
    job.wait()
    assert trees.differences(source, world.path("target")) == []


def test_a_transfer_and_a_forward_share_the_limit(world):
    """What an agent sends of all kinds together is held to its limit, and neither starves the other."""
    target = Meter(False)
    port = fairlead.free_port()
    console = pair(world, forward=(port, target.port), rate_limit_upload=LIMIT_KIB)
    way = console.job("forward", "way", [f"a:127.0.0.1:{port}"], [f"b:127.0.0.1:{target.port}"])
    fairlead.until("the forward to run", lambda: way.run()["flows"][0]["state"] == "moving", 30)
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "big", 64 * MIB)
    client = socket.create_connection(("127.0.0.1", port), 20)
    client.settimeout(None)
    threading.Thread(target=pour, args=(client,), daemon=True).start()
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('target')}"])
    moved = lambda: (job.run() or {"bytes_moved": 0})["bytes_moved"]
    fairlead.until("both to flow", lambda: moved() > MIB and target.bytes > MIB, timeout=30)
    before = moved(), target.bytes
    holds(rate(lambda: moved() + target.bytes))
    shares = moved() - before[0], target.bytes - before[1]
    assert min(shares) > sum(shares) / 8, shares
    client.close()
    target.socket.close()
