"""The real console: every route with good and bad input, its state directory, its ports, its restart."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading
import urllib.error
import urllib.request
import warnings

import pytest

import fairlead

pytestmark = pytest.mark.asan

PEER = "192.0.2.1:1080"  # where nobody is


class Api:
    """Bare requests to a console, with any headers."""

    def __init__(self, console):
        self.console = console
        self.context = ssl.create_default_context(cafile=console.ca)

    def call(self, method, path, body=None, token=None, raw=None, headers=()):
        """Returns (status, headers, parsed body or text)."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://{self.console.ui}{path}", data=data, method=method)
        token = self.console.token if token is None else token
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        for name, value in headers:
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                status, answer_headers, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, answer_headers, text = error.code, error.headers, error.read()
        with contextlib.suppress(ValueError):
            return status, answer_headers, json.loads(text)
        return status, answer_headers, text.decode()

    def get(self, path):
        status, _, answer = self.call("GET", f"/api/v1{path}")
        assert status == 200, answer
        return answer

    def post(self, path, body=None, expect=201):
        status, _, answer = self.call("POST", f"/api/v1{path}", body)
        assert status == expect, answer
        return answer

    def problem(self, method, path, body=None, expect=400, field=None, text=""):
        status, headers, answer = self.call(method, f"/api/v1{path}", body)
        assert status == expect, answer
        assert headers["Content-Type"] == "application/problem+json"
        assert answer["status"] == expect and answer["title"]
        assert answer.get("field") == field, answer
        assert text in answer["detail"], answer
        return answer


@pytest.fixture(scope="module")
def shared():
    world = fairlead.World("console-rest")
    try:
        console = world.console()
        yield Api(console)
        assert console.stop() == 0
    finally:
        world.close()


@pytest.fixture
def own(tmp_path):
    """Start consoles on a state directory of one's own; all are gone at the end."""
    started = []

    def start(*arguments, state=tmp_path / "state", wait=True, ui="127.0.0.1:0", agents="127.0.0.1:0", **kwargs):
        argv = [str(fairlead.program("fairlead-console")), "--state", str(state), "--ui", ui, "--agents", agents, *arguments]
        with contextlib.suppress(OSError):
            os.unlink(state / "addresses.json")
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
        started.append(process)
        if wait:
            fairlead.until("addresses.json", lambda: process.poll() is not None or (state / "addresses.json").exists())
            assert process.poll() is None, process.stderr.read()
            process.addresses = json.loads((state / "addresses.json").read_text())
            process.state = state
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


class Local:
    """What Api needs to know of a console that `own` started."""

    def __init__(self, process):
        self.ui = process.addresses["ui"]
        self.ca = str(process.state / "ca.pem")
        self.token = (process.state / "admin.token").read_text().strip()


def fails(process, status, *texts):
    out, err = process.communicate(timeout=20 * fairlead.SLOW)
    assert process.returncode == status, err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("fairlead-console: ")
    for text in texts:
        assert text in lines[0]


# ---- what needs no token ----


def test_page_and_health_are_open(shared):
    status, headers, text = shared.call("GET", "/", token="")
    assert status == 200 and "<title>Fairlead</title>" in text and headers["Content-Type"].startswith("text/html")
    for path in ("/healthz", "/api/v1/healthz"):
        assert shared.call("GET", path, token="")[2] == {"status": "ok"}


def test_security_headers(shared):
    for path in ("/", "/api/v1/status", "/nothing"):
        headers = shared.call("GET", path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert headers["Strict-Transport-Security"]


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "x" * 5000])
def test_wrong_tokens(shared, token):
    for method, path in (("GET", "/status"), ("POST", "/jobs"), ("DELETE", "/jobs/x"), ("GET", "/nothing")):
        status, headers, answer = shared.call(method, f"/api/v1{path}", token=token)
        assert status == 401 and headers["WWW-Authenticate"].startswith("Bearer")
        assert answer["title"] == "Unauthorized"


# ---- routes ----


def test_status(shared):
    answer = shared.get("/status")
    assert len(answer["console_id"]) == 32 and len(answer["fingerprint"]) == 64
    assert answer["agents"]["online"] == 0 and "connected" in answer["proxies"]
    assert answer["uptime"] >= 0 and answer["version"]


def test_unknown_paths_and_methods(shared):
    shared.problem("GET", "/nothing", expect=404)
    status, headers, _ = shared.call("PUT", "/api/v1/jobs", {})
    assert status == 405 and headers["Allow"] == "GET, HEAD, POST"
    assert shared.call("HEAD", "/api/v1/status")[0] == 200


def test_proxy_comes_and_goes(shared):
    made = shared.post("/proxies", {"name": "p-one", "addresses": [PEER, "proxy.example:443"]})
    config, proxy = made["config"], made["proxy"]
    assert config["listen"] == [":1080", ":443"]
    assert config["identity"].count("-----BEGIN") == 2 and "PRIVATE KEY" in config["identity"]
    assert "PRIVATE KEY" in config["tls_certificate"] and config["ca"].count("BEGIN CERTIFICATE") == 1
    assert proxy["state"] in ("connecting", "unreachable") and proxy["addresses"] == [PEER, "proxy.example:443"]
    shared.problem("POST", "/proxies", {"name": "p-one", "addresses": [PEER]}, 409, "name", "already")
    assert shared.get("/proxies/p-one")["id"] == proxy["id"]
    assert shared.get(f"/proxies/{proxy['id']}")["name"] == "p-one"
    assert shared.get(f"/proxies/{proxy['id'][:8]}")["name"] == "p-one"
    shared.problem("GET", "/proxies/p-ona", expect=404, text='did you mean "p-one"')
    # The private keys of a proxy are in the answer and nowhere else.
    database = b"".join((shared.console.state / name).read_bytes() for name in os.listdir(shared.console.state) if "console.db" in name)
    for part in (config["identity"], config["tls_certificate"]):
        assert part.split("\n")[1].encode() not in database
    status, _, answer = shared.call("DELETE", "/api/v1/proxies/p-one")
    assert status == 200 and answer["state"] == "removed"
    shared.problem("GET", "/proxies/p-one", expect=404)
    shared.problem("DELETE", "/proxies/p-one", expect=404)


def test_proxy_listen(shared):
    made = shared.post("/proxies", {"name": "p-two", "addresses": ["a.example:443", "b.example:443"], "listen": ["10.0.0.1:8000"]})
    assert made["config"]["listen"] == ["10.0.0.1:8000"]
    shared.call("DELETE", "/api/v1/proxies/p-two")
    made = shared.post("/proxies", {"name": "p-two", "addresses": ["a.example:443", "b.example:443"]})
    assert made["config"]["listen"] == [":443"]
    shared.call("DELETE", "/api/v1/proxies/p-two")


def test_at_most_twenty_proxies(shared):
    before = len(shared.get("/proxies")["items"])
    for n in range(20 - before):
        shared.post("/proxies", {"name": f"many-{n}", "addresses": [PEER]})
    shared.problem("POST", "/proxies", {"name": "more", "addresses": [PEER]}, 409, None, "at most 20")
    for n in range(20 - before):
        assert shared.call("DELETE", f"/api/v1/proxies/many-{n}")[0] == 200


@pytest.mark.parametrize("body, field, text", [
    ({}, "name", "missing"),
    ({"name": "a"}, "addresses", "missing"),
    ({"name": "a", "addresses": []}, "addresses", "number of items"),
    ({"name": "a", "addresses": ["x"] * 5}, "addresses", "number of items"),
    ({"name": "a", "addresses": ["x"]}, "addresses", "HOST:PORT"),
    ({"name": "a", "addresses": ["x:70000"]}, "addresses", "HOST:PORT"),
    ({"name": "a", "addresses": [7]}, "addresses", "item 1"),
    ({"name": "a/b", "addresses": [PEER]}, "name", "no spaces"),
    ({"name": "-a", "addresses": [PEER]}, "name", "must not start"),
    ({"name": "x" * 64, "addresses": [PEER]}, "name", "length"),
    ({"name": "a", "addresses": [PEER], "listne": []}, "listne", 'did you mean "listen"'),
])
def test_bad_proxies(shared, body, field, text):
    shared.problem("POST", "/proxies", body, 400, field, text)


def test_agent_config(shared):
    shared.post("/proxies", {"name": "via-a", "addresses": ["a.example:443", "a.example:1080"]})
    made = shared.post("/agent-configs", {"via": ["via-a"], "tags": ["home", "fast"], "days": 2})
    server = made["config"]["management_server"]
    assert server["cert_authority_fingerprint"] == shared.get("/status")["fingerprint"]
    assert server["host"] == shared.console.agents
    assert made["config"]["mc_proxy"] == ["a.example:443", "a.example:1080"]
    assert made["config"]["tags"] == ["home", "fast"]
    tokens = shared.get("/agent-configs")["items"]
    token = next(t for t in tokens if t["id"] == made["token_id"])
    assert not token["revoked"] and token["uses"] == 0 and token["expires"] == made["expires"]
    status, _, answer = shared.call("DELETE", f"/api/v1/agent-configs/{token['id']}")
    assert status == 200 and answer["revoked"]
    assert next(t for t in shared.get("/agent-configs")["items"] if t["id"] == token["id"])["revoked"]
    shared.problem("DELETE", "/agent-configs/" + "0" * 32, expect=404)
    shared.problem("POST", "/agent-configs", {"via": ["via-b"]}, 400, "via", 'did you mean "via-a"')
    shared.problem("POST", "/agent-configs", {"tags": ["x" * 32]}, 400, "tags", "31 bytes")
    shared.problem("POST", "/agent-configs", {"days": 5000}, 400, "days", "from 1 to 3650")
    assert "mc_proxy" not in shared.post("/agent-configs", {"via": [], "tags": []})["config"]
    shared.call("DELETE", "/api/v1/proxies/via-a")


def test_agents(shared):
    assert shared.get("/agents") ["items"] == []
    for method, path in (("GET", "/agents/x"), ("POST", "/agents/x/approve"), ("POST", "/agents/x/revoke")):
        shared.problem(method, path, expect=404, text="there is none yet")


@pytest.mark.parametrize("change, field, text", [
    ({"kind": "sync"}, "kind", "distribution, consolidation or forward"),
    ({"kind": "forward"}, "from", "expected AGENT:HOST:PORT"),
    ({"kind": "forward", "from": ["a:127.0.0.1:0"]}, "from", "expected AGENT:HOST:PORT"),
    ({"kind": "distribution "}, "kind", "did you mean"),
    ({"name": "a/b"}, "name", "slashes"),
    ({"from": ["a"]}, "from", "AGENT:/absolute/path"),
    ({"from": ["a:b"]}, "from", "must be absolute"),
    ({"from": ["a:/b/../c"]}, "from", '".."'),
    ({"from": ["a:/" + "x" * 5000]}, "from", "4095"),
    ({"from": ["nobody:/b"]}, "from", 'no agent "nobody"'),
    ({"from": []}, "from", "number of items"),
    ({"too": []}, "too", 'did you mean "to"'),
    ({"hold": "yes"}, "hold", "true or false"),
])
def test_bad_jobs(shared, change, field, text):
    body = {"kind": "distribution", "name": "j", "from": ["a:/x"], "to": ["b:/x"], **change}
    shared.problem("POST", "/jobs", body, 400, field, text)
    assert shared.get("/jobs") ["items"] == []


def test_nothing_there(shared):
    for verb in ("start", "pause", "resume", "stop"):
        shared.problem("POST", f"/jobs/x/{verb}", expect=404, text='no job "x"')
    for path in ("/jobs/x", "/jobs/x/runs"):
        shared.problem("GET", path, expect=404)
    for path in ("/runs/x", "/runs/zzzzzzzz", "/runs/" + "0" * 32, "/runs/000000/errors", "/runs/%25%27x"):
        shared.problem("GET", path, expect=404, text="no run")
    shared.problem("DELETE", "/jobs/x", expect=404)


def test_events_are_paged(shared):
    shared.post("/agent-configs", {})  # so that there is one, whatever ran before
    everything = shared.get("/events?limit=1000")
    assert everything["last"] == everything["items"][-1]["n"]
    first = everything["items"][0]
    assert shared.get("/events?after=0&limit=1")["items"] == [first]
    assert shared.get(f"/events?after={everything['last']}")["items"] == []
    assert {"n", "time", "level", "kind", "text"} <= set(first)
    for query, field in (("after=x", "after"), ("after=-1", "after"), ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=", "limit")):
        shared.problem("GET", f"/events?{query}", expect=400, field=field)


# ---- hostile requests ----


def test_bodies(shared):
    for raw in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a":\x00}', b"[" * 5000, b'{"name":"a","name":"b"}'):
        status, headers, answer = shared.call("POST", "/api/v1/proxies", raw=raw)
        assert status == 400, raw
        assert headers["Content-Type"] == "application/problem+json" and answer["detail"]
    assert shared.call("POST", "/api/v1/proxies", raw=b'{"name":"' + b"x" * 65000 + b'"}')[0] == 400


def test_too_large_bodies(shared):
    host, port = shared.console.ui.rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), context=shared.context, timeout=20)
    connection.putrequest("POST", "/api/v1/proxies")
    connection.putheader("Authorization", f"Bearer {shared.console.token}")
    connection.putheader("Content-Length", str(10 ** 9))
    connection.endheaders()
    assert connection.getresponse().status == 413  # told before anything is sent
    connection.close()
    connection = http.client.HTTPSConnection(host, int(port), context=shared.context, timeout=20)
    connection.request("POST", "/api/v1/proxies", body=(b"x" * 1000 for _ in range(100)), encode_chunked=True,
                       headers={"Authorization": f"Bearer {shared.console.token}", "Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 413
    connection.close()


def test_old_tls_is_refused(shared):
    host, port = shared.console.ui.rsplit(":", 1)
    context = ssl.create_default_context(cafile=shared.console.ca)
    warnings.simplefilter("ignore", DeprecationWarning)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection((host, int(port)), timeout=20) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=host)


def test_noise_on_both_ports(shared):
    for address in (shared.console.ui, shared.console.agents):
        host, port = address.rsplit(":", 1)
        for noise in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(3000), b"\x16\x03\x01\x40\x00" + b"x" * 500, b""):
            with socket.create_connection((host, int(port)), timeout=20) as sock:
                sock.sendall(noise)
    assert shared.get("/status")


def test_many_at_once(shared):
    results = []

    def work():
        results.extend(shared.call("GET", "/api/v1/status")[0] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 100


# ---- the state directory ----


def test_first_start(own, tmp_path):
    process = own()
    state = tmp_path / "state"
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(state / "admin.token").st_mode) == 0o600
    for name in os.listdir(state):
        mode = stat.S_IMODE(os.stat(state / name).st_mode)
        assert mode == (0o644 if name in ("ca.pem", "addresses.json") else 0o600), name
    token = (state / "admin.token").read_text().strip()
    database = b"".join((state / name).read_bytes() for name in os.listdir(state) if name.startswith("console.db"))
    assert len(token) == 43 and token.encode() not in database
    # The certificate holds for the names by which the console is reached on its host.
    port = process.addresses["ui"].rsplit(":", 1)[1]
    context = ssl.create_default_context(cafile=state / "ca.pem")
    for name in ("localhost", "127.0.0.1", socket.gethostname()):
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as sock:
            context.wrap_socket(sock, server_hostname=name).close()
    process.terminate()
    assert process.wait(20) == 0
    assert "ready" in process.stderr.read()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_restart_keeps_everything(own, how):
    process = own()
    api = Api(Local(process))
    kept = api.post("/proxies", {"name": "kept", "addresses": [PEER]})["proxy"]
    token = api.post("/agent-configs", {"via": ["kept"]})["token_id"]
    before = api.get("/status")
    events = api.get("/events")["items"]
    process.send_signal(how)
    assert process.wait(20) == (-9 if how == signal.SIGKILL else 0)
    again = own()
    new = Local(again)
    assert new.token == api.console.token
    api = Api(new)
    after = api.get("/status")
    assert (after["console_id"], after["fingerprint"]) == (before["console_id"], before["fingerprint"])
    assert [p["id"] for p in api.get("/proxies")["items"]] == [kept["id"]]
    assert [t["id"] for t in api.get("/agent-configs")["items"]] == [token]
    assert api.get("/events")["items"][:len(events)] == events


def test_two_consoles_on_one_state(own):
    first = own()
    with contextlib.suppress(OSError):
        second = own(wait=False)
    fails(second, 1, "another console", str(first.pid))
    first.kill()
    first.wait()
    own()  # the lock died with its holder


@pytest.mark.parametrize("which", ["ui", "agents"])
def test_port_in_use(own, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(own(wait=False, **{which: f"127.0.0.1:{port}"}), 1, str(port), "in use")


def test_address_of_another_machine(own):
    fails(own(wait=False, ui="192.0.2.1:0"), 1, "192.0.2.1", "cannot listen")
    fails(own(wait=False, agents="192.0.2.1:0"), 1, "192.0.2.1", "cannot listen")


def test_damaged_database(own, tmp_path):
    process = own()
    process.terminate()
    process.wait(20)
    database = tmp_path / "state" / "console.db"
    data = bytearray(database.read_bytes())
    data[100:8192] = b"\xaa" * 8092  # the schema, and the page after it
    database.write_bytes(bytes(data))
    fails(own(wait=False), 1, "console.db", "damaged")
    database.write_bytes(b"no database at all" * 1000)
    fails(own(wait=False), 1, "console.db", "damaged")


def test_database_of_a_newer_version(own, tmp_path):
    process = own()
    process.terminate()
    process.wait(20)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "console.db")) as database:
        database.execute("PRAGMA user_version = 999")
    fails(own(wait=False), 1, "newer version", "999")


def test_state_is_a_file(own, tmp_path):
    (tmp_path / "file").write_text("x")
    fails(own(wait=False, state=tmp_path / "file"), 1, "state directory")
    fails(own(wait=False, state=tmp_path / "file" / "deeper"), 1, "Not a directory")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become somebody else")
def test_unwritable_state(own, tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    (tmp_path / "state").mkdir(mode=0o755)
    program = tmp_path / "console"
    shutil.copy(fairlead.program("fairlead-console"), program)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "--state", tmp_path / "state", "--ui", "127.0.0.1:0"]
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr and "lock" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small file system")
def test_full_disk(own, tmp_path):
    state = tmp_path / "small"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(state)], check=True)
    try:
        (state / "filler").write_bytes(b"x" * 500 * 1024)
        fails(own(wait=False, state=state), 1, str(state))
        (state / "filler").unlink()
        process = own(state=state)
        api = Api(Local(process))
        free = os.statvfs(state)
        (state / "filler").write_bytes(b"x" * max(0, free.f_bavail * free.f_bsize - 8192))
        answers = [api.call("POST", "/api/v1/agent-configs", {"tags": [f"t{n}"]}) for n in range(40)]
        full = [answer for answer in answers if answer[0] == 507]
        assert full and "full" in full[0][2]["detail"]
        assert process.poll() is None
        (state / "filler").unlink()
        api.post("/agent-configs", {"tags": ["late"]})  # it goes on
        process.terminate()
        assert process.wait(20) == 0
    finally:
        for process in (process for process in [locals().get("process")] if process and process.poll() is None):
            process.kill()
            process.wait()
        subprocess.run(["umount", "-l", str(state)], check=True)


# ---- usage and configuration ----


@pytest.mark.parametrize("arguments, texts", [
    ([], ["--state DIR is needed"]),
    (["--state"], ["--state", "needs a value"]),
    (["--stat", "x", "--u"], ["needs a value"]),
    (["--sate", "x"], ["--sate", 'did you mean "--state"']),
    (["--state", "x", "extra"], ["extra"]),
    (["--state", "x", "--ui", "nonsense"], ["--ui", "nonsense", "ADDR:PORT"]),
    (["--state", "x", "--log-level", "loud"], ["loud", "debug, info"]),
    (["--state", "x", "--config", "/nonexistent.json"], ["/nonexistent.json", "No such file"]),
])
def test_usage(arguments, texts):
    done = subprocess.run([str(fairlead.program("fairlead-console")), *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for text in texts:
        assert text in done.stderr, done.stderr


@pytest.mark.parametrize("text, expected", [
    ('{"iu": ":1"}', 'did you mean "ui"'),
    ('{"ui": 7}', '"ui"'),
    ('{"ui": "x"}', '"ui"'),
    ('{"require_approval": "yes"}', "require_approval"),
    ('{"public_address": "http://x"}', "HOST or HOST:PORT"),
    ('{"log": {"level": "loud"}}', "loud"),
    ("{", "console.json:1"),
])
def test_bad_config(tmp_path, text, expected):
    config = tmp_path / "console.json"
    config.write_text(text)
    done = subprocess.run([str(fairlead.program("fairlead-console")), "--state", str(tmp_path / "s"), "--config", str(config)],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "console.json" in done.stderr and expected in done.stderr, done.stderr
    assert not (tmp_path / "s").exists()


def test_help_and_version():
    for argument in ("--help", "--version"):
        done = subprocess.run([str(fairlead.program("fairlead-console")), argument], capture_output=True, text=True, timeout=20, check=True)
        assert "fairlead-console" in done.stdout and not done.stderr


def test_where_agents_are_told_to_go(own, tmp_path):
    process = own(agents=":0")
    Api(Local(process)).problem("POST", "/agent-configs", {}, 409, "via", "public_address")
    process.terminate()
    process.wait(20)
    config = tmp_path / "console.json"
    config.write_text('{"public_address": "console.example", "require_approval": true}')
    process = own("--config", str(config), agents=":0")
    api = Api(Local(process))
    made = api.post("/agent-configs", {})
    port = process.addresses["agents"].rsplit(":", 1)[1]
    assert made["config"]["management_server"]["host"] == f"console.example:{port}"
    assert api.get("/agent-configs")["items"][0]["approval"] is True
    with socket.create_connection(("127.0.0.1", int(process.addresses["ui"].rsplit(":", 1)[1])), timeout=20) as sock:
        api.context.wrap_socket(sock, server_hostname="console.example").close()


# ---- every route and every role, as the description tells them ----


def test_every_route_and_every_role(own):
    """Whoever has less than a route asks for is refused by it, and nothing is done; whoever has no token learns nothing."""
    api = Api(Local(own()))
    tokens = {scope: api.post("/tokens", {"name": scope, "scope": scope})["token"] for scope in ("viewer", "operator", "admin")}
    ranks = {"viewer": 0, "operator": 1, "admin": 2}
    before = {path: api.get(path) for path in ("/users", "/tokens", "/proxies", "/agents", "/jobs", "/hooks", "/agent-configs", "/mail")}
    for token in before["/tokens"]["items"]:
        token.pop("last_used")
    checked = {"none": 0, "too little": 0, "enough": 0}
    for pattern, methods in api.get("/openapi.json")["paths"].items():
        path = re.sub(r"\{\w+\}", "nobody", pattern)
        for method, operation in methods.items():
            method, role = method.upper(), operation.get("x-role")
            if not operation["security"] or {} in operation["security"]:
                continue  # open to everybody, or to this machine
            for wrong in ("", "x" * 43):
                status, headers, answer = api.call(method, path, token=wrong)
                assert status == 401 and headers["WWW-Authenticate"] and "WWW" not in json.dumps(answer), (method, pattern)
                checked["none"] += 1
            for scope, token in tokens.items():
                if role is None:  # of sessions: no token is one
                    assert api.call(method, path, token=token)[0] == 403
                elif ranks[scope] < ranks[role]:
                    status, _, answer = api.call(method, path, {"name": "x"}, token=token)
                    assert status == 403 and role in answer["detail"], (method, pattern, scope, status)
                    checked["too little"] += 1
                elif method == "GET" and not path.endswith("/backup"):
                    assert api.call(method, path, token=token)[0] in (200, 404, 409), (pattern, scope)
                    checked["enough"] += 1
    assert checked["none"] > 80 and checked["too little"] > 40 and checked["enough"] > 30, checked
    after = {path: api.get(path) for path in before}
    for token in after["/tokens"]["items"]:
        token.pop("last_used")
    assert after == before
    assert {entry["action"].split()[0] for entry in api.get("/audit")["items"]} == {"POST"}  # the three tokens
