"""A scripted client of the Syncthing relay protocol v1, byte by byte, and the relays to aim it at: ours and Debian's strelaysrv."""

import base64
import hashlib
import re
import socket
import ssl
import struct
import subprocess
import time

import fairlead

MAGIC = 0x9E79BC40
PING, PONG, JOIN_RELAY, JOIN_SESSION, RESPONSE, CONNECT, INVITATION, RELAY_FULL = range(8)
SUCCESS, NOT_FOUND, ALREADY, WRONG_TOKEN, UNEXPECTED = 0, 1, 2, 3, 100


def pad(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def message(kind, payload=b""):
    return struct.pack(">IiI", MAGIC, kind, len(payload)) + payload


def response(code, text):
    return message(RESPONSE, struct.pack(">I", code) + pad(text.encode()))


def text_id(raw):
    """A device id as people know it."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    plain, out = base64.b32encode(raw).decode().rstrip("="), ""
    for start in range(0, 52, 13):
        group = plain[start:start + 13]
        products = [(i % 2 + 1) * alphabet.index(c) for i, c in enumerate(group)]
        out += group + alphabet[-sum(p // 32 + p % 32 for p in products) % 32]
    return "-".join(out[i:i + 7] for i in range(0, 56, 7))


class Device:
    """A key and its certificate, as Syncthing 1.x makes them, and the id that follows from it. @version: of TLS, the only one it speaks."""

    def __init__(self, folder, name, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), version=None):
        self.version = version
        self.cert, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "3650",
                        "-subj", "/CN=syncthing", "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)
        self.raw = hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.cert.read_text())).digest()
        self.id = text_id(self.raw)


class Peer:
    """One connection to a relay. Reads are exact and have a deadline."""

    def __init__(self, port, device=None, alpn=("bep-relay",), host="127.0.0.1", timeout=10):
        self.sock = socket.create_connection((host, port), timeout=timeout * fairlead.SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if device:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if device.version:
                context.minimum_version = context.maximum_version = device.version
            context.load_cert_chain(device.cert, device.key)
            if alpn:
                context.set_alpn_protocols(list(alpn))
            self.sock = context.wrap_socket(self.sock)

    def send(self, data):
        self.sock.sendall(data)

    def exact(self, count):
        data = b""
        while len(data) < count:
            got = self.sock.recv(count - len(data))
            if not got:
                raise EOFError(f"the end after {data!r}, {count} bytes were due")
            data += got
        return data

    def message(self):
        head = self.exact(12)
        magic, kind, length = struct.unpack(">IiI", head)
        assert magic == MAGIC and length <= 1024, head
        return kind, self.exact(length)

    def bytes_of_message(self):
        kind, payload = self.message()
        return message(kind, payload)

    def ended(self):
        """Whether the other side has closed; what it still sends is dropped."""
        try:
            while self.sock.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError, OSError) as error:
            return not isinstance(error, TimeoutError)
        return True

    def silent(self, seconds=0.5):
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(1) == b"never"
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(10 * fairlead.SLOW)

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


def joined(port, device, token=None):
    """A device that waits for calls."""
    peer = Peer(port, device)
    peer.send(message(JOIN_RELAY, b"" if token is None else pad(token.encode())))
    assert peer.bytes_of_message() == response(SUCCESS, "success")
    return peer


def ask(port, device, target, **how):
    """The answer to ConnectRequest: message type and payload."""
    peer = Peer(port, device, **how)
    peer.send(message(CONNECT, pad(target)))
    try:
        return peer.message()
    finally:
        peer.close()


class Invitation:
    def __init__(self, kind, payload):
        assert kind == INVITATION, (kind, payload)
        fields = []
        for _ in range(3):
            size = struct.unpack(">I", payload[:4])[0]
            fields.append(payload[4:4 + size])
            payload = payload[4 + size + -size % 4:]
        self.sender, self.key, self.address = fields
        self.port, self.server = struct.unpack(">II", payload)


def call(port, caller, waiting, target):
    """Both invitations of a call from device @caller to the one that waits on @waiting."""
    mine = Invitation(*ask(port, caller, target.raw))
    theirs = Invitation(*waiting.message())
    assert mine.sender == target.raw and theirs.sender == caller.raw
    assert not mine.server and theirs.server and mine.key != theirs.key
    return mine, theirs


def enter(port, invitation):
    """A joined side of a session."""
    peer = Peer(port)
    peer.send(message(JOIN_SESSION, pad(invitation.key)))
    assert peer.bytes_of_message() == response(SUCCESS, "success")
    time.sleep(0.02 * fairlead.SLOW)  # strelaysrv answers before it is ready for the other side, and would refuse that with code 2
    return peer


def session(port, caller, waiting, target):
    mine, theirs = call(port, caller, waiting, target)
    return enter(port, mine), enter(port, theirs)


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Strelaysrv:
    """Debian's relay, for the same script."""

    def __init__(self, world):
        folder = world.folder / "strelaysrv"
        folder.mkdir()
        self.port, status = fairlead.free_port(), fairlead.free_port()
        self.program = fairlead.Program(world, "strelaysrv", [
            "strelaysrv", "-pools", "", "-listen", f"127.0.0.1:{self.port}", "-status-srv", f"127.0.0.1:{status}", "-keys", folder]).start()
        self.status = status
        self.id = self.program.wait_log(r"id=([A-Z2-7-]+)").group(1)
        for port in (self.port, status):  # the line comes before they are open
            fairlead.until("strelaysrv listens", lambda at=port: listens(at))


class Ours:
    """Our proxy with its relay on; @rig is party.Rig."""

    def __init__(self, rig):
        self.rig = rig.start()
        found = self.rig.proxy.wait_log(r'"uri":"relay://[^/]*:(\d+)/\?id=([A-Z2-7-]+)"')
        self.port, self.id = int(found.group(1)), found.group(2)

    def counted(self, *args, **how):
        return self.rig.counted(*args, **how)


def shown_id(port, device):
    """The id of the one certificate that the relay shows."""
    peer = Peer(port, device)
    der = peer.sock.getpeercert(binary_form=True)
    peer.close()
    return text_id(hashlib.sha256(der).digest())


def number_of_certificates(port):
    out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "bep-relay", "-showcerts"], stdin=subprocess.DEVNULL,
                         capture_output=True, timeout=20).stdout
    return len(re.findall(b"BEGIN CERTIFICATE", out))
