"""The part of bench/run about long lines: whole jobs over two emulated hops (bench/link.c) and on loopback, beside rsync over
ssh and Syncthing.

    agent a --- line --- proxy --- line --- agent b

Each hop has the rate and the loss, both ways, and half of the round trip; its queue holds what the line carries in a round trip
end to end. rsync and ssh go the same way as one connection that the middle forwards. BENCH_LINKS: rows to run, by name.
"""

import array
import contextlib
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

MIDDLE, A, B = "10.77.0.1", "10.77.1.1", "10.77.2.1"
WAIT = 900  # seconds for one run


class Way:
    """One way to move a folder. @program: once(source, target) does it and gives the seconds; pids: of what runs all the time."""

    def __init__(self, name, program, source):
        self.name, self.program, self.source, self.rates, self.costs = name, program, source, [], []

    def cpu_seconds(self):
        """Of its programs that run, of their children that have ended, and of those that we have started and waited for."""
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = ours.ru_utime + ours.ru_stime
        for pid in self.program.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return total

    def measure(self, folder):
        target, size, cpu = folder / "target", size_of(self.source), self.cpu_seconds()
        seconds = self.program.once(self.source, target)
        time.sleep(0.2)  # for a server to see its client's end
        self.rates.append(size * 8 / seconds / 1e6)
        self.costs.append((self.cpu_seconds() - cpu) / (size / 1e9))
        subprocess.run(["diff", "-r", "--exclude=.stfolder", self.source, target], check=True)
        put_aside(folder, target)
        print(f"  {self.name}: {self.rates[-1]:.1f} Mbit/s, {self.costs[-1]:.1f} CPU s/GB", file=sys.stderr, flush=True)

    @property
    def rate(self):
        return statistics.median(self.rates)

    @property
    def cost(self):
        return statistics.median(self.costs)


def put_aside(folder, target):
    """@target gives its data back, but its files stay to the end: an ext4 without a journal passes over every inode that was deleted
    in the latest minutes (recently_deleted() in fs/ext4/ialloc.c), and with 10,000 of them that is most of what the next run costs."""
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
    target.rename(tempfile.mkdtemp(prefix="former-", dir=folder))


def warm_up(folder, source):
    """Write as much as a run will: memory that a virtual machine has not used before costs its first user five times as much."""
    shutil.copytree(source, folder / "warm")
    put_aside(folder, folder / "warm")


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def one_file(path, megabytes):
    path.mkdir()
    with (path / "file").open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def small_files(path):
    for number in range(10_000):
        folder = path / f"{number // 500}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(os.urandom(10_000))
    return path


class Line:
    """Three hosts in namespaces: a, middle, b."""

    loopback = False

    def __init__(self, bench, lab, rate, trip, loss):
        self.lab, self.rate, self.address = lab, rate, MIDDLE
        settings = {"rate": rate, "delay": trip / 4, "loss": loss, "queue": rate * trip / 8 * 1000 / 1024}
        for name in ("a", "middle", "b"):
            lab.host(name)
            # What a megabyte of bytes on the way takes of a buffer is up to two; the default of 4 MB is too little for the faster line.
            lab.run(name, ["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 65536 33554432", "net.ipv4.tcp_rmem=4096 131072 33554432",
                           "net.ipv4.ip_forward=1"])
        lab.run("middle", ["ip", "addr", "add", f"{MIDDLE}/32", "dev", "lo"])
        for seed, (name, address) in enumerate((("a", A), ("b", B))):
            gateway = address[:-1] + "2"
            lab.line(name, f"{address}/30", "middle", f"{gateway}/30", bench.BUILD / "bench/bench_link", seed=seed, **settings)
            lab.run(name, ["ip", "route", "add", "default", "via", gateway])

    def ns(self, name):
        return self.lab.ns(name)

    def argv(self, name, argv):
        return self.lab.argv(name, argv)


class Loopback:
    """The same hosts in one."""

    loopback, address = True, "127.0.0.1"

    def ns(self, _):
        return None

    def argv(self, _, argv):
        return argv


class Ours:
    """Console and proxy in the middle, agents at the ends."""

    def __init__(self, bench, fairlead, place, stack, **agent):
        self.world = fairlead.World("bench-links")
        self.failed = True
        stack.callback(lambda: self.world.close(failed=self.failed))
        self.console = self.world.console(netns=place.ns("middle"))
        port = bench.free_port()
        self.world.proxy("relay", address=f"{place.address}:{port}", listen=f"{place.address}:{port}", netns=place.ns("middle"))
        for name in ("a", "b"):
            self.world.agent(name, via=["relay"], direct="never", netns=place.ns(name), **agent)
        self.jobs = 0

    def pids(self):
        return [program.pid for program in self.world.programs]

    def once(self, source, target):
        self.jobs += 1
        self.failed = True
        start = time.monotonic()
        if self.console.netns:  # where each look at REST is a process of its own, and no small one
            made = self.console.cli("--json", "job", "create", "distribution", "--name", f"job{self.jobs}", "--from", f"a:{source}",
                                    "--to", f"b:{target}")
            self.console.cli("job", "wait", json.loads(made.stdout)["id"], "--timeout", WAIT, timeout=WAIT)
        else:
            self.console.job("distribution", f"job{self.jobs}", [f"a:{source}"], [f"b:{target}"]).wait(timeout=WAIT)
        seconds = time.monotonic() - start
        self.failed = False
        return seconds


class Rsync:
    """rsync over ssh, from a to a server at b; on loopback through HAProxy. @congestion: of the connection."""

    def __init__(self, bench, place, stack, folder, congestion=None):
        self.place, self.home = place, folder / f"ssh-{congestion}"
        self.home.mkdir()
        port = out = bench.free_port()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / name], check=True)
        config = self.home / "sshd"
        config.write_text(f"HostKey {self.home}/host\nAuthorizedKeysFile {self.home}/user.pub\nStrictModes no\nUsePAM no\n"
                          "PidFile none\nPermitRootLogin yes\n")
        os.makedirs("/run/sshd", exist_ok=True)
        self.running = [start(stack, place.argv("b", ["/usr/sbin/sshd", "-D", "-e", "-p", str(port), "-f", str(config)]))]
        if place.loopback:
            out, haproxy = bench.free_port(), folder / "haproxy.cfg"
            haproxy.write_text("defaults\n  mode tcp\n  option splice-auto\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
                               f"listen relay\n  bind 127.0.0.1:{out}\n  server out 127.0.0.1:{port}\n")
            self.running.append(start(stack, ["/usr/sbin/haproxy", "-db", "-q", "-f", str(haproxy)]))
        self.ssh = (f"ssh -p {out} -i {self.home}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
                    f"-o IdentitiesOnly=yes -F none")
        if congestion:
            connect = f"{sys.executable} {__file__} {B} {out} {congestion}"
            self.ssh += f" -o ProxyUseFdpass=yes -o 'ProxyCommand={connect}'"
        self.host = "127.0.0.1" if place.loopback else B
        time.sleep(0.5)

    def pids(self):
        return [process.pid for process in self.running]

    def once(self, source, target):
        start_time = time.monotonic()
        subprocess.run(self.place.argv("a", ["rsync", "-a", "-e", self.ssh, f"{source}/", f"root@{self.host}:{target}/"]), check=True,
                       timeout=WAIT)
        return time.monotonic() - start_time


class Syncthing:
    """Two daemons that know one strelaysrv. The time is that from their meeting until the last file is there."""

    def __init__(self, bench, place, stack, folder):
        sys.path.insert(0, str(bench.ROOT / "bench"))
        import syncthing_relay  # pylint: disable=import-outside-toplevel
        self.sync_once, self.place, self.folder = syncthing_relay.sync_once, place, folder
        port, keys = bench.free_port(), folder / "strelaysrv"
        keys.mkdir()
        self.relay = start(stack, place.argv("middle", ["strelaysrv", "-pools", "", "-keys", str(keys), "-listen",
                                                        f"{place.address}:{port}", "-status-srv", ""]))
        self.uri = f"relay://{place.address}:{port}"

    def pids(self):
        return [self.relay.pid]

    def once(self, source, target):
        return self.sync_once(self.uri, source, target, (self.place.ns("a"), self.place.ns("b")))


def start(stack, argv):
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop():
        process.terminate()
        process.wait()
    stack.callback(stop)
    return process


def has_udp(bench):
    """Can these agents be told to use UDP legs?"""
    text = subprocess.run([bench.BUILD / "fairlead-agent", "--help"], check=True, capture_output=True, text=True).stdout
    return "transport" in text


def ours(bench, fairlead, place, stack, source):
    """Our ways: over TCP, and over UDP where the agents can."""
    if not has_udp(bench):
        print("bench: these agents have no UDP legs; the rows are those of TCP legs alone", file=sys.stderr)
        return [Way("TCP legs", Ours(bench, fairlead, place, stack), source)]
    return [Way(f"{kind.upper()} legs", Ours(bench, fairlead, place, stack, transport=kind), source) for kind in ("udp", "tcp")]


def alternate(bench, folder, ways):
    for _ in range(bench.RUNS):
        for way in ways:
            way.measure(folder)


def tell(bench, title, rows):
    """@rows: one of our ways, what it is beside (a Way, or the name of a rate), that rate, the goal for their ratio or None."""
    lines = []
    for one, other, rate, goal in rows:
        name, cost = (other.name, f"{other.cost:.1f}") if isinstance(other, Way) else (other, "-")
        lines.append([one.name, f"{one.rate:.1f}", f"{one.cost:.1f}", name, f"{rate:.1f}", cost, bench.verdict(one.rate / rate, goal, False)])
    bench.table(f"{title}; medians of {bench.RUNS} alternating runs",
                ["what", "Mbit/s", "CPU s/GB", "beside", "Mbit/s", "CPU s/GB", "ours / it"], lines)


@contextlib.contextmanager
def line(bench, rate, trip, loss):
    import netlab  # pylint: disable=import-outside-toplevel
    with netlab.Lab("bench") as lab, contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as name:
        yield Line(bench, lab, rate, trip, loss), stack, pathlib.Path(name)


def lossy(bench, fairlead):
    with line(bench, 200, 100, 1) as (place, stack, folder):
        own = ours(bench, fairlead, place, stack, one_file(folder / "source", 300))
        rsync = Way("rsync over ssh, CUBIC", Rsync(bench, place, stack, folder, "cubic"), one_file(folder / "less", 5))
        alternate(bench, folder, [*own, rsync])
        rows = [(own[0], "the line", 200, 0.85), *((own[0], tcp, tcp.rate, 1.5) for tcp in own[1:]), (own[0], rsync, rsync.rate, 20)]
        rows += [(tcp, beside, rate, None) for tcp in own[1:] for beside, rate in (("the line", 200), (rsync, rsync.rate))]
    tell(bench, "200 Mbit/s, 100 ms, 1 % of the packets lost on each hop; a file of 300 MB (5 MB for rsync, for the time it takes)", rows)


def fast(bench, fairlead):
    with line(bench, 800, 50, 0.5) as (place, stack, folder):
        own = ours(bench, fairlead, place, stack, one_file(folder / "source", 1000))
        alternate(bench, folder, own)
    tell(bench, "800 Mbit/s, 50 ms, 0.5 % lost on each hop; a file of 1 GB", [(way, "the line", 800, 0.75) for way in own])


def small(bench, fairlead):
    with line(bench, 200, 100, 0) as (place, stack, folder):
        own = ours(bench, fairlead, place, stack, small_files(folder / "source"))
        peers = [Way("Syncthing, strelaysrv", Syncthing(bench, place, stack, folder), own[0].source),
                 Way("rsync over ssh", Rsync(bench, place, stack, folder), own[0].source)]
        alternate(bench, folder, [*own, *peers])
        rows = [(way, "100 Mbit/s", 100, 1) for way in own]
        rows += [(way, peer, peer.rate, goal) for way in own for peer, goal in zip(peers, (5, None))]
    tell(bench, "200 Mbit/s, 100 ms, nothing lost; 10,000 files of 10 KB", rows)


def loopback(bench, fairlead):
    place, rows = Loopback(), []
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bench.make_files(folder / "folder")
        small_files(folder / "small")
        programs = [("raw TCP legs", Ours(bench, fairlead, place, stack, **({"transport": "tcp"} if has_udp(bench) else {}))),
                    ("Syncthing, strelaysrv", Syncthing(bench, place, stack, folder)),
                    ("rsync over ssh, HAProxy", Rsync(bench, place, stack, folder))]
        for source, what in (("folder", f"folder of {bench.MEGABYTES} MB"), ("small", "10,000 files of 10 KB")):
            own, *peers = [Way(f"{kind}: {what}", program, folder / source) for kind, program in programs]
            warm_up(folder, folder / source)
            alternate(bench, folder, [own, *peers])
            rows += [(own, peer, peer.rate, goal) for peer, goal in zip(peers, (2, 1))]
    tell(bench, "Loopback, agent to agent through a relay", rows)


def streams(bench, _):
    """Nine streams of one QUIC connection, alone and beside one whose peer hardly takes anything."""
    import netlab  # pylint: disable=import-outside-toplevel
    rates = {0: [], 1: []}
    with netlab.Lab("bench") as lab:
        for name in ("a", "b"):
            lab.host(name)
        lab.line("a", f"{A}/30", "b", f"{A[:-1]}2/30", bench.BUILD / "bench/bench_link", rate=200, delay=10, queue=500)
        for _ in range(bench.RUNS):
            for slow, results in rates.items():
                seconds = subprocess.run([bench.BUILD / "bench/bench_streams", "9", str(slow), "10", A, lab.ns("a"), lab.ns("b")],
                                         check=True, text=True, stdout=subprocess.PIPE).stdout
                results.append(9 * 10 * 8 / float(seconds))
                print(f"  nine streams beside {slow} slow: {results[-1]:.1f} Mbit/s", file=sys.stderr, flush=True)
    alone, beside = (statistics.median(results) for results in rates.values())
    bench.table(f"Nine streams on one QUIC connection over 200 Mbit/s, 20 ms; medians of {bench.RUNS} alternating runs",
                ["what", "Mbit/s", "beside", "Mbit/s", "ours / it"],
                [["beside a slow stream", f"{beside:.1f}", "alone", f"{alone:.1f}", bench.verdict(beside / alone, 0.9, False)]])


ROWS = {"lossy": lossy, "fast": fast, "small": small, "loopback": loopback, "streams": streams}


def run(bench):
    """@bench: the module of bench/run, whose helpers these are."""
    for path in ("tests/integration", "scripts"):
        sys.path.insert(0, str(bench.ROOT / path))
    import fairlead  # pylint: disable=import-outside-toplevel
    import netlab  # pylint: disable=import-outside-toplevel

    names = ("fairlead-proxy", "fairlead-agent", "fairlead-console", "fairlead", "bench/bench_link", "bench/bench_streams")
    subprocess.run(["ninja", "-C", bench.BUILD, *names], check=True, stdout=subprocess.DEVNULL)
    path = os.environ["PATH"] + ":/usr/sbin"
    absent = [package for program, package in (("strelaysrv", "syncthing-relaysrv"), ("syncthing", "syncthing"), ("rsync", "rsync"),
                                               ("sshd", "openssh-server"), ("haproxy", "haproxy")) if not shutil.which(program, path=path)]
    if absent or netlab.available():
        print(f"bench: NO links: {netlab.available() or 'not installed: ' + ' '.join(absent)}", file=sys.stderr)
        return
    for name in os.environ.get("BENCH_LINKS", " ".join(ROWS)).split():
        ROWS[name](bench, fairlead)


def connect(host, port, congestion):
    """For ssh's ProxyUseFdpass: a connection with that congestion control, given away."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    sock.connect((host, int(port)))
    with socket.socket(fileno=os.dup(1)) as out:
        out.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))])


if __name__ == "__main__":
    connect(*sys.argv[1:])
