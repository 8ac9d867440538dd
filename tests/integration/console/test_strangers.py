"""What somebody without an account can do to the console's two ports: nothing that others notice."""

import contextlib
import socket
import time

import fairlead
import pytest

HALF = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03"  # a ClientHello of 16 MB, its first bytes
RECORD = b"\x16\x03\x01\x40\x00" + bytes(16384)


def dial(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def cpu(process):
    return time.clock_gettime(~process.pid << 3 | 2)


@pytest.mark.asan
@pytest.mark.parametrize("port", ["ui", "agents"])
def test_half_handshakes(world, port):
    """They begin TLS and say no more, and the console goes on, without spinning, and ends when told."""
    console = world.console()
    socks = [dial(getattr(console, port)) for _ in range(50)]
    for number, sock in enumerate(socks):
        sock.sendall(HALF[:1 + number % len(HALF)])
    for _ in range(5):
        assert console.rest("GET", "/status")
    before, start = cpu(console), time.monotonic()
    time.sleep(1)
    assert cpu(console) - before < 0.5 * (time.monotonic() - start)
    assert console.stop() == 0
    for sock in socks:
        sock.close()


@pytest.mark.asan
@pytest.mark.parametrize("port", ["ui", "agents"])
def test_endless_handshakes(world, port):
    """Nobody makes it keep more than 64 KiB of a handshake."""
    console = world.console()
    before = console.memory()
    socks = [dial(getattr(console, port)) for _ in range(20)]
    for sock in socks:
        with contextlib.suppress(OSError):
            sock.sendall(HALF + bytes(16378))
            for _ in range(100):
                sock.sendall(RECORD)
    assert console.memory() < before + (16 << 20)
    assert console.rest("GET", "/status")
    for sock in socks:
        fairlead.until("its end", lambda: ended(sock))
        sock.close()


def ended(sock):
    sock.settimeout(0.5)
    try:
        return sock.recv(4096) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
