"""A TCP port at one agent leads to a host and port behind another: real programs through two NATs and a proxy."""

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

import fairlead
import pytest

PORT = 7000  # at home-a
TARGET = 7001  # behind home-b


def allow(world, agent, **forward):
    """@agent is started again with this in its agent.json."""
    agent.stop()
    agent.config_path.write_text(json.dumps({**json.loads(agent.config_path.read_text()), "forward": forward}))
    agent.restart().ready()


@pytest.fixture
def forwarded(homes):
    """home-a's port leads to home-b's."""
    allow(homes, homes.a, listen=[f"127.0.0.1:{PORT}"])
    allow(homes, homes.b, connect=["127.0.0.1:7000-7100", "localhost:*"])
    homes.job = start(homes)
    return homes


def start(world, listen=f"127.0.0.1:{PORT}", to=f"127.0.0.1:{TARGET}", name="way"):
    job = world.hq.job("forward", name, [f"home-a:{listen}"], [f"home-b:{to}"])
    wait_moving(job)
    return job


def flow(job):
    return (job.run() or {"flows": [{}]})["flows"][0]


def wait_moving(job):
    fairlead.until("the forward to run", lambda: flow(job).get("state") == "moving", 30)


def counts(job, wanted, timeout=20):
    """Wait until the connections' counters have what @wanted says."""
    return fairlead.until(f"{wanted} of {flow(job)}", lambda: (got := flow(job)["connections"]) and all(got[k] == v for k, v in wanted.items()) and got,
                          timeout)


@contextlib.contextmanager
def inside(world, name):
    """Sockets made in this thread belong to that host."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{world.lab.ns(name)}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        assert libc.setns(there, 0) == 0
        yield
    finally:
        assert libc.setns(here, 0) == 0
        os.close(here), os.close(there)


def dial(world, port=PORT):
    with inside(world, "home-a"):
        sock = socket.create_connection(("127.0.0.1", port), 20 * fairlead.SLOW)
    return sock


class Server:
    """At home-b, a thread a connection."""

    def __init__(self, world, handle, port=TARGET):
        with inside(world, "home-b"):
            self.socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.handle, self.errors = handle, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(60 * fairlead.SLOW)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.handle(connection)
        except OSError as error:
            self.errors.append(error)
        finally:
            connection.close()

    def close(self):
        self.socket.close()


def read_all(sock):
    data = bytearray()
    while got := sock.recv(1 << 16):
        data += got
    return bytes(data)


def answer_at_the_end(connection):
    """Half-close: it says what came when all of it has come."""
    connection.sendall(hashlib.sha256(read_all(connection)).hexdigest().encode())


def exchange(world, data):
    with dial(world) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock).decode() == hashlib.sha256(data).hexdigest()


def test_half_close(forwarded):
    Server(forwarded, answer_at_the_end)
    for size in (0, 1, 70_000, 5 << 20):
        assert exchange(forwarded, os.urandom(size)), size
    got = counts(forwarded.job, {"open": 0, "total": 4, "refused": 0})
    assert got["bytes_up"] == 70_001 + (5 << 20) and got["bytes_down"] == 4 * 64
