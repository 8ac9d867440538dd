"""What an observer of both hops sees of real jobs in raw mode."""

import contextlib
import re
import subprocess

import capture
import fairlead
import netlab
import pytest
import trees

from .conftest import PUBLIC

JOBS = 10  # for the statistics; each makes at least one data leg on either hop. A few more are run: of a leg that a capture missed
           # a packet of, nothing is said

# In place of the library's: the same record without padding.
UNPADDED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <gnutls/gnutls.h>
typedef ssize_t sender(gnutls_session_t session, const void *data, size_t size, size_t pad, unsigned flags);
ssize_t gnutls_record_send2(gnutls_session_t session, const void *data, size_t size, size_t pad, unsigned flags)
{
    static sender *next;
    if (!next)
        next = (sender *)dlsym(RTLD_NEXT, "gnutls_record_send2");
    return next(session, data, size, 0, flags);
}
"""


@contextlib.contextmanager
def place(name, padded, monkeypatch, folder):
    """A lab with programs that pad, or do not."""
    why_not = netlab.available()
    if why_not:
        pytest.skip(f"no network namespaces: {why_not}")
    with monkeypatch.context() as patch, netlab.Lab("tap") as lab:
        if not padded:
            shim = folder / "unpadded.so"
            subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(shim), "-"], input=UNPADDED, text=True, check=True)
            patch.setenv("LD_PRELOAD", str(shim))
        world, fine = fairlead.World(name), False
        try:
            yield lab, world
            fine = True
        finally:
            world.close(failed=not fine)


def watch(name, padded, monkeypatch, folder, count):
    """@count jobs between two agents behind NATs over a proxy. Returns the capture of both hops, and the agents' connections."""
    with place(name, padded, monkeypatch, folder) as (lab, world):
        seen = run_jobs(lab, world, folder / f"{name}.pcap", count)
    legs = [leg for leg in seen.connections() if leg.client[0] in ("203.0.113.11", "203.0.113.12")]
    return seen, [leg for leg in legs if leg.whole]


def run_jobs(lab, world, path, count):
    lab.wan_host("dmz", PUBLIC)
    lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
    lab.natted("home-b", "203.0.113.12", "192.168.12.0/24")
    console = world.console(netns=lab.ns("dmz"), host="127.0.0.1")
    proxy = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"))
    source = world.path("source")
    source.mkdir()
    trees.random_file(source / "file", 1 << 20)
    trees.small_files(source / "many", 20)
    with capture.Capture(lab, "dmz", "wan0", path, 1080) as seen:
        for name in ("home-a", "home-b"):
            world.agent(name, via=["dmz"], netns=lab.ns(name), direct="never", transport="tcp", raw="required")
        jobs = [console.job("distribution", f"j{i}", [f"home-a:{source}"], [f"home-b:{world.path(f'target-{i}')}"])
                for i in range(count)]
        for job in jobs:
            job.wait()
        fairlead.until("the sessions to be over", lambda: len(re.findall(r'session ended .*reason="done"', proxy.log())) >= count)
    assert trees.differences(source, world.path("target-0")) == []
    return seen


def hops(legs):
    """The legs that carried the jobs: those of the source's hop, where the tunnel's callee is, and of the target's, its caller's."""
    def carried(leg):
        return sum(record.length for record in leg.records) > 1 << 20
    return ([leg for leg in legs if carried(leg) and leg.client[0].endswith(".11")],
            [leg for leg in legs if carried(leg) and leg.client[0].endswith(".12")])


def test_nothing_but_tls(monkeypatch, tmp_path):
    """After the handshake each record on either hop is of type 23, the bare ones of the tunnel's own TLS too; nothing else is sent."""
    seen, legs = watch("observed", True, monkeypatch, tmp_path, 5)
    theirs, ours = hops(legs)
    assert len(theirs) >= 3 and len(ours) >= 3
    assert not seen.others, seen.others[:5]
    carried = 0
    for leg in legs:
        if len(leg.records) < 4:
            continue  # just begun as the capture ended
        assert not leg.wrong and not leg.leftover(), (leg.client, leg.wrong, leg.leftover())
        for up in (True, False):
            kinds = [record.kind for record in leg.records if record.up == up]
            assert kinds[:2] == [22, 20] and set(kinds[2:]) == {23}, (leg.client, up, kinds[:20])
        carried += sum(record.length for record in leg.records)
    assert carried > 6 << 20, "the data went another way"
    # The same, by others.
    said = subprocess.run(["ndpiReader", "-i", str(seen.path)], capture_output=True, text=True, check=True, timeout=60).stdout
    flows = re.search(r"Detected protocols:\n(.*?)\n\n", said, re.S).group(1)
    assert re.findall(r"^\s+([\w.]+)\s+packets", flows, re.M) == ["TLS"], said
    said = subprocess.run(["tshark", "-r", str(seen.path), "-d", "tcp.port==1080,tls", "-Y", "_ws.expert.severity == error || tls.alert_message",
                           "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message"], capture_output=True, text=True, check=True,
                          timeout=120).stdout
    assert not said.strip(), said
    print(flows)


NEAR = 5.0  # of four dimensions that vary as in a model, one in 10,000 lies further out


def share(title, model, legs):
    """The part of @legs that a model takes for a handshake within TLS, printed as a line of a table."""
    near = sorted(model.nearest(leg) for leg in legs)
    hit = sum(distance < NEAR for distance in near)
    print(f"{title:<64} {hit:>3} of {len(near):<3} distances {near[0]:.1f}, {near[len(near) // 2]:.1f}, {near[-1]:.1f}")
    return hit / len(near)


def always(legs):
    """Lengths that occur among the first records of each leg."""
    return set.intersection(*({record.length for record in leg.records[:24]} for leg in legs))


def test_four_bursts(monkeypatch, tmp_path):
    """TLS in TLS by the sizes of four bursts: found without padding, not found with it by who learned it without; who has learned
    from padded sessions is reported, not judged."""
    legs = {padded: hops(watch("padded" if padded else "bare", padded, monkeypatch, tmp_path, JOBS + 2)[1]) for padded in (False, True)}
    print("\nhop, model from, tested on                                      found          (least, median, greatest)")
    for hop, name, at in ((0, "callee's", 1), (1, "caller's", 2)):  # at: the window where the handshake is
        bare, padded = legs[False][hop], legs[True][hop]
        assert min(len(bare), len(padded)) >= JOBS
        half = JOBS // 2
        stranger = capture.Model([leg.windows()[at] for leg in bare[:half]])
        learned = capture.Model([leg.windows()[at] for leg in padded[:half]])
        assert share(f"{name} hop, sessions without padding, others without", stranger, bare[half:]) >= 0.4, "this test sees nothing"
        assert share(f"{name} hop, sessions without padding, sessions with it", stranger, padded) <= 0.1
        share(f"{name} hop, sessions with padding, others with it", learned, padded[half:])
        # Sizes that every session shows are gone, those of the tunnel's first own messages too, which travel bare.
        gone = always(bare) - always(padded)
        print(f"{'':<10}in all sessions without, no more with: {sorted(gone)}")
        assert len(gone) >= 4
        spread = [max(sizes) - min(sizes) for sizes in zip(*(leg.windows()[at] for leg in padded))]
        print(f"{'':<10}sizes without: {bare[0].windows()[at]}, with: vary by {spread}")
        assert min(spread) > 100
