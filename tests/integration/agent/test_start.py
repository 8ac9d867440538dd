"""What an agent says about bad input before it does anything: one line, and the right exit status."""

import json
import os
import resource
import subprocess

import fairlead
import pytest

GOOD = {
    "management_server": {"host": "127.0.0.1:1", "cert_authority_fingerprint": "ab" * 32},
    "device_name": "tester",
}


def run(*arguments, timeout=20):
    return subprocess.run([fairlead.program("fairlead-agent"), *map(str, arguments)], capture_output=True, text=True, check=False,
                          timeout=timeout, stdin=subprocess.DEVNULL)


def start(tmp_path, content, *extra):
    path = tmp_path / "agent.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return run("--config", path, "--state", tmp_path / "state", *extra)


def one_line(done, status, *words):
    assert done.returncode == status, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fairlead-agent: ")
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.asan
@pytest.mark.parametrize("change, words", [
    ({"listning_port": 1}, ['"listning_port"', "listening_port", "agent.json:"]),
    ({"listening_port": 70000}, ["listening_port", "65535"]),
    ({"listening_port": "many"}, ["listening_port"]),
    ({"mc_proxy": 5}, ["mc_proxy"]),
    ({"mc_proxy": "nowhere"}, ["mc_proxy", "nowhere"]),
    ({"direct": "perhaps"}, ["direct", "never"]),
    ({"tags": [1]}, ["tags"]),
    ({"device_name": ""}, ["device_name"]),
    ({"folders_storage_path": "here"}, ["folders_storage_path", "absolute"]),
    ({"log": {"level": "loud"}}, ["level", "loud"]),
    ({"management_server": {"host": "h"}}, ["cert_authority_fingerprint"]),
    ({"management_server": {"cert_authority_fingerprint": "ab" * 32}}, ["mc_proxy"]),
    ({"management_server": {"host": "h", "cert_authority_fingerprint": "xyz"}}, ["cert_authority_fingerprint", "64"]),
    ({"management_server": "h"}, ["management_server"]),
])
def test_config(tmp_path, change, words):
    one_line(start(tmp_path, {**GOOD, **change}, "--check"), 2, *words)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": }', "\0", '{"device_name": "\\ud800"}', "[" * 100000])
def test_not_json(tmp_path, text):
    one_line(start(tmp_path, text, "--check"), 2, "agent.json")


def test_unreadable(tmp_path):
    one_line(run("--config", tmp_path / "none.json", "--state", tmp_path / "s"), 2, "none.json")
    one_line(run("--config", tmp_path, "--state", tmp_path / "s"), 2, str(tmp_path))


def test_usage(tmp_path):
    one_line(run("--config", "x"), 2, "--state")
    one_line(run("--state", "x"), 2, "--config")
    one_line(run("--config", "x", "--state", "y", "z"), 2, "z")
    assert run("--nonsense").returncode == 2
    one_line(start(tmp_path, GOOD, "--log-level", "loud"), 2, "loud")
    done = run("--help")
    assert done.returncode == 0 and "agent.json" in done.stdout and "mc_proxy" in done.stdout
    assert run("--version").stdout.startswith("fairlead-agent ")
    done = start(tmp_path, GOOD, "--check")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "state").exists()


def test_no_token(tmp_path):
    one_line(start(tmp_path, GOOD), 2, "bootstrap_token")
    damaged = {**GOOD, "management_server": {**GOOD["management_server"], "bootstrap_token": "aGVsbG8gd29ybGQ="}}
    one_line(start(tmp_path, damaged), 2, "bootstrap_token", "damaged")


def test_state_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(GOOD))
    one_line(run("--config", path, "--state", file), 1, str(file))
    one_line(run("--config", path, "--state", file / "below"), 1, str(file))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    one_line(run("--config", path, "--state", shared), 1, "others may write")
    if os.geteuid() == 0:
        one_line(run("--config", path, "--state", "/proc/nothing"), 1, "/proc/nothing")


def test_descriptors(world):
    """A shell gives 1024 of them to a program that may have many more: a console needs one an agent."""
    def start(program):
        program.prefix = lambda: ["prlimit", "--nofile=200:5000"]
        return program.start().ready()

    console = world.the_console = start(fairlead.Console(world))
    address = f"127.0.0.1:{fairlead.free_port()}"
    proxy = start(fairlead.Proxy(world, "p", console.rest("POST", "/proxies", {"name": "p", "addresses": [address]})["config"]))
    agent = start(fairlead.Agent(world, "a", world.agent_config("a")))
    console.wait_proxy("p")
    for program in (console, proxy, agent):
        assert resource.prlimit(program.pid, resource.RLIMIT_NOFILE) == (5000, 5000), program.name


def test_secrets_that_all_may_read(world):
    """A file that lets agents in is no business of other users: it is said, and the agent starts all the same."""
    world.console()
    agent = fairlead.Agent(world, "a", world.agent_config("a"))
    agent.config_path.chmod(0o644)
    agent.start().ready()
    assert "chmod" not in agent.log()  # the folder is closed
    agent.stop()
    world.folder.chmod(0o755)
    agent.restart().ready()
    assert "chmod 600" in agent.log() and str(agent.config_path) in agent.log()
    agent.stop()
    agent.config_path.chmod(0o640)
    agent.restart().ready()
    assert "chmod" not in agent.log()
    proxy = world.proxy("p")
    assert "chmod" not in proxy.log()
    proxy.stop()
    proxy.config_path.chmod(0o604)
    proxy.restart().wait_log(r"chmod 600.*p\.json")


def test_names_that_lead_nowhere(world):
    """A host name that DNS does not know is told as that, with the name."""
    world.console()
    config = world.agent_config("a")
    config["mc_proxy"] = ["no-such-host.invalid:1080"]
    config["management_server"].pop("host", None)
    agent = fairlead.Agent(world, "a", config).start()
    agent.wait_log(r'proxy="no-such-host\.invalid:1080".*\(DNS\)')
