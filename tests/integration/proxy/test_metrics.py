"""Metrics, status and health: well-formed, in step with what happened, bounded, and what the dashboard asks for."""

import json
import pathlib
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import fairlead
import pytest
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="[^"\\\n]*",?)*)\})? (-?[0-9.e+-]+|\+Inf|NaN)$')
DASHBOARD = pathlib.Path(__file__).resolve().parents[3] / "docs/grafana-dashboard.json"


@pytest.fixture
def rig(world):
    made = Rig(world, metrics="127.0.0.1:0").start()
    made.watch = made.proxy.wait_log(r'"metrics".*"address":"(127\.0\.0\.1:\d+)"').group(1)
    yield made
    made.close()


def get(rig, path):
    with urllib.request.urlopen(f"http://{rig.watch}{path}", timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def parse(text):
    """{(name, labels): value} and {name: type}, by the rules of the text format 0.0.4."""
    values, types, helps = {}, {}, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in helps, f"twice: {name}"
            helps.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types and kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
        else:
            match = SAMPLE.match(line)
            assert match, line
            name, labels, value = match.groups()
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            family = family if types.get(family) == "histogram" else name
            assert family in types and family in helps, line
            assert types[family] != "counter" or family.endswith("_total"), family
            key = (name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))))
            assert key not in values, f"twice: {key}"
            values[key] = float(value)
    return values, types


def metrics(rig):
    kind, text = get(rig, "/metrics")
    assert kind.startswith("text/plain; version=0.0.4")
    return parse(text)


def value(values, name, **labels):
    return values[("fairlead_proxy_" + name, tuple(sorted(labels.items())))]


def check_histograms(values, types):
    for family in (name for name, kind in types.items() if kind == "histogram"):
        series = {}
        for (name, labels), count in values.items():
            if name == family + "_bucket":
                rest = tuple(l for l in labels if l[0] != "le")
                series.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), count))
        assert series, family
        for rest, buckets in series.items():
            counts = [count for _, count in sorted(buckets)]
            assert counts == sorted(counts), family
            assert counts[-1] == values[(family + "_count", rest)]


def test_numbers_agree_under_load(rig):
    alice, bob = rig.register("alice"), rig.register("bob")
    for _ in range(5):
        a, b = rig.session(alice, bob)
        assert rig.party(f"flow {a} {b} 2000000") == "ok"
        metrics(rig)  # in the middle
        assert rig.party(f"flow {b} {a} 1000000") == "ok"
        rig.party(f"close {a}")
        rig.party(f"close {b}")
    rig.counted("end_gone", 5)
    counters = rig.counters()
    values, types = metrics(rig)
    check_histograms(values, types)
    assert value(values, "bytes_total") == counters["bytes"] == 15000000
    assert value(values, "sessions_total") == counters["sessions_total"] == 5
    assert value(values, "connections_total") == counters["accepted"]
    assert value(values, "registrations_total") == counters["registered"] == 2
    assert value(values, "endpoints") == 2 and value(values, "sessions") == 0
    assert value(values, "session_bytes_sum") == 15000000 and value(values, "session_seconds_count") == 5
    assert value(values, "handshake_seconds_count") == counters["accepted"]
    assert value(values, "send_buffer_bytes_count") > 0
    assert value(values, "connects_rejected_total", reason="not-found") == counters.get("reject_not_found", 0)
    for name, count in counters.items():
        if name.startswith("end_"):
            assert value(values, "legs_ended_total", reason=name[4:].replace("_", "-")) == count
    assert value(values, "memory_bytes") > 2**20 and 10 < value(values, "descriptors") < value(values, "descriptors_limit")
    assert value(values, "sandbox_refused_total") == 0
    assert value(values, "tls_expires_seconds") > time.time()
    assert {dict(labels)["worker"] for name, labels in values if name.endswith("loop_lag_seconds_count")} == {"0", "1", "2"}
    status = json.loads(get(rig, "/status")[1])
    assert status["bytes_total"] == 15000000 and status["legs_ended"]["gone"] == counters["end_gone"]
    assert f'fairlead_proxy_{"build_info"}' in get(rig, "/metrics")[1]
    record = re.search(r'\{[^\n]*"session ended"[^\n]*', rig.proxy.log()).group(0)
    record = json.loads(record)
    assert {"session", "caller", "callee", "up", "down", "spliced", "raw", "ms", "reason", "side", "blame"} <= set(record), record


def test_health_and_other_requests(rig):
    assert get(rig, "/healthz")[1] == "ok\n"
    for path, status in (("/", 404), ("/metricsx", 404), ("/metrics/x", 404)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(rig, path)
        assert refused.value.code == status
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{rig.watch}/metrics", data=b"x", timeout=20)
    assert refused.value.code == 405


def test_silent_connections_cost_little(rig):
    host, port = rig.watch.split(":")
    socks = [socket.create_connection((host, int(port)), timeout=20) for _ in range(16)]
    metrics(rig)  # the oldest makes room
    with pytest.raises(ConnectionResetError):
        socks[0].recv(1)
    for sock in socks[1:]:  # ten seconds, then a reset
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        sock.close()


def test_answer_in_pieces(rig):
    host, port = rig.watch.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for piece in (b"GET /met", b"rics HTTP/1.0\r", b"\n\r\n"):
            sock.sendall(piece)
            time.sleep(0.05)
        got = b""
        while data := sock.recv(500):
            got += data
    head, _, body = got.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    parse(body.decode())


def test_dashboard_asks_for_what_is_there(rig):
    dashboard = json.loads(DASHBOARD.read_text())
    values, _ = metrics(rig)
    known = {name for name, _ in values}
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            asked |= set(re.findall(r"fairlead_proxy_\w+", target["expr"]))
    assert asked and asked <= known, asked - known
    assert dashboard["schemaVersion"] >= 38 and dashboard["title"] and len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"])


def test_off_by_default_and_port_in_use(world):
    rig = Rig(world).start()
    assert '"metrics"' not in rig.proxy.log()
    rig.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        again = Rig(world, metrics=f"127.0.0.1:{taken.getsockname()[1]}")
        again.write()
        done = fairlead.Program(world, "second", [fairlead.program("fairlead-proxy"), "--config", again.path])
        done.start()
        assert done.wait() != 0 and "cannot listen" in done.log()
        again.close()
