"""Legs by QUIC through real programs: any mix with TCP, and what happens to UDP on real lines."""

import os
import shutil
import socket
import subprocess
import urllib.request

import fairlead
import pytest
import trees

from .conftest import PUBLIC

BOTH = ("tcp", "udp")


def paths(run):
    return [flow["path"] for flow in run["flows"]]


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_any_mix_carries_both_kinds_of_job(world, first, second):
    """A on TCP or UDP, B on TCP or UDP: distribution, then consolidation, equal hashes, and the path is told as it is."""
    console = world.console()
    world.proxy("dmz")
    world.agent("a", via=["dmz"], direct="never", transport=first)
    world.agent("b", via=["dmz"], direct="never", transport=second)
    source, target, together = world.path("source"), world.path("target"), world.path("together")
    trees.odd_tree(source)
    trees.random_file(source / "large", 20 << 20)
    run = console.job("distribution", "out", [f"a:{source}"], [f"b:{target}"]).wait()
    assert trees.differences(source, target) == []
    assert paths(run) == [f"proxy dmz {second}"], "who asks tells its own leg's kind"
    run = console.job("consolidation", "in", [f"b:{target}"], [f"a:{together}"]).wait()
    assert trees.differences(target, together / "b") == []
    assert paths(run) == [f"proxy dmz {first}"]


def test_three_endpoints_on_mixed_transports(world):
    """The console by UDP, one agent by UDP, one by TCP, one left to choose."""
    console = world.console(extra=["--config", world.write("console.json", {"transport": "udp"})])
    proxy = world.proxy("dmz")
    for name, transport in (("u", "udp"), ("t", "tcp"), ("x", "auto")):
        world.agent(name, via=["dmz"], direct="never", transport=transport)
    source, one, two = world.path("source"), world.path("one"), world.path("two")
    trees.odd_tree(source)
    run = console.job("distribution", "spread", [f"u:{source}"], [f"t:{one}", f"x:{two}"]).wait()
    assert trees.differences(source, one) == [] and trees.differences(source, two) == []
    assert paths(run) == ["proxy dmz tcp", "proxy dmz tcp"], "on a short line auto is TCP"
    agents = {agent["name"]: agent["path"] for agent in console.items("/agents")}
    assert agents == {"u": "proxy dmz udp", "t": "proxy dmz udp", "x": "proxy dmz udp"}, "the console's own leg"
    assert proxy.running()


class SlowJob:
    """32 MB from a to b at 8 MiB/s, so that something can happen on the way; made when the first bytes have arrived."""

    def __init__(self, world, transport):
        self.world = world
        for name in ("a", "b"):
            netns = world.lab.ns(name) if world.lab else None
            world.agent(name, via=["dmz"], netns=netns, direct="never", transport=transport)
        self.source, self.target = world.path("source"), world.path("target")
        self.source.mkdir()
        trees.random_file(self.source / "file", 32 << 20)
        self.job = world.hq.job("distribution", "slow", [f"a:{self.source}"], [f"b:{self.target}"])
        fairlead.until("the first bytes", lambda: trees.on_disk(self.target) >= 2 << 20, 60)

    def ends_well(self):
        run = self.job.wait(timeout=90)
        assert trees.differences(self.source, self.target) == []
        assert run["files_failed"] == 0
        return paths(run)


def slow(config):
    config["limits"] = {"rate_session": 8192}


@pytest.fixture
def behind_nat(lab, world):
    """Agents a and b (not started) behind NATs of their own, console and proxy between them."""
    lab.wan_host("dmz", PUBLIC)
    lab.natted("a", "203.0.113.11", "192.168.11.0/24")
    lab.natted("b", "203.0.113.12", "192.168.12.0/24")
    world.lab = lab
    world.hq = world.console(netns=lab.ns("dmz"))
    world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"), change=slow)
    return world


@pytest.fixture
def far(lab, world):
    """Function: agents a and b (not started) at the ends of emulated lines of 30 ms round trip, console and proxy between them."""
    for name in ("dmz", "a", "b"):
        lab.host(name)

    def make(**settings):
        lab.run("dmz", ["ip", "addr", "add", PUBLIC, "dev", "lo"])
        for name, net in (("a", "10.77.1"), ("b", "10.77.2")):
            lab.line("dmz", f"{net}.1/30", name, f"{net}.2/30", fairlead.program("bench/bench_link"), delay=15, **settings)
            lab.run(name, ["ip", "route", "add", "default", "dev", "line0"])
        world.lab = lab
        world.hq = world.console(netns=lab.ns("dmz"))
        world.dmz = world.proxy("dmz", address=f"{PUBLIC}:1080", listen="0.0.0.0:1080", netns=lab.ns("dmz"), change=slow)
        return world
    return make


def survived(world):
    """Sessions that ended otherwise than they should, by the proxy's log. None: the connections went on."""
    return [line for line in world.dmz.log().splitlines() if "session ended" in line and 'reason="done"' not in line]


WITHOUT_BBR = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        errno = ENOENT;
        return -1;
    }
    return real(fd, level, name, value, len);
}
"""


@pytest.fixture
def kernel_without_bbr(tmp_path, monkeypatch):
    """What programs see of such a kernel: it refuses the option. (A module cannot be taken from the machine's own kernel.)"""
    (tmp_path / "bbr.c").write_text(WITHOUT_BBR)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "bbr.so", tmp_path / "bbr.c"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(tmp_path / "bbr.so"))
    monkeypatch.setenv("ASAN_OPTIONS", f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0")


def controls(world, peers):
    """Congestion controls of the proxy's connections whose other end is one of @peers, by the kernel's word."""
    lines = world.lab.run("dmz", ["ss", "-tinH", "state", "established", "sport", "=", ":1080"]).splitlines()
    found = {info.split()[0] for head, info in zip(lines[::2], lines[1::2]) if any(peer in head.split()[-1] for peer in peers)}
    return {name for name in found if name in ("bbr", "cubic", "reno")}


def test_long_ways_have_bbr_and_short_ones_are_not_paced(far):
    """Agents at 30 ms, the console beside the proxy: whatever the machine's default is, BBR is for the long ways alone."""
    world = far()
    known, default = (world.lab.run("dmz", ["sysctl", "-n", f"net.ipv4.tcp_{key}"]).split()
                      for key in ("available_congestion_control", "congestion_control"))
    job = SlowJob(world, "tcp")
    assert controls(world, ["10.77.1.2", "10.77.2.2"]) == {"bbr" if "bbr" in known else default[0]}
    near = controls(world, [PUBLIC])
    assert near and "bbr" not in near
    job.ends_well()


def test_auto_takes_udp_where_it_is_far_and_tcp_when_that_is_blocked(far, kernel_without_bbr):
    """On a long line data goes by QUIC; a firewall that starts to swallow UDP costs some seconds and nothing else."""
    world = far()
    job = SlowJob(world, "auto")
    assert paths(job.job.run()) == ["proxy dmz udp"]
    world.lab.nft("dmz", "table inet block { chain in { type filter hook prerouting priority -300; meta l4proto udp drop; }; }")
    job.ends_well()  # the way that is dead may be found so after the end only: then it is told as that of the flow still
    b = next(program for program in world.programs if program.name == "b")
    assert 'path="proxy dmz tcp"' in b.log(), "what was left came by TCP"


def test_udp_that_never_works_delays_nothing(far, kernel_without_bbr):
    """The first try of a line where UDP is swallowed is TCP, and QUIC loses its race."""
    world = far()
    world.lab.nft("dmz", "table inet block { chain in { type filter hook prerouting priority -300; meta l4proto udp drop; }; }")
    assert SlowJob(world, "auto").ends_well() == ["proxy dmz tcp"]


def test_a_way_that_has_become_slow_is_renewed(far):
    """On a long line a tunnel that brings far less than it did is replaced by another over the same proxy, once and without a loss."""
    world = far()
    job = SlowJob(world, "udp")
    b = next(program for program in world.programs if program.name == "b")
    world.hq.rest("PATCH", "/agents/b/settings", {"rate_limit_download": 1024})  # what slows it does not matter
    fairlead.until("a new tunnel", lambda: "way renewed" in b.log(), 60)
    world.hq.rest("PATCH", "/agents/b/settings", {"rate_limit_download": 0})
    assert job.ends_well() == ["proxy dmz udp"]
    assert b.log().count("way renewed") == 1
    a = next(program for program in world.programs if program.name == "a")
    brought = [int(line.split("bytes=")[1].split()[0]) for line in a.log().splitlines() if "flow served" in line]
    assert len(brought) == 2 and min(brought) >= 1 << 20, brought
    assert sum(brought) == 32 << 20, "and nothing came twice"
    assert survived(world) == []


def test_router_forgets(behind_nat):
    """A NAT that starts anew gives the connection another address in mid-transfer; the sessions live on."""
    world, lab = behind_nat, behind_nat.lab
    job = SlowJob(world, "udp")
    for old, new in (("203.0.113.11", "203.0.113.31"), ("203.0.113.12", "203.0.113.32")):
        gateway = "a-gw" if old.endswith("11") else "b-gw"
        lab.run(gateway, ["ip", "addr", "del", f"{old}/24", "dev", "wan0"])  # what was masqueraded by it is forgotten
        lab.run(gateway, ["ip", "addr", "add", f"{new}/24", "dev", "wan0"])
    assert job.ends_well() == ["proxy dmz udp"]
    assert survived(world) == []


def test_agent_changes_its_address(behind_nat):
    """Source and target get other addresses in mid-transfer, as from one network to the next."""
    world, lab = behind_nat, behind_nat.lab
    job = SlowJob(world, "udp")
    for name, net in (("a", "192.168.11"), ("b", "192.168.12")):
        lab.run(name, ["ip", "addr", "del", f"{net}.2/24", "dev", "lan0"])
        lab.run(name, ["ip", "addr", "add", f"{net}.77/24", "dev", "lan0"])
        lab.run(name, ["ip", "route", "replace", "default", "via", f"{net}.1"])
    assert job.ends_well() == ["proxy dmz udp"]
    assert survived(world) == []


def test_line_of_mtu_1280(far):
    world = far(mtu=1280)
    assert SlowJob(world, "udp").ends_well() == ["proxy dmz udp"]
    assert survived(world) == []


def test_black_hole_for_large_packets(behind_nat):
    """From the middle on, a router swallows what is longer than 1280 bytes, without a word to anybody."""
    world, lab = behind_nat, behind_nat.lab
    for name, device in (("a", "lan0"), ("b", "lan0"), ("dmz", "wan0")):
        lab.run(name, ["ip", "link", "set", device, "gso_max_segs", "1"])  # so that a router sees packets, not trains of them
    job = SlowJob(world, "udp")
    for gateway in ("a-gw", "b-gw"):
        lab.nft(gateway, "table ip hole { chain f { type filter hook forward priority -10; meta l4proto udp meta length > 1280 drop; }; }")
    assert job.ends_well() == ["proxy dmz udp"]
    assert survived(world) == []


def test_proxy_is_killed_and_comes_back(behind_nat):
    """The new process knows none of the connections and says so at once (stateless reset): both agents dial again."""
    world = behind_nat
    job = SlowJob(world, "udp")
    world.dmz.kill()
    world.dmz.restart()
    assert job.ends_well() == ["proxy dmz udp"]


def test_take_over_ends_quic_and_no_run(world):
    """Sessions over QUIC cannot be passed to a new process: they are closed at once, and the agents go on at the new one."""
    world.lab = None
    world.hq = world.console()
    handover = str(world.folder / "handover.sock")
    world.dmz = world.proxy("dmz", change=lambda config: config.update(limits={"rate_session": 8192}, handover=handover))
    job = SlowJob(world, "udp")
    new = fairlead.Program(world, "successor", [*world.dmz.argv, "--take-over"]).start()
    new.wait_log("taken over")
    assert job.ends_well() == ["proxy dmz udp"]
    assert world.dmz.wait(timeout=30) == 0, "the old process has nothing to stay for"


def test_another_stack_is_refused(world):
    """A client of HTTP/3 meets no such thing: its handshake ends with the alert for it, again and again, and others do not notice."""
    if not shutil.which("gtlsclient"):
        pytest.skip("needs gtlsclient (package ngtcp2-client)")
    console = world.console()
    proxy = world.proxy("dmz")
    host, port = proxy.address.split(":")
    for _ in range(5):
        done = subprocess.run(["gtlsclient", "--exit-on-all-streams-close", "--timeout=5s", host, port, f"https://{host}/"],
                              capture_output=True, text=True, check=False, timeout=30 * fairlead.SLOW)
        assert "0x178" in done.stderr + done.stdout, done.stderr[-2000:]  # CRYPTO_ERROR with alert 120, no_application_protocol
    world.agent("a", via=["dmz"], direct="never", transport="udp")
    assert console.agent("a")["path"] == "proxy dmz tcp"
    assert proxy.running()


def udp_socket(address):
    """A UDP socket bound there; raises OSError where somebody else is."""
    host, port = address.split(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, int(port)))
    except OSError:
        sock.close()
        raise
    return sock


def test_udp_port_beside_the_tcp_port(world):
    """It is the proxy's; with "udp": "off" it is nobody's; and if another program has it, that is a warning, and TCP serves."""
    world.console()
    with pytest.raises(OSError):
        udp_socket(world.proxy("on").address)
    udp_socket(world.proxy("off", change=lambda config: config.update(udp="off")).address).close()
    address = f"127.0.0.1:{fairlead.free_port()}"
    with udp_socket(address):
        taken = world.proxy("taken", address=address)
        taken.wait_log("no UDP at this address")
        world.agent("a", via=["taken"], direct="never")


def test_udp_buffers_are_told(world):
    """The metric says what the kernel has granted, and where that is little the log says what to do about it."""
    world.console()
    port = fairlead.free_port()
    proxy = world.proxy("dmz", change=lambda config: config.update(metrics=f"127.0.0.1:{port}"))
    granted = int(proxy.wait_log(r"QUIC on the same ports receive_buffer=(\d+)").group(1))

    def told():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10 * fairlead.SLOW) as answer:
            return f"fairlead_proxy_udp_receive_buffer_bytes {granted}\n" in answer.read().decode()
    fairlead.until("the metric", told)
    assert (granted < 4 << 20) == ("net.core.rmem_max" in proxy.log())
