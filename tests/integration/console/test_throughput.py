"""What was moved over the latest hour, kept by the console and told by REST; and whether the proxy passes it bare."""

import fairlead
import pytest
import trees

MIB = 1 << 20


def moved(console, path, key):
    """Bytes by the samples: each is a mean over the time since the one before, ten seconds or a little more."""
    return sum(item[key] for item in console.items(path)) * 10


@pytest.mark.parametrize("raw", ["allowed", "never"])
def test_an_hour_is_kept(world, raw):
    console = world.console()
    world.proxy("p", change=lambda config: config.update(raw=raw))
    for name in "abc":
        world.agent(name, via=["p"], direct="never", rate_limit_upload=6144)
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "big", 24 * MIB)
    job = console.job("distribution", "j", [f"a:{source}"], [f"b:{world.path('target')}"])
    job.wait_bytes(2 * MIB)
    flow = fairlead.until("the way to be told", lambda: (under := console.items("/flows")) and (raw == "never" or under[0]["raw"]) and under[0])
    assert flow["path"].endswith(" tcp") and flow["raw"] == (raw == "allowed")
    job.wait()
    fairlead.until("all of it in the samples", lambda: moved(console, "/throughput", "rate") > 0.7 * 24 * MIB, timeout=15)
    for path, key in (("/throughput", "rate"), ("/agents/a/throughput", "sent"), ("/agents/b/throughput", "received")):
        assert 0.7 * 24 * MIB < moved(console, path, key) < 1.3 * 24 * MIB, path
    for path, key in (("/agents/a/throughput", "received"), ("/agents/b/throughput", "sent"), ("/agents/c/throughput", "sent")):
        assert moved(console, path, key) == 0 and console.items(path), path
    times = [item["time"] for item in console.items("/throughput")]
    assert times == sorted(times)
