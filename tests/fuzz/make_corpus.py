#!/usr/bin/python3
"""Write the hand-made part of the corpus: inputs that are known to be nasty, and a good one of each kind.

    tests/fuzz/make_corpus.py            (files that need keys come from fuzz_seed)
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def frame(kind, body=b"", flags=0, length=None):
    return struct.pack(">BBH", kind, flags, len(body) if length is None else length) + body


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A protobuf field: an int is a varint, bytes are length-delimited."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


ENDLESS = b"\xff" * 10 + b"\x01"
ID = bytes(range(16))
KEY = bytes(range(32))
PARTY = field(1, 1) + field(2, ID)


def frames():
    put("frame", "ping", frame(0x0B, b"\x09" + bytes(8)))
    put("frame", "several", frame(0x01, b"abc") + frame(0x10, b"x" * 100) + frame(0x11))
    put("frame", "longest", frame(0x10, b"\0" * 16000))
    put("frame", "one-too-long", frame(0x10, b"", length=16001))
    put("frame", "length-ffff", frame(0x10, b"abc", length=0xFFFF))
    put("frame", "truncated", frame(0x10, b"abc", length=4))
    put("frame", "unknown-critical", frame(0x7F, b"abc", flags=1))
    put("frame", "unknown-ignored", frame(0x7F, b"abc", flags=0xFE))
    put("frame", "all-types", b"".join(frame(t, b"", flags=t & 1) for t in range(256)))
    put("frame", "empty", b"")


def http_heads():
    host = "Host: example.org\r\n\r\n"
    for name, text in {
        "get": f"GET / HTTP/1.1\r\n{host}", "head": "HEAD /style.css?x HTTP/1.0\r\n\r\n", "lf": "GET / HTTP/1.1\nHost: a\n\n",
        "connect": f"CONNECT example.org:443 HTTP/1.1\r\n{host}", "no-host": "GET / HTTP/1.1\r\n\r\n", "http2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "two-hosts": f"GET / HTTP/1.1\r\nHost: a\r\n{host}", "folded": f"GET / HTTP/1.1\r\nA: b\r\n c\r\n{host}",
        "long-target": "GET /" + "a" * 3000, "long-head": "GET / HTTP/1.1\r\n" + "A: b\r\n" * 100, "long-value": "GET / HTTP/1.1\r\nA: " + "b" * 9000,
        "two": f"GET / HTTP/1.1\r\n{host}" * 2, "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    }.items():
        put("http_head", name, text)


def messages():
    good = {
        "hello": (0x01, field(1, 1) + field(3, b"\x30" * 300) + field(4, bytes(64)) + field(5, b"fairlead/0.1")),
        "register": (0x03, field(1, 0)),
        "connect": (0x05, field(1, 7) + field(2, PARTY)),
        "offer": (0x06, field(1, 7) + field(2, ID) + field(3, KEY) + field(4, 30)),
        "invite": (0x07, field(1, ID) + field(2, KEY) + field(3, PARTY) + field(4, 30)),
        "reject": (0x08, field(1, 7) + field(2, 18) + field(3, b"not here")),
        "join": (0x09, field(1, ID) + field(2, KEY)),
        "joined": (0x0A, field(1, ID) + field(2, PARTY) + field(3, 1)),
        "ping": (0x0B, b"\x09" + bytes(8)),
        "status": (0x0D, field(1, 24) + field(2, b"superseded")),
        "denied": (0x0E, field(1, 1) + field(3, 1) + field(4, ID) * 256),
        "report": (0x0F, field(1, 5) + field(9, field(1, 3) + field(2, 9)) * 48),
        "tunnel-hello": (0x40, field(1, 1) + field(3, ID) + field(4, PARTY) + field(5, PARTY) + field(6, 3)
                         + field(7, ID) + field(8, KEY)),
        "enrol-request": (0x50, field(1, b"\x30" * 200) + field(2, "büro".encode()) + field(3, b"tag") * 16),
        "agent-hello": (0x54, field(1, b"a") + field(5, b"10.0.0.1:3839") * 16),
        "proxy-list": (0x56, field(1, 9) + field(2, field(1, ID) + field(2, b"gate") + field(3, b"h:1") * 4) * 16),
        "flow-assign": (0x58, field(1, ID) + field(5, 1) + field(6, 1) + field(7, b"/srv/\xff\n") + field(9, PARTY)
                        + field(12, KEY)),
        "flow-report": (0x59, field(1, ID) + field(2, 8) + field(10, 2**64 - 1) + field(12, b"proxy gate tcp")),
        "flow-error": (0x5B, field(1, ID) + field(3, b"a\0b") + field(4, b"ENAME") + field(5, b"refused")),
        "want": (0x84, field(1, field(1, 1) + field(2, 2) + field(3, 3)) * 256),
        "want-hashes": (0x85, field(1, b"".join(varint(i) for i in range(512)))),
        "hashes": (0x86, field(1, 1) + field(3, KEY) * 256),
    }
    for name, (kind, body) in good.items():
        put("message", name, bytes([kind]) + body)
        put("message", name + "-twice", bytes([kind]) + body + body)
    entry = field(1, 0) + field(2, 1) + field(3, b"dir/file") + field(4, 2**63) + field(5, 2**64 - 1)
    put("message", "list", bytes([0x81]) + (varint(len(entry)) + entry) * 20)
    put("message", "list-lies", bytes([0x81]) + varint(len(entry) + 5) + entry)
    put("message", "list-huge", bytes([0x81]) + varint(2**32 - 1) + entry)
    head = field(1, 1) + field(2, 2) + field(3, 131072) + field(4, KEY)
    put("message", "block", bytes([0x87]) + varint(len(head)) + head + b"data" * 100)
    nasty = {
        "varint-endless": b"\x08" + ENDLESS,
        "varint-in-tag": ENDLESS,
        "length-4g": b"\x12" + varint(2**32 - 1) + b"abc",
        "length-2e64": b"\x12" + b"\xff" * 9 + b"\x01abc",
        "tag-zero": b"\x00\x01",
        "group": b"\x0b\x08\x01\x0c",
        "string-nul": field(2, b"a\0b"),
        "string-bad-utf8": field(2, b"\xff\xfe\xc0\x80"),
        "string-over": field(2, b"x" * 5000),
        "wrong-types": b"\x0d\0\0\0\0" + b"\x11" + bytes(8) + b"\x1a\x00",
        "enum-unknown": field(1, 99),
        "enum-negative": b"\x08" + b"\xff" * 9 + b"\x01",
        "nested-deep": b"".join(field(2, b"") for _ in range(40)),
        "unknown-fields": field(1000, b"x" * 200) + field(2**29 - 1, 7),
        "empty": b"",
    }
    for kind in (0x01, 0x05, 0x07, 0x0D, 0x0E, 0x40, 0x56, 0x58, 0x84, 0x86):
        for name, body in nasty.items():
            put("message", f"{name}-{kind:02x}", bytes([kind]) + body)


def configs():
    good = """{"text": "x", "secret": "s", "address": "[::1]:80", "base64": "QUJD", "flag": true,
 "pem": "-----BEGIN X-----", "number": -1, "word": "never", "list": ["a", "b"], "addresses": ":1", "rate": 5,
 "group": {"number": 5, "text": "t"}}"""
    both = {
        "deep-lists": "[" * 3000,
        "deep-objects": '{"group":' * 3000,
        "deep-value": '{"text":' + "[" * 1000 + "]" * 1000 + "}",
        "nul-byte": '{"text": "a\0b"}',
        "nul-escape": '{"text": "a\\u0000b"}',
        "lone-surrogate": '{"text": "\\ud800"}',
        "bad-utf8": b'{"text": "\xff\xc0\x80"}',
        "bad-utf8-key": b'{"\xff": 1}',
        "huge-number": '{"number": 99999999999999999999999999}',
        "huge-real": '{"number": 1e999}',
        "minus-zero": '{"number": -0}',
        "duplicate": '{"text": "a", "text": "b"}',
        "duplicate-control": '{"\\u001b[0m": 1, "\\u001b[0m": 2}',
        "escaped-key": '{"te\\u0078t": 5}',
        "quotes-in-strings": '{"list": ["\\"", "{\\"rate\\": ", "\\\\"],\n"rate": "x"}',
        "long-key": '{"' + "k" * 3000 + '": 1}',
        "long-value": '{"word": "' + "v" * 3000 + '"}',
        "long-line": " " * 5000 + '{"x": 1}',
        "many-lines": "\n" * 5000 + '{"x": 1}',
        "truncated": good[:100],
        "not-an-object": "[1, 2]",
        "scalar": "7",
        "empty": "",
        "bom": "\ufeff{}",
        "comment": '{"text": "x" /* no */}',
        "trailing": '{"text": "x"} {}',
        "null": '{"text": null}',
        "pem-is-a-device": '{"text": "x", "pem": "/dev/zero"}',
        "pem-is-a-folder": '{"text": "x", "pem": "/"}',
    }
    put("config", "good", good)
    put("agent_config", "good", """{"management_server": {"host": "127.0.0.1:8444",
 "cert_authority_fingerprint": "%s", "bootstrap_token": "QUJD"}, "mc_proxy": ["p:1080"], "device_name": "a",
 "tags": ["t"], "folders_storage_path": "/srv", "listening_port": 0, "direct": "never"}""" % ("ab" * 32))
    put("agent_config", "wrong-name", '{"management_server": {"host": "h"}, "device_name": "a\\u001b\\n"}')
    put("agent_config", "many-proxies", '{"mc_proxy": [%s]}' % ", ".join('"p:1"' for _ in range(200)))
    put("agent_config", "wrong-group", '{"management_server": []}')
    put("proxy_config", "good", """{"listen": ["127.0.0.1:0"], "identity": "-----BEGIN X-----\\n-----END X-----",
 "ca": "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----", "tls_certificate": "-----BEGIN X-----",
 "raw": "never", "limits": {"endpoints": 1}}""")
    put("reconfig", "good", """{"raw": "never", "limits": {"endpoints": 5, "idle_seconds": 0}, "log": {"level": "warn"},
 "drain": {"on": true, "within_seconds": 5, "hard_stop_seconds": 9, "away_seconds": 7, "alternates": ["a:1", "[::1]:2"]}}""")
    put("reconfig", "not-live", '{"limits": {"endpoints": 5}, "listen": ":1"}')
    put("reconfig", "pem", '{"ca": "/etc/passwd"}')
    put("reconfig", "misspelt", '{"limits": {"endpoint": 5}}')
    put("proxy_config", "wrong-limits", '{"limits": {"endpoints": -1, "sessions": 1e9}}')
    for name, text in both.items():
        for target in ("config", "agent_config", "proxy_config", "reconfig"):
            put(target, name, text)


def handovers():
    """Datagrams between two processes of one proxy; the first byte says how many descriptors came along."""
    side = field(1, PARTY) + field(2, 1) + field(3, 5) + field(4, 10) + field(5, 20)

    def session(*flows, sides=(side, side, side)):
        return field(1, ID) + field(2, 7) + field(3, 9) + b"".join(field(4, who + field(6, flow)) for who, flow in zip(sides, flows))
    device = field(7, b"d" * 32)
    for name, fds, message in [
        ("hello", 0, frame(1, field(1, 1) + field(2, b"fairlead 0.1.0"))), ("welcome", 0, frame(2, field(1, 1) + field(3, 2))),
        ("refused", 0, frame(3, field(1, 2) + field(2, b"another version"))), ("socket", 1, frame(4, field(1, b"listen :1080"))),
        ("socket-without", 0, frame(4, field(1, b"listen :1080"))), ("prepared", 0, frame(5, field(1, 3))), ("commit", 0, frame(10)),
        ("session", 2, frame(6, session(b"", field(4, 100)))), ("session-piped", 4, frame(6, session(field(9, 4096), b""))),
        ("session-held", 2, frame(6, session(field(8, 16000), b""))), ("session-both", 4, frame(6, session(field(8, 1) + field(9, 1), b""))),
        ("session-devices", 2, frame(6, session(b"", b"", sides=(device, device)))), ("session-mixed", 2, frame(6, session(b"", b"", sides=(device, side)))),
        ("session-ended", 2, frame(6, session(field(2, 1), b""))), ("session-one-side", 2, frame(6, session(b""))),
        ("session-three-sides", 2, frame(6, session(b"", b"", b""))), ("held", 0, frame(7, b"\1" + b"x" * 50)), ("endless", 0, frame(1, ENDLESS)),
    ]:
        put("handover", name, bytes([fds]) + message)


def forwards():
    """Frames to a side of a forward: the first byte says which (1: it listens), 0xff is a turn of the loop."""
    opened, refused, data = (lambda n: frame(0x91, field(1, n) + field(2, 65536))), (lambda n: frame(0x92, field(1, n) + field(2, b"no"))), \
        (lambda n, body: frame(0x93, n.to_bytes(4, "big") + body))
    eof, reset, window = (lambda n: frame(0x94, field(1, n))), (lambda n: frame(0x95, field(1, n))), (lambda n, b: frame(0x96, field(1, n) + field(2, b)))
    ask = lambda n: frame(0x90, field(1, n) + field(2, 65536) + field(3, b"192.0.2.1:5"))  # noqa: E731
    turn = b"\xff"
    for name, message in [
        ("connect", b"\0" + ask(1) + turn * 3 + data(1, b"hello") + turn + eof(1) + turn), ("connect-many", b"\0" + b"".join(map(ask, range(1, 30))) + turn * 2),
        ("connect-reset", b"\0" + ask(1) + reset(1) + turn + ask(2) + turn * 2 + reset(2) + data(2, b"late")), ("connect-gap", b"\0" + ask(2)),
        ("connect-data-early", b"\0" + ask(1) + data(1, b"early")), ("connect-window", b"\0" + ask(1) + turn * 3 + window(1, 1 << 31)),
        ("listen", b"\1" + opened(1) + opened(2) + turn + data(1, b"x" * 100) + eof(1) + window(1, 5) + turn + data(2, b"y") + turn),
        ("listen-refused", b"\1" + refused(1) + turn + refused(2) + turn), ("listen-answer-twice", b"\1" + opened(1) + opened(1)),
        ("listen-unknown", b"\1" + opened(9)), ("listen-reset", b"\1" + reset(1) + opened(1) + turn), ("endless", b"\0" + frame(0x90, ENDLESS)),
        ("listen-empty", b"\1" + opened(1) + data(1, b"")),
    ]:
        put("forward", name, message)


def proxies():
    """Steps of fuzz_proxy.c: operation | slot << 3, then its operands."""
    def step(op, slot, *operands):
        return bytes([op | slot << 3, *operands])

    def opened(slot, person):
        return step(0, slot, person)

    def registered(slot, person):
        return opened(slot, person) + step(3, slot, 0)

    pair = registered(0, 1) + registered(1, 2) + step(2, 0, 2)  # agent 1 asks for agent 2: keys 0 and 1
    joined = pair + opened(2, 1) + opened(3, 2) + step(4, 2, 0) + step(4, 3, 1)
    crossed = pair + opened(2, 1) + opened(3, 2) + step(4, 2, 1) + step(4, 3, 0)
    put("proxy", "silent", opened(0, 0) + step(7, 0, 255) * 3)
    put("proxy", "register", registered(0, 1) + registered(1, 3))
    put("proxy", "session", joined + step(5, 2, 255) * 8 + step(5, 3, 3) + step(6, 2, 0) + step(6, 3, 0)
        + step(7, 0, 200))
    put("proxy", "keys-crossed", crossed + step(5, 2, 9) + step(5, 3, 9) + step(7, 0, 50))
    put("proxy", "one-joins", pair + opened(2, 1) + step(4, 2, 0) + step(4, 2, 1) + step(7, 0, 255) * 4)
    put("proxy", "wrong-key", pair + opened(2, 1) + step(4, 2, 255) + step(7, 0, 10))
    put("proxy", "key-twice", joined + opened(4, 1) + opened(5, 2) + step(4, 4, 0) + step(4, 4, 1) + step(4, 5, 0))
    put("proxy", "other-side-dies", joined + step(5, 2, 255) * 30 + step(6, 3, 1) + step(7, 0, 20))
    put("proxy", "idle", joined + step(7, 0, 255) * 40)
    put("proxy", "stall", joined + step(5, 2, 255) * 100 + step(7, 0, 255) * 20)
    put("proxy", "same-twice", registered(0, 1) + registered(1, 1) + registered(2, 1) + registered(3, 1))
    put("proxy", "enrol-asks", registered(0, 4) + registered(1, 3) + registered(2, 1) + step(2, 0, 3) + step(2, 0, 1))
    put("proxy", "denied-by-agent", registered(0, 1) + step(1, 0, 0x0E, 0, 2, 8, 1))
    put("proxy", "denied-by-console", registered(0, 3) + registered(1, 1)
        + step(1, 0, 0x0E, 0, 22, 8, 1, 24, 1, 34, 16) + bytes(16))
    put("proxy", "hello-twice", opened(0, 1) + step(1, 0, 1, 0, 2, 8, 1))
    put("proxy", "every-type", registered(0, 1) + b"".join(
        opened(1, 1) + step(1, 1, t, t & 1, 2, 8, 1) + step(6, 1, 3) for t in range(0x20)))
    put("proxy", "data-unasked", opened(0, 1) + step(5, 0, 5) + opened(1, 0) + step(5, 1, 5) + step(6, 1, 0))
    put("proxy", "abort-in-session", joined + step(1, 2, 0x12, 0, 2, 8, 27) + step(5, 3, 5))


def identities():
    put("identity", "uri-short", b"\0fairlead://")
    put("identity", "uri-long", b"\0fairlead://" + b"a" * 5000)
    put("identity", "uri-upper", b"\0fairlead://" + b"AB" * 16 + b"/console")
    put("identity", "uri-query", b"\0fairlead://" + b"ab" * 16 + b"/agent/" + b"ab" * 16 + b"?x")
    put("identity", "der-length-4g", b"\x02\x30\x84\xff\xff\xff\xff" + b"x" * 50)
    put("identity", "der-indefinite", b"\x02" + b"\x30\x80" * 200)
    put("identity", "der-deep", b"\x02" + b"".join(b"\x30\x82" + struct.pack(">H", 1000 - 4 * i) for i in range(240)))
    put("identity", "pem-empty", b"\x01-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    put("identity", "pem-open", b"\x01-----BEGIN CERTIFICATE-----\nAAAA")
    put("identity", "token-long", b"\x03" + b"QUJD" * 10000)
    put("identity", "token-not-base64", b"\x03!!!!")
    put("identity", "token-nul", b"\x03QUJD\0QUJD")
    put("identity", "request-empty", b"\x04")
    put("identity", "hello-empty", b"\x05")


def syncthing():
    def message(kind, payload=b"", length=None):
        return struct.pack(">IiI", 0x9E79BC40, kind, len(payload) if length is None else length) + payload

    def opaque(data, length=None):
        return struct.pack(">I", len(data) if length is None else length) + data + bytes(-len(data) % 4)

    put("st_xdr", "join-old", message(2))
    put("st_xdr", "join-token", message(2, opaque(b"token")))
    put("st_xdr", "join-trailing", message(2, opaque(b"") + b"more"))
    put("st_xdr", "session", message(3, opaque(KEY)))
    put("st_xdr", "session-cut", message(3, opaque(KEY))[:-5])
    put("st_xdr", "connect", message(5, opaque(KEY)))
    put("st_xdr", "connect-short", message(5, opaque(b"abc")))
    put("st_xdr", "ping-pong", message(0) + message(1) + message(0))
    put("st_xdr", "opaque-33", message(3, opaque(bytes(60), 33)))
    put("st_xdr", "opaque-4g", message(5, b"\xff" * 40))
    put("st_xdr", "length-negative", message(3, length=0xFFFFFFFF))
    put("st_xdr", "device", "S5FTFQ6-NPX7Y2B-4WJGSVI-EYFKARY-3H6ZM4F-6AJVNRN-UTQKORM-TIJNVQ3")
    put("st_xdr", "device-bare", "s5ftfq6npx7y24wjgsvieyfkar3h6zm4f6ajvnrutqkormtijnvq")
    put("st_xdr", "http", "GET / HTTP/1.1\r\n\r\n")


def relays():
    """Steps of fuzz_st_relay.c: operation | slot << 3, then its operands. Devices 0 to 2 are on the list."""
    def step(op, slot, *operands):
        return bytes([op | slot << 3, *operands])

    def opened(slot, device):
        return step(0, slot, slot, device)

    def clear(slot):
        return step(0, slot, slot, 0x80)

    def joined(slot, device):
        return opened(slot, device) + step(2, slot, 0, 1)

    def later(count):
        return step(7, 0, count)

    called = joined(0, 1) + opened(1, 2) + step(2, 1, 1, 1)  # device 2 calls device 1: keys 0 and 1
    paired = called + clear(2) + step(2, 2, 2, 0) + clear(3) + step(2, 3, 2, 1)
    put("st_relay", "silent", opened(0, 0) + clear(1) + later(200))
    put("st_relay", "joined", joined(0, 1) + later(250) + step(2, 0, 3, 0) + later(250))
    put("st_relay", "session", paired + step(5, 2, 255) * 4 + step(5, 3, 9) + step(4, 2, 1) + step(4, 3, 1) + later(4))
    put("st_relay", "one-joins", called + clear(2) + step(2, 2, 2, 0) + later(255))
    put("st_relay", "key-twice", called + clear(2) + step(2, 2, 2, 0) + clear(3) + step(2, 3, 2, 0) + later(20))
    put("st_relay", "duel-lost", joined(0, 1) + joined(1, 1) + step(2, 0, 3, 0) + later(20))
    put("st_relay", "duel-won", joined(0, 1) + joined(1, 1) + joined(2, 1) + later(30))
    put("st_relay", "not-listed", joined(0, 3) + opened(1, 3) + step(2, 1, 1, 0))
    put("st_relay", "wrong-token", opened(0, 1) + step(2, 0, 0, 7))
    put("st_relay", "taken-off-the-list", paired + step(5, 2, 3) + step(6, 0, 2) + later(2) + step(6, 0, 0x81) + joined(4, 3))
    put("st_relay", "cut", paired + step(5, 2, 255) * 40 + step(4, 3, 0) + later(10))
    put("st_relay", "bytes", clear(0) + step(1, 0, 3, 1, 2, 3) + opened(1, 1) + step(1, 1, 14, 0x9E, 0x79, 0xBC, 0x40, 0, 0, 0, 2, 0, 0, 4, 0, 1, 2))
    put("st_relay", "fails-while-waiting", called + step(4, 0, 0) + step(4, 1, 1) + later(200))


def quic():
    """Datagrams of fuzz_quic.c: flags, length, bytes."""
    def datagram(flags, data):
        return bytes([flags]) + struct.pack(">H", len(data)) + data

    def crypto(offset, data):
        return b"\x06" + struct.pack(">HH", 0x4000 | offset, 0x4000 | len(data)) + data

    hello = bytes.fromhex("0303") + bytes(range(32)) + bytes.fromhex("00 0002 1301 0100 0033"
                                                                   "002b0003020304 000a00040002001d 000d000400020807 0033") \
        + bytes.fromhex("0026 0024 001d 0020") + bytes(range(32))
    hello = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
    put("quic", "client-hello", datagram(3, crypto(0, hello)))
    put("quic", "in-pieces", datagram(3, crypto(0, hello[:50])) + datagram(3, crypto(50, hello[50:])))
    put("quic", "turned-round", datagram(3, crypto(50, hello[50:])) + datagram(3, crypto(0, hello[:50])))
    put("quic", "two-connections", datagram(3, crypto(0, hello)) + datagram(7, crypto(0, hello)))
    put("quic", "frames", datagram(3, b"\x01\x02\0\0\0\0\x1c\0\0\0"))
    put("quic", "endless", b"".join(datagram(3, crypto(n * 1000, (b"\1\xff\xff\xff" if n == 0 else b"") + bytes(996 if n == 0 else 1000))) for n in range(12)))
    put("quic", "not-sealed", datagram(2, b"\xc3\0\0\0\1\x08" + bytes(8) + b"\x08" + bytes(8) + b"\0\x44\x80" + bytes(100)))
    put("quic", "unknown-version", datagram(2, b"\xc3\xfa\xce\xb0\x0c\x08" + bytes(8) + b"\x08" + bytes(8)))
    put("quic", "short", datagram(0, b"\x40" + bytes(40)))
    put("quic", "token", datagram(2, b"\xc3\0\0\0\1\x08" + bytes(8) + b"\x08" + bytes(8) + b"\x40\x40" + bytes(64) + b"\x44\x80" + bytes(100)))
    put("quic", "pokes", b"".join(datagram(0, b"\4\1" + bytes(6) + bytes([tag]) + bytes(15)) for tag in (0, 0, 1)))
    for name, first, version in (("initial", 0xC0, 1), ("handshake", 0xE0, 1), ("retry", 0xF0, 1), ("negotiation", 0x80, 0)):
        head = bytes([first]) + struct.pack(">I", version) + b"\x10" + bytes(16) + b"\x10" + bytes(range(16))
        put("quic", f"dialled-{name}", datagram(8, head + (b"\0\0\0\1" * 8 if version == 0 else bytes(1200))))
    put("quic", "dialled-short", datagram(8, b"\x40" + bytes(60)) + datagram(0, b"\x40" + bytes(60)))
    put("quic", "nonsense", datagram(0, bytes(range(200))) + datagram(1, bytes(range(255))))


def endpoints():
    """Steps of fuzz_endpoint.c: operation, proxy | leg << 1, then operands. A tunnel is open when they begin, or soon."""
    def later(count):
        return bytes([13, count])

    flow = bytes([10, 0, 250, 11, 1, 250])
    put("endpoint", "flow", flow + later(4) + bytes([12, 0]) + later(4) + bytes([8, 0]) + later(8) + flow)
    put("endpoint", "bytes-in-a-tunnel", flow + bytes([2, 4, 3, 1, 2, 3, 4]) + flow)
    put("endpoint", "frames", b"".join(bytes([0, leg, kind, kind & 1, 2, 8, 1]) for leg, kind in ((0, 6), (1, 7), (2, 9), (4, 13), (6, 18))))
    put("endpoint", "status", b"".join(bytes([3, leg, code]) + later(2) for leg, code in ((0, 7), (1, 24), (4, 33))))
    put("endpoint", "invitation", bytes([4, 0, 0, 30, 1]) + later(60))
    put("endpoint", "drain", bytes([5, 0, 10, 60, 2]) + later(40) + bytes([8, 0]) + later(20))
    put("endpoint", "cuts", b"".join(bytes([6, 4, how]) + later(3) + bytes([8, 0]) + later(4) for how in range(5)))
    put("endpoint", "lies", b"".join(bytes([12, 0, 9, 0, lie, 9, 1, lie, 8, 0]) + later(20) for lie in (5, 7, 9)))
    put("endpoint", "down-and-up", bytes([9, 0, 0x20, 9, 1, 0x20, 6, 0, 1, 6, 1, 1]) + later(200) + bytes([9, 0, 0]) + later(200))


def names():
    """Pairs of paths of fuzz_names.c: the length of the first, both."""
    def pair(name, a, b):
        put("names", name, bytes([len(a)]) + a + b)

    pair("siblings", b"a/b", b"a/c")
    pair("folder-and-content", b"a", b"a/b")
    pair("sorts-before-slash", b"a-b", b"a/b")
    pair("same", b"x/y/z", b"x/y/z")
    pair("up", b"..", b"a/../b")
    pair("dots", b"...", b".a/..b")
    pair("empty-parts", b"a//b", b"/a")
    pair("trailing", b"a/", b"")
    pair("zero", b"a\0b", b"b")
    pair("odd", b"\xff\xfe", b"\n\t")
    pair("long-leaf", b"a" * 250, b"b" * 256)
    pair("part", b".fairlead-0123456789abcdef.part", b"d/.fairlead-0123456789abcdef.part")


def discoveries():
    """Datagrams of fuzz_discover.c, each behind four bytes of where it comes from."""
    def said(place=b"\0\x0a\0\1", magic=b"FLLN", version=1, flags=0, port=3839, nonce=ID, tag=KEY):
        return place + magic + bytes([version, flags]) + struct.pack(">H", port) + nonce + tag

    put("discover", "one", said())
    put("discover", "many-ports", b"".join(said(port=port) for port in range(40)))
    put("discover", "many-places", b"".join(said(place=bytes([n & 1, n >> 8, n & 255, 9])) for n in range(300)))
    put("discover", "asks", said(flags=1) * 3)
    put("discover", "no-port", said(port=0))
    put("discover", "wrong", said(magic=b"FLLM") + said(version=2) + said(flags=0x80) + said(flags=3))


if __name__ == "__main__":
    frames()
    http_heads()
    messages()
    configs()
    handovers()
    forwards()
    proxies()
    identities()
    syncthing()
    relays()
    quic()
    names()
    endpoints()
    discoveries()
