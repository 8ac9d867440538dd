"""An office whose only way out is an HTTP proxy (squid) that wants a name and a password and lets through TCP to port 443 alone,
over a line that carries no packet of more than 1280 bytes."""

import hashlib
import json
import shutil
import subprocess

import fairlead
import pytest
import trees

from .conftest import PUBLIC

SQUID, USER, PASSWORD, REALM = "10.77.0.2", "ann", "p@ss:word", "office"
URL = f"http://{USER}:p%40ss%3Aword@{SQUID}:3128"


class Squid(fairlead.Program):
    """squid, in a folder that its own user may look into. @kind: basic or digest."""

    def __init__(self, world, lab, kind):
        self.folder = world.path("squid")
        self.folder.mkdir()
        users = self.folder / "users"
        if kind == "digest":
            users.write_text(f"{USER}:{REALM}:{hashlib.md5(f'{USER}:{REALM}:{PASSWORD}'.encode()).hexdigest()}\n")
            helper = f"/usr/lib/squid/digest_file_auth -c {users}"
        else:
            users.write_text(f"{USER}:{subprocess.check_output(['openssl', 'passwd', '-apr1', PASSWORD], text=True)}")
            helper = f"/usr/lib/squid/basic_ncsa_auth {users}"
        config = self.folder / "squid.conf"
        config.write_text(f"""
auth_param {kind} program {helper}
auth_param {kind} children 2 startup=1
auth_param {kind} realm {REALM}
acl known proxy_auth REQUIRED
acl allowed_port port 443
acl tunnel method CONNECT
http_access deny !allowed_port
http_access deny !tunnel
http_access allow known
http_access deny all
http_port {SQUID}:3128
cache deny all
pid_filename none
access_log stdio:{self.folder}/access.log
cache_log {self.folder}/cache.log
coredump_dir {self.folder}
shutdown_lifetime 0 seconds
pinger_enable off
visible_hostname office
""")
        self.folder.chmod(0o777)
        world.folder.chmod(0o755)  # for squid's user, who sees nothing in it that is not his
        super().__init__(world, "squid", ["/usr/sbin/squid", "-N", "-f", config], lab.ns("squid"))

    def asked(self):
        path = self.folder / "access.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ready(self):
        def listens():
            if not self.running():
                raise fairlead.Failure(f"squid ended: {self.log()[-2000:]}")
            return f":{3128:04X} " in (subprocess.run([*self.prefix(), "cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout)
        fairlead.until("squid to listen", listens, 30)
        return self


@pytest.fixture
def office(lab, world):
    """Function: the office behind a squid of that kind of authentication, and a public address for a console or a proxy."""
    if not shutil.which("squid", path="/usr/sbin"):
        pytest.skip("squid is not installed")
    lab.wan_host("dmz", PUBLIC)
    lab.wan_host("squid", "203.0.113.3")
    lab.host("office")
    lab.line("office", "10.77.0.1/30", "squid", f"{SQUID}/30", fairlead.program("bench/bench_link"), mtu=1280, delay=2)
    lab.run("office", ["ip", "route", "add", "default", "via", SQUID])  # which forwards nothing

    def make(kind):
        world.lab, world.squid = lab, Squid(world, lab, kind).start().ready()
        return world
    return make


def move(world, source_agent, target_agent, name):
    source, target = world.path(f"source-{name}"), world.path(f"target-{name}")
    source.mkdir()
    trees.small_files(source / "many", 300)
    trees.random_file(source / "big", 8 << 20)
    run = world.hq.job("distribution", name, [f"{source_agent}:{source}"], [f"{target_agent}:{target}"]).wait(timeout=90)
    assert trees.differences(source, target) == []
    return run["flows"][0]["path"]


def test_job_through_digest(office):
    """The agent in the office enrols, sends and receives by way of the proxy at port 443, and never shows its password."""
    world = office("digest")
    world.hq = world.console(netns=world.lab.ns("dmz"))
    world.proxy("dmz", address=f"{PUBLIC}:443", listen="0.0.0.0:443", netns=world.lab.ns("dmz"))
    world.agent("outside", via=["dmz"], netns=world.lab.ns("dmz"))
    inside = world.agent("inside", via=["dmz"], netns=world.lab.ns("office"), https_proxy=URL)
    assert move(world, "inside", "outside", "out") == "proxy dmz tcp"
    assert move(world, "outside", "inside", "in") == "proxy dmz tcp"
    assert inside.wait_log(rf'dialling through an HTTP proxy.*{SQUID}:3128')
    assert PASSWORD not in inside.log() and "p%40ss" not in inside.log()
    inside.stop()  # squid writes down what has ended
    fairlead.until("squid's log", lambda: f"CONNECT {PUBLIC}:443 {USER} " in world.squid.asked())


def test_console_and_wrong_password(office):
    """With Basic, the console itself is reached through squid; a wrong password is named in words, and so is a port that squid refuses."""
    world = office("basic")
    world.hq = world.console(netns=world.lab.ns("dmz"), host=PUBLIC, ui_port=8443, agents_port=443)
    for name, host, url, words in (("wrong", f"{PUBLIC}:443", URL.replace("word", "wrong"), r"wants another user or password \(407"),
                                   ("refused", f"{PUBLIC}:8443", URL, "HTTP proxy does not let us connect there")):
        config = world.agent_config(name, https_proxy=url)
        config["management_server"]["host"] = host
        agent = fairlead.Agent(world, name, config, world.lab.ns("office")).start()
        agent.wait_log(words, 30)
        agent.stop()
    config["management_server"]["host"] = f"{PUBLIC}:443"
    fairlead.Agent(world, "inside", config, world.lab.ns("office")).start().ready()


def test_console_in_the_office(office):
    """The console behind the HTTP proxy: it reaches its proxy by it, and the agents through that one; a job they have between them."""
    world = office("digest")
    settings = world.write("console.json", json.dumps({"https_proxy": URL}))
    world.hq = world.console(netns=world.lab.ns("office"), extra=["--config", settings])
    world.proxy("dmz", address=f"{PUBLIC}:443", listen="0.0.0.0:443", netns=world.lab.ns("dmz"))
    for name in ("one", "two"):
        world.agent(name, via=["dmz"], direct="never", netns=world.lab.ns("dmz"))
    assert move(world, "one", "two", "job") == "proxy dmz tcp"
    assert PASSWORD not in world.hq.log() and "p%40ss" not in world.hq.log()
    assert PASSWORD not in json.dumps(world.hq.rest("GET", "/status"))
    world.squid.stop()
    world.hq.wait_proxy("dmz", "unreachable", 60)
