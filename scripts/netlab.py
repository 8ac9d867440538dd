"""Hosts, NAT routers and a WAN out of network namespaces, for the demo and the labs.

    with Lab("demo") as lab:
        lab.wan_host("dmz", "203.0.113.80")
        lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
        lab.run("home-a", ["ping", "-c1", "203.0.113.80"])

Every host is a namespace `fl<pid><prefix>-<name>`. A natted host stands behind a router of its own (nftables) that
masquerades and lets nothing in that was not asked for, or does as another kind of router (NATS). The WAN is a bridge in a namespace.
The addresses (RFC 5737 and private ones) exist only inside. Everything goes when the lab is closed, also
after a failure; what a killed run left behind is removed by the next one.
"""

import atexit
import ctypes
import ipaddress
import os
import re
import signal
import socket
import struct
import subprocess
import threading

# What a router does with UDP, by the names that people have for it, and in those of RFC 4787, sections 4.1 and 5: which port the world
# sees of a socket behind it, and who gets in there. Linux's own NAT keeps the port where nothing is in the way of it, so that all see
# the same one, and lets in whom the socket has sent to. `pass`: who else may; `note`: how that is remembered, for two minutes.
CONE = "map cone { typeof udp dport : ip daddr; flags dynamic,timeout; timeout 2m; }"
PAIR = "map pair { typeof udp dport . ip saddr : ip daddr; flags dynamic,timeout; timeout 2m; }"
NATS = {
    "full-cone": {"map": CONE, "pass": "dnat to udp dport map @cone", "note": "update @cone { udp sport : ip saddr }"},
    "address-restricted": {"map": PAIR, "pass": "dnat to udp dport . ip saddr map @pair",
                           "note": "update @pair { udp sport . ip daddr : ip saddr }"},
    "port-restricted": {},
    "symmetric": {"masquerade": "meta l4proto udp masquerade fully-random"},
    "udp-blocked": {"deny": "meta l4proto udp"},
}
CT_DELETE = (1 << 8) | 2  # linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h: of everything, or all with a mark
CTA_MARK, CTA_MARK_MASK = 8, 21
UDP_MARK = 17


class LabError(RuntimeError):
    """A command that builds the lab failed."""


def _sh(argv, text=None):
    done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def attribute(kind, value):
    """One of netlink's, with a number in network order."""
    return struct.pack("=HH", 8, kind) + struct.pack(">I", value)


def available():
    """None when this machine can make namespaces, else the reason."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "nft"):
        if subprocess.run(["which", tool], capture_output=True, check=False).returncode != 0:
            return f"needs the program {tool}"
    probe = f"fl{os.getpid()}probe"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip() or "cannot make network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return None


def remove_stale():
    """Remove namespaces of labs whose process has gone."""
    for line in _sh(["ip", "netns", "list"]).splitlines():
        name = line.split()[0] if line.strip() else ""
        match = re.fullmatch(r"fl(\d+)[a-z]+-.*", name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            _remove(name)


def _remove(namespace):
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    for pid in pids.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


class Lab:
    """A set of namespaces with one WAN."""

    def __init__(self, prefix, wan="203.0.113.0/24"):
        self.prefix = f"fl{os.getpid()}{prefix}"
        self.wan_net = ipaddress.ip_network(wan)
        self.names = []
        self.count = 0
        self.lines = {}  # of each host
        self.processes = []
        self.wan6 = False  # it routes IPv6 too
        self.routers = {}  # rules of each natted host's
        remove_stale()
        atexit.register(self.close)
        self._namespace("wan")
        self._ip("wan", "link add br0 type bridge\nlink set br0 up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ns(self, name):
        """The namespace of a host, for `ip netns exec`."""
        return f"{self.prefix}-{name}"

    def argv(self, name, argv):
        """@argv as it runs on that host."""
        return ["ip", "netns", "exec", self.ns(name), *argv]

    def run(self, name, argv, **kwargs):
        """Run a command on a host to its end and return its output."""
        return subprocess.run(self.argv(name, argv), check=True, text=True, capture_output=True, **kwargs).stdout

    def host(self, name):
        """A host without any cable, for line()."""
        self._namespace(name)

    def wan_host(self, name, address):
        """A host with a public address, such as a DMZ or a rented server."""
        self._namespace(name)
        self._to_wan(name, "wan0", address)

    def natted(self, name, public, lan, deny=(), nat="port-restricted", silent=True):
        """A host behind its own NAT router. @deny: nft match expressions of what it may not send. @nat, @silent: as router() has it."""
        gateway = f"{name}-gw"
        self._namespace(gateway)
        self._to_wan(gateway, "wan0", public)
        self.behind(name, gateway, lan)
        self.router(name, deny=deny, nat=nat, silent=silent)

    def far(self, name, public, lan, hub, program, nat="port-restricted", silent=True, **settings):
        """The same at the end of an emulated line to @hub, which has an address of its own and joins such lines. @program, @settings: as
        line() has them."""
        gateway, port = f"{name}-gw", f"line{self.lines.get(hub, 0)}"
        self.host(gateway)
        self.line(gateway, f"{public}/32", hub, "", program, **settings)
        self._ip(gateway, "route add default dev line0")
        self._ip(hub, f"route add {public}/32 dev {port}")
        self.run(hub, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        self.behind(name, gateway, lan)
        self.router(name, wan="line0", nat=nat, silent=silent)

    def wan_host6(self, name, number):
        """A host of the WAN has the address 2001:db8::NUMBER as well. The WAN routes IPv6, by 2001:db8::1."""
        if not self.wan6:
            self.wan6 = True
            self._ip("wan", "link set br0 type bridge mcast_snooping 0\naddr add 2001:db8::1/64 dev br0 nodad")
            self.run("wan", ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
        self._ip(name, f"addr add 2001:db8::{number}/64 dev wan0 nodad\nroute add default via 2001:db8::1")

    def firewalled6(self, name, number):
        """A host 2001:db8:NUMBER::2, and nothing else, behind a router that changes no address and lets in nothing unasked: IPv6 at home."""
        gateway, net = f"{name}-gw", f"2001:db8:{number}:"
        self._namespace(gateway)
        self._to_wan(gateway, "wan0", None)
        self.wan_host6(gateway, number)
        self._ip("wan", f"route add {net}:/64 via 2001:db8::{number}")
        self._namespace(name)
        self._cable(gateway, "lan0", name, "lan0")
        self._ip(gateway, f"addr add {net}:1/64 dev lan0 nodad")
        self._ip(name, f"addr add {net}:2/64 dev lan0 nodad\nroute add default via {net}:1")
        self.run(gateway, ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
        self.nft(gateway, """
table ip6 lab {
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan0" accept
  }
}
""")

    def behind(self, name, gateway, lan):
        """A new host with nothing but a cable to @gateway, which is there."""
        net = ipaddress.ip_network(lan)
        inside, host = str(net[1]), str(net[2])
        self._namespace(name)
        self._cable(gateway, "lan0", name, "lan0")
        self._ip(gateway, f"addr add {inside}/{net.prefixlen} dev lan0")
        self._ip(name, f"addr add {host}/{net.prefixlen} dev lan0\nroute add default via {inside}")
        self.run(gateway, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])

    def router(self, name, wan="wan0", deny=(), nat="port-restricted", silent=True):
        """The router of a natted host does as one of NATS does, from now on. @silent: it drops what comes for itself from the WAN, as
        those that one buys do. One that takes it, as those that people make of a Linux box may, holds the port for whoever came
        unasked, and gives its own host another one towards him."""
        gateway, kind = f"{name}-gw", NATS[nat]
        drops = "\n".join(f'    iifname "lan0" {rule} drop' for rule in [*deny, *filter(None, [kind.get("deny")])])
        self.routers[name] = f"""
table ip lab
delete table ip lab
table ip lab {{
  {kind.get("map", "")}
  chain pass {{ type nat hook prerouting priority -100;
    {f'iifname "{wan}" {kind["pass"]}' if "pass" in kind else ""}
  }}
  chain nat {{ type nat hook postrouting priority 100;
    oifname "{wan}" {kind.get("masquerade", "masquerade")}
    oifname "{wan}" masquerade
  }}
  chain forward {{ type filter hook forward priority 0; policy drop;
{drops}
    meta l4proto udp ct mark set {UDP_MARK}
    {f'iifname "lan0" oifname "{wan}" {kind["note"]}' if "note" in kind else ""}
    ct state established,related accept
    ct status dnat accept
    iifname "lan0" oifname "{wan}" accept
  }}
  chain input {{ type filter hook input priority 0; policy {"drop" if silent else "accept"};
    ct state established,related accept
    iifname {{ "lo", "lan0" }} accept
  }}
}}
"""
        self.nft(gateway, self.routers[name])

    def forget(self, name, udp_only=False):
        """The router of a natted host forgets every connection, as when it is switched off and on. One of TCP is known again when its host
        sends something. @udp_only: none of TCP."""
        self.nft(f"{name}-gw", self.routers[name])
        with self.socket_of(f"{name}-gw", socket.SOCK_RAW, family=socket.AF_NETLINK, protocol=12) as netlink:  # NETLINK_NETFILTER
            only = attribute(CTA_MARK, UDP_MARK) + attribute(CTA_MARK_MASK, 0xffffffff) if udp_only else b""
            netlink.send(struct.pack("=IHHIIBBH", 20 + len(only), CT_DELETE, 1 | 4, 1, 0, 0, 0, 0) + only)  # NLM_F_REQUEST, NLM_F_ACK
            error = -struct.unpack("=IHHIIi", netlink.recv(4096)[:20])[5]
        if error:
            raise LabError(f"forget {name}: {os.strerror(error)}")

    def socket_of(self, name, kind, address=None, port=0, family=socket.AF_INET, protocol=0):
        """A socket of that host, bound to @address if there is one. It stays the host's wherever it is used."""
        made = []

        def make():  # in a thread of its own, whose network namespace nobody else has
            space = os.open(f"/run/netns/{self.ns(name)}", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(space, 0) == 0:
                made.append(socket.socket(family, kind, protocol))
            os.close(space)
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise LabError(f"no socket on {name}")
        if address is not None:
            made[0].bind((address, port))
        return made[0]

    def opened(self, name, protocol, port):
        """The router of a natted host passes @port on to it from now on, as its owner told it to."""
        gateway, host = f"{name}-gw", self.address(name, "lan0")
        self.nft(gateway, f"""
table ip opened {{
  chain nat {{ type nat hook prerouting priority -100;
    iifname "wan0" {protocol} dport {port} dnat to {host}
  }}
}}
insert rule ip lab forward iifname "wan0" ct status dnat accept
""")

    def switch(self, name, hosts):
        """Plug hosts into a switch: @hosts maps them to their address there, A.B.C.D/N, or "" for none but IPv6's own. The device
        is called @name."""
        self._namespace(name)
        self._ip(name, "link add br0 type bridge mcast_snooping 0\nlink set br0 up")
        for host, address in hosts.items():
            self.count += 1
            port = f"p{self.count}"
            self._cable(name, port, host, name)
            self._ip(name, f"link set {port} master br0")
            if address:
                self._ip(host, f"addr add {address} dev {name}")

    def address(self, name, device):
        """The first IPv4 address of a device."""
        return re.search(r"inet ([\d.]+)", self.run(name, ["ip", "-4", "addr", "show", "dev", device])).group(1)

    def closed(self, name, public):
        """A host with a public address whose firewall lets nothing in that was not asked for."""
        self.wan_host(name, public)
        self.nft(name, """
table ip lab {
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
  }
}
""")

    def nft(self, name, rules):
        """Load nftables rules on a host."""
        _sh(self.argv(name, ["nft", "-f", "-"]), rules)

    def line(self, name_a, address_a, name_b, address_b, program, **settings):
        """Two hosts joined by an emulated line (bench/link.c, built as @program): devices line0, line1 … with these addresses
        (A.B.C.D/N; "": none). @settings: its options by name, for example delay=50, loss="1,0", rate=200. Returns its process."""
        devices = [f"line{self.lines.setdefault(name, 0)}" for name in (name_a, name_b)]
        options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        process = subprocess.Popen([program, *options, f"{self.ns(name_a)}:{devices[0]}", f"{self.ns(name_b)}:{devices[1]}"],
                                   stdout=subprocess.PIPE, text=True)
        if process.stdout.readline() != "ready\n":
            raise LabError(f"{program} ended with status {process.wait()}")
        for name, device, address in zip((name_a, name_b), devices, (address_a, address_b)):
            self.lines[name] += 1
            if address:
                self._ip(name, f"addr add {address} dev {device}")
        self.processes.append(process)
        return process

    def close(self):
        """Remove every namespace of this lab and stop what runs in it."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []
        for name in self.names:
            _remove(self.ns(name))
        self.names = []

    def _namespace(self, name):
        _sh(["ip", "netns", "add", self.ns(name)])
        self.names.append(name)
        self._ip(name, "link set lo up")

    def _ip(self, name, commands):
        _sh(["ip", "-n", self.ns(name), "-batch", "-"], commands + "\n")

    def _cable(self, name_a, device_a, name_b, device_b):
        """A veth pair between two hosts. It is born under names of its own, since both ends start in one place."""
        self.count += 1
        end_a, end_b = f"v{os.getpid()}a{self.count}", f"v{os.getpid()}b{self.count}"
        _sh(["ip", "link", "add", end_a, "netns", self.ns(name_a), "type", "veth", "peer", "name", end_b,
             "netns", self.ns(name_b)])
        self._ip(name_a, f"link set {end_a} name {device_a}\nlink set {device_a} up")
        self._ip(name_b, f"link set {end_b} name {device_b}\nlink set {device_b} up")

    def _to_wan(self, name, device, address):
        self.count += 1
        port = f"p{self.count}"
        self._cable("wan", port, name, device)
        self._ip("wan", f"link set {port} master br0")
        if address:
            self._ip(name, f"addr add {address}/{self.wan_net.prefixlen} dev {device}")
