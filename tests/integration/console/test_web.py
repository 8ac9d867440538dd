"""The console for people: logging in, roles, entity tags, the audit log, live events, and the page in a real browser."""

import base64
import concurrent.futures
import contextlib
import hmac
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import threading
import time

import pytest

import fairlead
from people import FRESH, WEB, Browser, Stream, admin, first_password, in_a_browser, node, someone


def code(secret, when=None):
    """RFC 6238, by itself."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", int(when or time.time()) // 30), "sha1")
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"


# ---- logging in ----


@pytest.mark.asan
def test_first_login(world):
    console = world.console()
    browser = Browser(console)
    assert (console.state / "admin.password").stat().st_mode & 0o777 == 0o600
    assert browser.call("GET", "/session")[0] == 401
    assert browser.login("admin", "x" * 12)[0] == 401
    status, headers, answer = browser.login("admin", first_password(console))
    assert status == 200 and answer["must_change_password"]
    cookie = headers["Set-Cookie"]
    assert cookie.startswith("__Host-fairlead=") and all(rule in cookie for rule in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"))
    assert browser.call("GET", "/agents")[0] == 403  # a password of one's own first
    status, _, answer = browser.call("POST", "/session/password", {"old": first_password(console), "new": "short"})
    assert status == 400 and answer["field"] == "new"
    status, _, answer = browser.call("POST", "/session/password", {"old": "not this one", "new": FRESH})
    assert status == 403 and answer["field"] == "old"
    assert browser.call("POST", "/session/password", {"old": first_password(console), "new": FRESH})[0] == 200
    assert browser.call("GET", "/agents")[0] == 200
    assert Browser(console).login("admin", first_password(console))[0] == 401
    old = browser.cookie
    assert browser.call("DELETE", "/session")[0] == 204
    browser.cookie = old
    assert browser.call("GET", "/session")[0] == 401


def test_each_login_is_a_new_session(world):
    console = world.console()
    admin(console)
    fixed = Browser(console)
    fixed.cookie = "__Host-fairlead=" + "A" * 43  # given by somebody else
    assert fixed.login("admin", FRESH)[0] == 200
    assert fixed.cookie != "__Host-fairlead=" + "A" * 43
    first = fixed.cookie
    assert fixed.login("admin", FRESH)[0] == 200 and fixed.cookie != first


def test_other_sites_cannot_use_the_cookie(world):
    console = world.console()
    boss = admin(console)
    job = {"name": "evil", "role": "admin"}
    for wrong in ("", "x", boss.csrf[:-1] + "!"):
        status, _, answer = boss.call("POST", "/users", job, X_CSRF_Token=wrong)
        assert status == 403 and "X-CSRF-Token" in answer["detail"]
    assert boss.call("POST", "/users", job, Sec_Fetch_Site="cross-site")[0] == 403
    assert boss.call("GET", "/users/evil")[0] == 404
    assert boss.call("POST", "/users", job, Sec_Fetch_Site="same-origin")[0] == 201


def test_guessing_is_braked_and_the_owner_is_not(world):
    console = world.console()
    boss = admin(console)
    answers = []

    def guess():
        """Until there is a wait that a slow machine does not outlast."""
        status, headers, _ = Browser(console).login("admin", f"guess number {len(answers)}")
        answers.append(status)
        wait = int(headers["Retry-After"] or 0) if status == 429 else 0
        return wait >= 4 or (wait and time.sleep(wait))

    fairlead.until("the brake", guess, timeout=60, every=0)
    assert answers[:5] == [401] * 5
    status, headers, _ = Browser(console).login("admin", FRESH)
    assert status == 429 and int(headers["Retry-After"]) > 0
    assert boss.call("GET", "/status")[0] == 200  # who is in stays in
    assert console.rest("GET", "/status")
    assert any(event["kind"] == "login.failed" for event in console.items("/events"))


@pytest.mark.asan
def test_second_factor(world):
    console = world.console()
    boss = admin(console)
    _, _, offer = boss.call("POST", "/session/totp")
    assert offer["uri"].startswith("otpauth://totp/Fairlead:admin?secret=") and len(offer["qr"]) == len(offer["qr"][0]) >= 21
    status, _, answer = boss.call("POST", "/session/totp/confirm", {"code": "000000"})
    assert (status, answer.get("field")) in ((400, "code"), (200, None))
    now = time.time()
    assert boss.call("POST", "/session/totp/confirm", {"code": code(offer["secret"], now - 30)})[0] == 200
    other = Browser(console)
    status, _, answer = other.login("admin", FRESH)
    assert status == 401 and answer["field"] == "code"
    used = code(offer["secret"], now)
    assert other.login("admin", FRESH, code=used)[0] == 200
    assert Browser(console).login("admin", FRESH, code=used)[0] == 401  # once only
    assert other.call("DELETE", "/session/totp", {"password": "wrong"})[0] == 403
    assert other.call("DELETE", "/session/totp", {"password": FRESH})[0] == 200
    assert Browser(console).login("admin", FRESH)[0] == 200


# ---- users, tokens, roles ----


def test_roles(world):
    console = world.console()
    boss = admin(console)
    viewer, operator = someone(console, boss, "vera", "viewer"), someone(console, boss, "olaf", "operator")
    job = {"kind": "distribution", "name": "n", "from": ["a:/x"], "to": ["b:/x"]}
    assert viewer.call("GET", "/jobs")[0] == 200
    status, _, answer = viewer.call("POST", "/jobs", job)
    assert status == 403 and "operator" in answer["detail"]
    assert operator.call("POST", "/jobs", job)[0] in (400, 404, 409)  # no such agents, but it may
    for browser in (viewer, operator):
        for path in ("/users", "/tokens", "/audit", "/agent-configs"):
            assert browser.call("GET", path)[0] == 403
        assert browser.call("POST", "/proxies", {"name": "p", "addresses": ["h:1"]})[0] == 403
    # A change takes effect at once, and nobody shuts himself out.
    assert boss.call("PATCH", "/users/vera", {"role": "operator"})[0] == 200
    assert viewer.call("POST", "/jobs", job)[0] != 403
    assert boss.call("PATCH", "/users/olaf", {"disabled": True})[0] == 200
    assert operator.call("GET", "/jobs")[0] == 401
    assert Browser(console).login("olaf", "olaf chose this one")[0] == 401
    for method, path in (("PATCH", "/users/admin"), ("DELETE", "/users/admin")):
        assert boss.call(method, path, {"role": "viewer"} if method == "PATCH" else None)[0] == 409
    assert boss.call("DELETE", "/users/vera")[0] == 204
    assert viewer.call("GET", "/jobs")[0] == 401


def test_tokens_have_scopes_and_ends(world):
    console = world.console()
    boss = admin(console)
    status, _, made = boss.call("POST", "/tokens", {"name": "dashboard", "scope": "viewer", "days": 1})
    assert status == 201 and len(made["token"]) == 43
    guest = Browser(console)
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert guest.call("GET", "/agents", **bearer)[0] == 200
    assert guest.call("POST", "/jobs", {}, **bearer)[0] == 403
    assert guest.call("GET", "/session", **bearer)[0] == 403  # a token is nobody's session
    listed = next(t for t in boss.call("GET", "/tokens")[2]["items"] if t["name"] == "dashboard")
    assert listed["last_used"] and "token" not in listed
    assert boss.call("DELETE", f"/tokens/{listed['id']}")[0] == 204
    assert guest.call("GET", "/agents", **bearer)[0] == 401
    assert made["token"] not in console.log()


# ---- lists, tags, audit ----


def test_lists_are_filtered_and_cut(world):
    console = world.console()
    for number in range(5):
        console.rest("POST", "/proxies", {"name": f"p{number}", "addresses": ["127.0.0.1:9"]})
    boss = admin(console)
    answer = boss.call("GET", "/proxies?offset=1&limit=2")[2]
    assert [p["name"] for p in answer["items"]] == ["p1", "p2"] and answer["total"] == 5
    assert [p["name"] for p in boss.call("GET", "/proxies?name=p3")[2]["items"]] == ["p3"]
    assert boss.call("GET", "/proxies?state=connected")[2]["total"] == 0
    assert boss.call("GET", "/proxies?limit=x")[0] == 400


def test_entity_tags(world):
    console = world.console()
    boss = admin(console)
    boss.call("POST", "/users", {"name": "vera", "role": "viewer"})
    _, headers, _ = boss.call("GET", "/users/vera")
    tag = headers["ETag"]
    assert boss.call("GET", "/users/vera", If_None_Match=tag)[0] == 304
    assert boss.call("PATCH", "/users/vera", {"role": "operator"}, If_Match=tag)[0] == 200
    status, _, answer = boss.call("PATCH", "/users/vera", {"role": "admin"}, If_Match=tag)
    assert status == 412 and "somebody else" in answer["detail"]
    assert boss.call("GET", "/users/vera")[2]["role"] == "operator"
    # Of several at once with one tag, one gets through.
    tag = boss.call("GET", "/users/vera")[1]["ETag"]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        roles = ["viewer", "admin"] * 3
        statuses = list(pool.map(lambda role: boss.call("PATCH", "/users/vera", {"role": role}, If_Match=tag)[0], roles))
    assert statuses.count(200) == 1 and statuses.count(412) == 5


@pytest.mark.asan
def test_audit(world):
    console = world.console()
    boss = admin(console)
    boss.call("POST", "/users", {"name": "vera", "role": "viewer"})
    boss.call("PATCH", "/users/vera", {"role": "operator"})
    boss.call("POST", "/users", {"name": "vera", "role": "viewer"})  # refused: not in the log
    boss.call("DELETE", "/users/vera")
    console.rest("POST", "/proxies", {"name": "p", "addresses": ["127.0.0.1:9"]})
    entries = boss.call("GET", "/audit?latest=100")[2]["items"]
    shown = [(e["user"], e["action"].split()[0], e["subject"].removeprefix("/api/v1")) for e in entries]
    assert shown[-4:] == [("admin", "POST", "/users"), ("admin", "PATCH", "/users/vera"), ("admin", "DELETE", "/users/vera"), ("token admin", "POST", "/proxies")]
    change = entries[-3]
    assert change["before"]["role"] == "viewer" and change["after"]["role"] == "operator" and change["from"] == "127.0.0.1"
    assert entries[-2]["before"]["name"] == "vera"
    text = json.dumps(entries)
    assert first_password(console) not in text and FRESH not in text and "PRIVATE KEY" not in text
    _, headers, export = boss.call("GET", "/audit?export=1")
    assert "attachment" in headers["Content-Disposition"]
    lines = export.splitlines()
    assert len(lines) == len(entries) and json.loads(lines[0])["n"] == 1


# ---- live ----


@pytest.mark.asan
def test_events_as_they_happen(world):
    console = world.console()
    boss = admin(console)
    stream = Stream(boss)
    console.rest("POST", "/proxies", {"name": "p", "addresses": ["127.0.0.1:9"]})
    _, number, event = stream.until("proxy.added")
    assert int(number) == event["n"] and "p" in event["text"]
    assert stream.next()[::2] == ("change", {"what": "proxies"})
    stream.connection.close()
    console.rest("DELETE", "/proxies/p")
    again = Stream(boss, last=number)
    assert again.until("proxy.removed")  # what was missed comes again
    console.stop()  # with a reader: it ends all the same


@pytest.mark.asan
def test_many_readers(world):
    console = world.console()
    boss = admin(console)
    streams = [Stream(boss) for _ in range(50)]
    console.rest("POST", "/proxies", {"name": "p", "addresses": ["127.0.0.1:9"]})
    for stream in streams:
        stream.until("proxy.added")
    for stream in streams:
        stream.connection.close()
    assert console.rest("GET", "/status")


# ---- looking into folders ----


@pytest.mark.asan
def test_folders_of_an_agent(world):
    console = world.console()
    agent = world.agent("a")
    world.agent("shy", browse="never")
    boss = admin(console)
    folder = world.path("shown")
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 1234)
    (folder / ".fairlead-00.part").write_bytes(b"")
    (folder / "link").symlink_to("/etc")
    look = lambda name, path, after="": boss.call("GET", f"/agents/{name}/folders?path={path}&after={after}")
    _, _, answer = look("a", folder)
    assert answer["items"] == [{"name": "below", "kind": "folder", "size": 0}, {"name": "file", "kind": "file", "size": 1234},
                               {"name": "link", "kind": "file", "size": 0}] and not answer["more"]
    many = world.path("many")
    many.mkdir()
    for number in range(130):
        (many / f"n{number:03}").touch()
    names, after = [], ""
    for _ in range(4):
        _, _, answer = look("a", many, after)
        names += [item["name"] for item in answer["items"]]
        after = names[-1] if names else ""
        if not answer["more"]:
            break
    assert names == [f"n{number:03}" for number in range(130)]
    for name, path, status, text in (("a", "/nowhere/at/all", 409, "No such file"), ("a", folder / "file", 409, "Not a directory"), ("shy", folder, 409, "browse"),
                                     ("a", "relative", 400, "absolute"), ("nobody", "/", 404, "nobody")):
        got, _, answer = look(name, path)
        assert got == status and text in answer["detail"], answer
    # One that hears and says nothing: the question ends by itself, and so does the console with one open.
    agent.signal(signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(lambda _: look("a", folder)[0], range(6)))
        assert statuses == [503, 503, 504, 504, 504, 504]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            last = pool.submit(look, "a", folder)
            time.sleep(0.5)
            console.stop()
            with contextlib.suppress(OSError, http.client.HTTPException):
                assert last.result()[0] == 503
    finally:
        agent.signal(signal.SIGCONT)


# ---- the description and the page ----


FORWARD = {"listen": ["127.0.0.1:*"], "connect": ["127.0.0.1:*"]}  # what agents allow


def forwarded(console):
    """A port of a's that leads to b's machine, where nobody has to answer; it has a way when this returns."""
    job = console.job("forward", "port", [f"a:127.0.0.1:{fairlead.free_port()}"], ["b:127.0.0.1:9"])
    fairlead.until("its way", lambda: any(way["run"] == job.run()["id"] and way["newest"] for way in console.items("/tunnels") if "newest" in way), 30)
    return job


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_the_description_is_true(world):
    """It is OpenAPI, and every route answers as described, whether it can or refuses."""
    console = world.console()
    world.proxy("hub")
    for name in ("a", "b"):
        world.agent(name, via=["hub"], forward=FORWARD)
    folder = world.path("data")
    folder.mkdir()
    (folder / "file").write_text("x")
    forwarded(console)
    job = console.job("distribution", "copy", [f"a:{folder}"], [f"b:{world.path('there')}"])
    job.wait()
    broken = console.job("distribution", "broken", [f"a:{world.path('nowhere')}"], [f"b:{world.path('there')}"])
    broken.wait(("failed", "partial"))
    console.rest("POST", "/hooks", {"name": "h", "kind": "webhook", "target": "http://127.0.0.1:9/", "events": ["run.failed"]})
    console.rest("POST", "/hooks/h/test")
    fairlead.until("a report", lambda: console.items("/proxies/hub/history"))
    order = {"url": f"https://{console.ui}", "token": console.token,
             "names": {"proxy": "hub", "agent": "a", "job": "copy", "run": broken.run()["id"], "user": "admin", "hook": "h"}}
    text = node("contract.mjs", json.dumps(order), NODE_EXTRA_CA_CERTS=console.ca)
    read, refused = map(int, re.findall(r"\d+", text)[:2])
    assert read >= 25 and refused >= 60
    assert [p["name"] for p in console.items("/proxies")] == ["hub"]  # it only asked


def test_the_contract_tester_can_fail(world):
    """A description that is not true is found out: one with a member more than answers have."""
    console = world.console()
    description = console.rest("GET", "/openapi.json")
    description["components"]["schemas"]["Status"]["required"].append("mood")
    description["paths"] = {path: what for path, what in description["paths"].items() if path.endswith("/status")}
    status = console.rest("GET", "/status")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(description if self.path.endswith("openapi.json") else status).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        order = {"url": f"http://127.0.0.1:{server.server_address[1]}", "token": "x", "names": {}}
        with pytest.raises(AssertionError, match="mood"):
            node("contract.mjs", json.dumps(order))
        server.shutdown()


@pytest.mark.asan
def test_hostile_bodies(world):
    """No body, path or query brings it down, and none is taken for SQL or a path."""
    console = world.console()
    boss = admin(console)
    strings = ["'; DROP TABLE users; --", "../../etc/passwd", "%00", "\x00", "A" * 5000, "🦊" * 300, "</script><script>", "\\", '"', "-1", "1e99"]
    for text in strings:
        for body in ({"name": text, "role": text}, {"name": text, "addresses": [text]}, {text: text}, {"name": [text]}, {"name": {"a": text}}):
            for path in ("/users", "/proxies", "/tokens", "/agent-configs", "/jobs"):
                assert boss.call("POST", path, body)[0] in (201, 400, 409, 413), (path, body)
        quoted = "".join(f"%{byte:02x}" for byte in text.encode()[:200])
        for path in (f"/users/{quoted}", f"/agents/{quoted}", f"/runs/{quoted}/errors", f"/jobs?name={quoted}", f"/events?after={quoted}"):
            assert boss.call("GET", path)[0] in (200, 400, 404), path
    depth = 3000
    assert boss.call("POST", "/users", None)[0] == 400
    host, port = console.ui.rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), context=boss.context, timeout=20)
    connection.request("POST", "/api/v1/users", "[" * depth + "]" * depth, {"Cookie": boss.cookie, "X-CSRF-Token": boss.csrf})
    assert connection.getresponse().status == 400
    assert boss.call("GET", "/users")[2]["items"][0]["name"] == "admin"


def test_the_page_is_small_and_whole():
    """The first page within 150 KB, and nothing in it that the console's policy for browsers forbids."""
    dist = WEB / "dist"
    total = 0
    for path in dist.rglob("*"):
        if path.is_file():
            total += len(subprocess.run(["gzip", "-9c", path], capture_output=True, check=True).stdout)
    assert total <= 150_000
    html = (dist / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", html)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)


@in_a_browser
def test_story(world):
    """A person who has never seen it: first login, proxy, agents, job, progress, approval, revocation, second factor, audit."""
    console = world.console()
    address = f"127.0.0.1:{fairlead.free_port()}"
    folder = world.path("source")
    folder.mkdir()
    for number in range(40):
        (folder / f"file-{number}").write_bytes(bytes([number]) * 500_000)
    out = world.path("from-the-page")
    out.mkdir()
    order = {"url": f"https://{console.ui}", "password": first_password(console), "out": str(out), "address": address,
             "source": str(folder), "target": str(world.path("target")), "build": str(fairlead.BUILD)}
    text = node("story.mjs", json.dumps(order), timeout=240)
    assert "the whole story" in text
    assert sorted(p.name for p in world.path("target").iterdir()) == sorted(p.name for p in folder.iterdir())


def many_agents(console, number):
    """Rows in its store of agents that are away, for lists as long as they get. The console does not run meanwhile."""
    console.stop()
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(agents)")]
        for one in range(number):
            row = {"id": bytes([255, one >> 8, one & 255]) + b"\0" * 13, "name": f"away-{one:04}", "state": 1, "token": b"\0" * 16, "tags": "branch" if one % 3 else "office",
                   "addresses": "", "software": "fairlead 0.0.9", "system": "Linux", "first_seen": 1, "last_seen": 1, "expires": 2 ** 31}
            database.execute(f"INSERT INTO agents({', '.join(columns)}) VALUES({', '.join('?' * len(columns))})", [row[name] for name in columns])
        database.commit()
    console.start().ready()


@in_a_browser
def test_every_page_for_everybody(world):
    """With everything there that a page can show, axe finds nothing serious, light or dark, on a wide screen or a phone, and nothing is wider than that."""
    console = world.console()
    many_agents(console, 30)
    world.proxy("hub")
    console.rest("POST", "/proxies", {"name": "lost", "addresses": ["127.0.0.1:9"], "listen": ["127.0.0.1:9"]})
    folder = world.path("data")
    folder.mkdir()
    for number in range(5):
        (folder / f"file-{number}").write_bytes(os.urandom(3_000_000))
    for name in ("a", "b"):
        world.agent(name, via=["hub"], tags=["branch"], direct="never", rate_limit_upload=256, forward=FORWARD)
    world.agent("newcomer", via=["hub"], wait=False, approval=True)
    fairlead.until("the newcomer to ask", lambda: (console.agent("newcomer") or {}).get("state") == "pending")
    console.cli("proxy", "set", "hub", "limits.rate_proxy=100000", 'agents=["a","b","newcomer"]')
    console.cli("proxy", "set", "hub", "syncthing.allow=wrong", check=False)
    console.job("distribution", "copy", [f"a:{folder}"], [f"b:{world.path('there')}"])
    broken = console.job("distribution", "broken", [f"a:{world.path('nowhere')}"], [f"b:{world.path('there')}"])
    broken.wait(("failed", "partial"))
    port = forwarded(console)
    console.rest("POST", "/hooks", {"name": "h", "kind": "webhook", "target": "http://127.0.0.1:9/", "events": ["run.failed"]})
    console.rest("POST", "/users", {"name": "vera", "role": "viewer"})
    console.rest("POST", "/tokens", {"name": "t", "scope": "viewer"})
    ids = {name: console.agent(name)["id"] for name in ("a", "newcomer", "away-0001")}
    paths = {f"agent {name}": f"#/agents/{one}" for name, one in ids.items()}
    paths["a job that failed"] = f"#/jobs/{next(j['id'] for j in console.items('/jobs') if j['name'] == 'broken')}"
    paths["a forward"] = f"#/jobs/{port.id}"
    paths["a lost proxy"] = f"#/proxies/{console.rest('GET', '/proxies/lost')['id']}"
    paths["agents found"] = "#/agents/find/offline%20branch"
    texts = {"a forward": ["via hub", "carries", "new ones too"], "agent a": ["via hub", "new ones too"]}
    order = {"url": f"https://{console.ui}", "password": first_password(console), "paths": paths, "texts": texts}
    assert int(node("pages.mjs", json.dumps(order), timeout=400).split()[0]) >= 80


@in_a_browser
def test_a_fleet_by_its_page(world):
    """The map by kinds and for many, what needs attention, the latest hour after a reload; who may use a proxy; settings by tag."""
    console = world.console()
    many_agents(console, 30)
    world.proxy("hub", change=lambda config: config.update(limits={"rate_session": 512}))
    console.rest("POST", "/proxies", {"name": "lost", "addresses": ["127.0.0.1:9"], "listen": ["127.0.0.1:9"]})
    for name, tag in (("a", "branch"), ("b", "office")):
        world.agent(name, via=["hub"], direct="never", tags=[tag])
    folder = world.path("source")
    folder.mkdir()
    (folder / "big").write_bytes(os.urandom(200 << 20))
    for name in ("c", "d"):
        world.agent(name, via=["hub"], direct="never", transport="udp")
    console.job("distribution", "long", [f"a:{folder}"], [f"b:{world.path('target')}"]).wait_bytes(1 << 20)
    console.job("distribution", "by udp", [f"c:{folder}"], [f"d:{world.path('target-udp')}"]).wait_bytes(1 << 20)
    out = fairlead.LOGS / "fleet"
    out.mkdir(parents=True, exist_ok=True)
    order = {"url": f"https://{console.ui}", "password": first_password(console), "token": console.token, "out": str(out)}
    assert "as it should be" in node("fleet.mjs", json.dumps(order), timeout=240)
