"""Numbers for Prometheus, and the health of the console."""

import re
import ssl
import urllib.request

import pytest

import fairlead


def scrape(console):
    """Without a token, from this machine: {name with labels: value}, after looking at the form of every line."""
    context = ssl.create_default_context(cafile=console.ca)
    with urllib.request.urlopen(f"https://{console.ui}/metrics", context=context, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    values, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            found = re.fullmatch(r'(fairlead_console_[a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? ([0-9.e+-]+)', line)
            assert found, line
            name = re.sub(r"_(bucket|sum|count)$", "", found[1]) if found[1] not in kinds else found[1]
            assert name in kinds, line
            values[found[1] + (found[2] or "")] = float(found[3])
    return values


@pytest.mark.asan
def test_metrics(world):
    console = world.console()
    world.proxy("way")
    for name in ("left", "right"):
        world.agent(name, via=["way"])
    world.agent("late", via=["way"], wait=False, approval=True)
    fairlead.until("late to ask", lambda: (console.agent("late") or {}).get("state") == "pending")
    console.rest("POST", "/proxies", {"name": "gone", "addresses": ["127.0.0.1:9"]})
    source = world.path("source")
    source.mkdir()
    console.job("distribution", "copy", [f"left:{source}"], [f"right:{world.path('target')}"]).wait()
    console.job("distribution", "later", [f"left:{source}"], [f"right:{world.path('target')}"], hold=True)
    first = scrape(console)
    get = lambda name, **labels: first["fairlead_console_" + name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")]
    assert (get("agents", state="online"), get("agents", state="pending"), get("agents", state="offline")) == (2, 1, 0)
    assert (get("proxies", state="connected"), get("proxies", state="not connected")) == (1, 1)
    assert (get("jobs", state="done"), get("jobs", state="held"), get("runs_active")) == (1, 1, 0)
    assert get("store_bytes") > 50_000 and get("memory_bytes") > 1_000_000 and get("live_readers") == 0
    assert get("requests_total", code="2xx") > 5 and get("request_seconds_count", kind="change") >= 4
    assert get("request_seconds_bucket", kind="read", le="+Inf") == get("request_seconds_count", kind="read")
    with pytest.raises(fairlead.Rest):
        console.rest("GET", "/nowhere")
    for _ in range(5):
        console.rest("GET", "/status")
    second = scrape(console)
    name = 'fairlead_console_requests_total{code="2xx"}'
    assert second[name] >= first[name] + 5
    assert fairlead._request("GET", f"https://{console.ui}/metrics", console.token, console.ca, None)[0] == 200


def test_health(world):
    console = world.console()
    for path in ("/healthz", "/api/v1/healthz"):
        assert fairlead._request("GET", f"https://{console.ui}{path}", "", console.ca, None) == (200, {"status": "ok"})
