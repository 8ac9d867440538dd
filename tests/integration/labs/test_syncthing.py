"""Two Syncthing daemons in networks that have no way to each other sync by way of our relay, also when it dies on the way."""

import re

import fairlead
import pytest
import syncthing
import trees

from .conftest import PUBLIC

MB = 1 << 20
PORT = 22067


@pytest.fixture
def relay(lab, world):
    """The proxy, without a console that knows it, and the relay's URI. Starts when .start() is called, after .allow was set."""
    lab.wan_host("dmz", PUBLIC)
    lab.natted("home-a", "203.0.113.11", "192.168.11.0/24")
    lab.natted("home-b", "203.0.113.12", "192.168.12.0/24")
    console = world.console(netns=lab.ns("dmz"))
    config = console.rest("POST", "/proxies", {"name": "dmz", "addresses": [f"{PUBLIC}:1080"], "listen": ["0.0.0.0:1080"]})["config"]
    config["syncthing"] = {"listen": f"{PUBLIC}:{PORT}", "allow": ["any"]}
    return fairlead.Proxy(world, "dmz", config, lab.ns("dmz"))


def restart_quickly(lab, relay):
    """While it is away, connections are not refused but wait: a daemon that is refused twice rests for a minute."""
    lab.nft("dmz", f"""
table ip away {{
  chain input {{ type filter hook input priority 0;
    tcp dport {PORT} tcp flags & (syn | ack) == syn drop
  }}
}}
""")
    relay.kill()
    relay.restart().wait_log("serving Syncthing devices")
    lab.run("dmz", ["nft", "delete", "table", "ip", "away"])


def restart(lab, relay):
    relay.kill()
    relay.restart()


def sync(lab, world, relay, size, files, again):
    source, target = world.path("source"), world.path("target")
    source.mkdir()
    for part in range(4):
        trees.random_file(source / f"big{part}", size // 4)
    trees.small_files(source / "small", files)
    uri = relay.start().wait_log(r"uri=\"?(relay://[^\s\"]+)").group(1)
    syncthing.pair(world, uri, source, target, (lab.ns("home-a"), lab.ns("home-b")))
    fairlead.until("a part of the data", lambda: trees.on_disk(target) > size // 5, 60, 0.01)
    again(lab, relay)
    assert trees.on_disk(target) < size, "the transfer was over before the kill"
    syncthing.wait_equal(source, target, 240)
    assert len(re.findall(r"syncthing device joined", relay.log())) == 2


def test_daemons_sync_while_the_relay_dies(lab, world, relay):
    sync(lab, world, relay, 60 * MB, 300, restart_quickly)


@pytest.mark.long
def test_daemons_sync_much_while_the_relay_dies(lab, world, relay):
    sync(lab, world, relay, 300 * MB, 5000, restart)
