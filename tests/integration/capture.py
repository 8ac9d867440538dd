"""What an observer sees of a proxy's TCP connections: a capture, its streams put together, and the TLS records in them.

    with Capture(lab, "dmz", "wan0", path, port=1080) as seen:
        ...
    for connection in seen.connections():
        connection.records      # Record(time, up, kind, length) in the order in which they were complete

And the test of Xue et al., "Fingerprinting Obfuscated Proxy Traffic with Encapsulated TLS Handshakes" (USENIX Security 2024), in the shape
that nDPI gave it: the bytes of four consecutive bursts, the first from the client, and their Mahalanobis distance from what a
handshake looks like. The model here is made from handshakes of this very program, so that it knows more than a stranger's would.
"""

import collections
import dataclasses
import ipaddress
import signal
import struct
import subprocess

import fairlead

Record = collections.namedtuple("Record", "time up kind length")  # up: from the client; length without the header


@dataclasses.dataclass
class Half:
    """One direction: what has come in order, what came too early, and whether its FIN has."""

    start: int = 0
    next: int = None
    data: bytearray = dataclasses.field(default_factory=bytearray)
    early: dict = dataclasses.field(default_factory=dict)
    taken: int = 0  # bytes that are in records
    fin: int = None

    def add(self, sequence, payload):
        """A segment. Bytes that came before are dropped, those that come too early wait."""
        self.early[sequence] = max(payload, self.early.get(sequence, b""), key=len)
        while True:
            fits = [at for at in self.early if (at - self.next) % 2**32 >= 2**31 or at == self.next]
            if not fits:
                return
            for at in fits:
                fresh = self.early.pop(at)[(self.next - at) % 2**32:]
                self.data += fresh
                self.next = (self.next + len(fresh)) % 2**32


class Connection:
    """One TCP connection, both directions."""

    def __init__(self, client, server):
        self.client, self.server = client, server  # (address, port)
        self.up, self.down = Half(), Half()
        self.records = []
        self.reset = False
        self.wrong = []  # what is no TLS record

    def add(self, time, up, sequence, flags, payload):
        half = self.up if up else self.down
        if flags & 2:  # SYN
            half.next = (sequence + 1) % 2**32
            return
        self.reset |= bool(flags & 4)
        if half.next is None:
            return  # the connection was there before the capture
        if payload:
            half.add(sequence, payload)
        if flags & 1:
            half.fin = (sequence + len(payload)) % 2**32
        self.parse(time, up, half)

    def parse(self, time, up, half):
        while len(half.data) - half.taken >= 5:
            kind, version, length = struct.unpack_from("!BHH", half.data, half.taken)
            if version not in (0x0301, 0x0303) or not 20 <= kind <= 23 or length > 16384 + 256:
                self.wrong.append(bytes(half.data[half.taken:half.taken + 16]))
                half.taken = len(half.data)
                return
            if len(half.data) - half.taken < 5 + length:
                return
            self.records.append(Record(time, up, kind, length))
            half.taken += 5 + length

    @property
    def whole(self):
        """Was every byte of it seen, from the first?"""
        return self.up.next is not None and self.down.next is not None and not self.up.early and not self.down.early

    def leftover(self):
        """Bytes that are in no record."""
        return len(self.up.data) - self.up.taken + len(self.down.data) - self.down.taken

    def bursts(self):
        """Bytes of each burst of application data, from the client's ChangeCipherSpec on."""
        sums, last = [], None
        seen = False
        for record in self.records:
            seen |= record.up and record.kind == 20
            if not seen or record.kind != 23:
                continue
            if record.up != last:
                if last is None and not record.up:
                    continue
                sums.append(0)
                last = record.up
            sums[-1] += record.length
        return sums

    def windows(self, most=6):
        """The first groups of four bursts that begin with one of the client's."""
        bursts = self.bursts()
        return [bursts[at:at + 4] for at in range(0, min(len(bursts) - 3, 2 * most), 2)]


class Capture:
    """dumpcap on a lab's host: all of IPv4 on one device, but for the kernel's own word that it is in no multicast group."""

    def __init__(self, lab, host, device, path, port):
        self.argv = lab.argv(host, ["dumpcap", "-q", "-P", "-B", "32", "-i", device, "-f", "ip and not igmp", "-w", str(path)])
        self.path, self.port = path, port
        self.others = []  # IPv4 packets that are no TCP from or to the port
        self.process = None

    def __enter__(self):
        self.path.touch(mode=0o666)
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        fairlead.until("the capture to begin", lambda: self.path.stat().st_size >= 24 or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.stderr.read()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=20 * fairlead.SLOW)
        self.said = said.decode(errors="replace")

    def packets(self):
        """(time, source, destination, sequence, flags, payload) of each TCP segment."""
        raw = self.path.read_bytes()
        order = "<" if raw[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        fine = 1e-9 if raw[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d") else 1e-6
        at = 24
        while at + 16 <= len(raw):
            seconds, fraction, length, _ = struct.unpack_from(order + "IIII", raw, at)
            frame = raw[at + 16:at + 16 + length]
            at += 16 + length
            ip = frame[14:]
            if len(frame) < 54 or ip[9] != 6:
                self.others.append(frame)
                continue
            head, total = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0]
            tcp = ip[head:total] if total else ip[head:]
            source, destination, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", tcp)
            yield (seconds + fraction * fine, (str(ipaddress.ip_address(ip[12:16])), source),
                   (str(ipaddress.ip_address(ip[16:20])), destination), sequence, flags, tcp[(offset >> 4) * 4:])

    def connections(self):
        """Those that began while it ran."""
        found, self.others = {}, []
        for time, source, destination, sequence, flags, payload in self.packets():
            if self.port not in (source[1], destination[1]):
                self.others.append((source, destination))
                continue
            up = destination[1] == self.port
            key = (source, destination) if up else (destination, source)
            if flags & 18 == 2:
                found[key] = Connection(*key)
            if key in found:
                found[key].add(time, up, sequence, flags, payload)
        return list(found.values())


class Model:
    """What four bursts of a handshake look like: their mean and how they vary together."""

    def __init__(self, samples):
        count = len(samples)
        self.mean = [sum(column) / count for column in zip(*samples)]
        apart = [[value - mean for value, mean in zip(sample, self.mean)] for sample in samples]
        # Sizes that never vary would make a model that sees nothing else: a few bytes of variance are everybody's.
        covariance = [[sum(one[i] * one[j] for one in apart) / count + (16.0 if i == j else 0.0) for j in range(4)] for i in range(4)]
        self.inverse = invert(covariance)

    def distance(self, window):
        apart = [value - mean for value, mean in zip(window, self.mean)]
        return sum(apart[i] * self.inverse[i][j] * apart[j] for i in range(4) for j in range(4)) ** 0.5

    def nearest(self, connection):
        """The least distance of any of its windows."""
        return min((self.distance(window) for window in connection.windows()), default=float("inf"))


def invert(matrix):
    """The inverse of a small matrix (Gauss and Jordan)."""
    size = len(matrix)
    rows = [list(row) + [float(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda row: abs(rows[row][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(size):
            if j != i:
                rows[j] = [value - rows[j][i] * base for value, base in zip(rows[j], rows[i])]
    return [row[size:] for row in rows]
