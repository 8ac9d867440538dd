"""What happened and who changed what: filters, pages, files; and the live stream that tells of it."""

import contextlib
import csv
import http.client
import io
import json
import sqlite3
import subprocess

import pytest

import fairlead
from people import Browser, Stream, admin, someone

LEVELS = ["info", "warn", "error"]


def fill(console, count):
    """@count events of the past in a store whose console is stopped; returns them as (time, level, kind, text), oldest first."""
    rows = [(1700000000 + n // 3, n % 3, ("disk.full", "fan.slow", "agent.online")[n % 3], f"machine m{n % 7} said \"{n}\", =1+1") for n in range(count)]
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
        for time_, level, kind, text in rows:
            n = database.execute("INSERT INTO events(time, level, kind, subject, text, about) VALUES(?, ?, ?, zeroblob(16), ?, zeroblob(16))",
                                 (time_, level, kind, text)).lastrowid
            database.execute("INSERT INTO events_text(rowid, text) VALUES(?, ?)", (n, text))
        database.commit()
    return rows


def pages(boss, path):
    """All that is listed at @path, newest first, page by page."""
    found, before = [], ""
    for _ in range(1000):
        status, _, answer = boss.call("GET", f"{path}&order=newest&limit=17{before}")
        assert status == 200, answer
        found += answer["items"]
        if answer["next"] is None:
            return found
        before = f"&before={answer['next']}"
    raise AssertionError("no end")


@pytest.mark.asan
def test_events_are_filtered_over_the_whole_table(world):
    console = world.console()
    console.stop()
    rows = fill(console, 700)
    console.start()
    console.ready()
    boss = admin(console)
    old = "&until=2024-01-01"
    assert len(pages(boss, "/events?x=" + old)) == 700
    for query, fits in [("level=error", lambda r: r[1] == 2), ("kind=fan.slow", lambda r: r[2] == "fan.slow"), ("text=MACHINE%20m3", lambda r: " m3 " in r[3]),
                        ("level=warn&text=said%20%2269", lambda r: r[1] == 1 and 'said "69' in r[3]),
                        ("since=1700000100&level=info", lambda r: r[1] == 0 and r[0] >= 1700000100),
                        ("since=2023-11-14T22:15:00Z&until=2023-11-14T22:15:30Z", lambda r: 1700000100 <= r[0] <= 1700000130),
                        ("level=info&kind=fan.slow", lambda r: False)]:
        found = pages(boss, f"/events?{query}{old if 'until' not in query else ''}")
        assert [e["text"] for e in found] == [r[3] for r in reversed(rows) if fits(r)], query
    for query in ("level=loud", "since=yesterday", "text=ab", "text=%ff%fe%fd", "agent=nobody", "proxy=nobody", "job=none", "order=random", "before=x", "kind=" + "k" * 99):
        status, _, answer = boss.call("GET", f"/events?{query}")
        assert status in (400, 404) and answer["field"] == query.split("=")[0], (query, answer)
    kinds = boss.call("GET", "/events/kinds")[2]["items"]
    assert {"disk.full", "fan.slow", "agent.online"} <= set(kinds) and kinds == sorted(kinds)


def test_events_of_one_agent_proxy_or_job(world):
    console = world.console()
    world.proxy("hub")
    world.agent("a", via=["hub"])
    world.agent("b", via=["hub"])
    folder = world.path("data")
    folder.mkdir()
    (folder / "file").write_text("x")
    job = console.job("distribution", "copy", [f"a:{folder}"], [f"b:{world.path('there')}"])
    job.wait()
    boss = admin(console)
    kinds = lambda query: {e["kind"] for e in pages(boss, f"/events?{query}")}
    assert kinds("job=copy") == {"job.created", "run.started", "run.finished"}
    assert kinds("proxy=hub") >= {"proxy.added", "proxy.connected"} and all(k.startswith("proxy.") for k in kinds("proxy=hub"))
    assert kinds("agent=a") >= {"agent.enrolled", "agent.online"} and len({e["subject"] for e in pages(boss, "/events?agent=a")}) == 1
    run = next(e for e in pages(boss, "/events?kind=run.finished"))
    shown = boss.call("GET", "/jobs/copy")[2]
    assert run["subject"] == shown["run"]["id"] and run["job"] == shown["id"]
    status, _, answer = boss.call("GET", "/events?agent=a&job=copy")
    assert status == 400 and answer["field"] == "job"
    boss.call("DELETE", "/jobs/copy")
    assert kinds(f"job={shown['id']}") == {"job.created", "run.started", "run.finished", "job.removed"}  # by its whole id, though it is gone
    # The same on the command line.
    assert "job copy was removed" in console.cli("event", "list", "--job", shown["id"], "--limit", "1").stdout
    lines = console.cli("event", "list", "--agent", "b", "--text", "ENROLLED").stdout.splitlines()
    assert len(lines) == 1 and "agent b" in lines[0]
    assert console.cli("event", "list", "--since", "0s", "--level", "error").stdout == ""
    answer = json.loads(console.cli("--json", "event", "list", "--kind", "run.finished").stdout)
    assert [e["n"] for e in answer["items"]] == [run["n"]] and answer["last"] >= run["n"]
    assert "expected info, warn or error" in console.cli("event", "list", "--level", "loud", check=False).stderr


@pytest.mark.asan
def test_all_that_fits_as_a_file(world):
    console = world.console()
    console.stop()
    rows = fill(console, 2500)
    console.start()
    console.ready()
    boss = admin(console)
    path = "/events?until=2024-01-01&level=warn"
    expected = [r for r in rows if r[1] == 1]
    _, headers, text = boss.call("GET", f"{path}&export=csv")
    assert headers["Content-Type"].startswith("text/csv") and 'filename="events.csv"' in headers["Content-Disposition"]
    table = list(csv.DictReader(io.StringIO(text)))
    assert [r["text"] for r in table] == [r[3] for r in expected] and table[0]["level"] == "warn" and table[0]["time"].startswith("2023-11-14T")
    status, _, answer = boss.call("GET", f"{path}&export=json")
    assert status == 200 and [e["text"] for e in answer] == [r[3] for r in expected]
    _, _, text = boss.call("GET", f"{path}&export=jsonl&order=newest")
    assert [json.loads(line)["text"] for line in text.splitlines()] == [r[3] for r in reversed(expected)]
    assert boss.call("GET", "/events?level=warn&kind=none.such&export=json")[2] == []
    assert boss.call("GET", f"{path}&export=exe")[0] == 400
    target = world.path("saved.csv")
    assert "saved.csv" in console.cli("event", "export", target, "--level", "warn", "--until", "2024-01-01").stdout
    assert len(list(csv.DictReader(target.open(newline="")))) == len(expected) and target.stat().st_mode & 0o777 == 0o600
    # What a spreadsheet would run is a text.
    Browser(console).login("=cmd", "x" * 12)
    boss.call("POST", "/proxies", {"name": "=1+2", "addresses": ["127.0.0.1:9"]})
    _, _, text = boss.call("GET", "/audit?export=csv")
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in csv.reader(io.StringIO(text)) for cell in row)


@pytest.mark.asan
def test_files_are_few_at_once_and_end_with_their_reader(world):
    console = world.console()
    console.stop()
    fill(console, 20000)
    console.start()
    console.ready()
    boss = admin(console)
    host, port = console.ui.rsplit(":", 1)
    readers = []
    for _ in range(4):
        connection = http.client.HTTPSConnection(host, int(port), context=boss.context, timeout=20)
        connection.request("GET", "/api/v1/events?export=jsonl", headers={"Cookie": boss.cookie})
        answer = connection.getresponse()
        assert answer.status == 200
        readers.append((connection, answer))  # and it does not read on
    status, _, answer = boss.call("GET", "/events?export=jsonl")
    assert status == 503 and "already" in answer["detail"]
    assert boss.call("GET", "/status")[0] == 200
    # One is read to its end, though slowly; the others go away.
    text = readers[0][1].read().decode()
    assert len(text.splitlines()) >= 20000
    for connection, answer in readers:
        answer.close()
        connection.close()
    fairlead.until("room for another file", lambda: boss.call("GET", "/events?export=jsonl&until=2023-11-15")[0] == 200)
    console.stop()


@pytest.mark.asan
def test_the_audit_log_is_filtered(world):
    console = world.console()
    boss = admin(console)
    for number in range(20):
        assert boss.call("POST", "/users", {"name": f"user-{number}", "role": "viewer"})[0] == 201
        console.rest("POST", "/proxies", {"name": f"p{number}", "addresses": ["127.0.0.1:9"]})
    boss.call("PATCH", "/users/user-7", {"role": "operator"})
    mine = pages(boss, "/audit?user=admin")
    assert len([e for e in mine if e["subject"] == "/api/v1/users"]) == 20 and {e["user"] for e in mine} == {"admin"}
    assert len(pages(boss, "/audit?user=token%20admin")) == 20
    change = pages(boss, "/audit?text=/users/USER-7")
    assert len(change) == 1 and change[0]["before"]["role"] == "viewer" and change[0]["after"]["role"] == "operator"
    assert len(pages(boss, "/audit?text=add%20a%20proxy&user=token%20admin")) == 20
    assert pages(boss, "/audit?until=2020-01-01") == [] and len(pages(boss, "/audit?since=2020-01-01")) >= 41
    assert boss.call("GET", "/audit/users")[2]["items"] == ["admin", "token admin"]
    assert boss.call("GET", "/audit?until=never")[2]["field"] == "until"
    assert len(boss.call("GET", "/audit?export=jsonl&text=add%20a%20proxy")[2].splitlines()) == 20
    lines = console.cli("audit", "list", "--user", "admin", "--text", "/users/user-7").stdout.splitlines()
    assert len(lines) == 1 and "/api/v1/users/user-7" in lines[0]
    target = world.path("audit.json")
    console.cli("audit", "export", target, "--user", "token admin")
    assert len(json.loads(target.read_text())) == 20
    assert someone(console, boss, "vera", "viewer").call("GET", "/audit/users")[0] == 403


def test_old_events_are_forgotten(world):
    config = world.write("console.json", {"events_kept": 1000})
    console = world.console(extra=["--config", str(config)])
    console.stop()
    fill(console, 4000)
    console.start()
    console.ready()
    boss = admin(console)

    def some_are_gone():
        boss.call("POST", "/agent-configs", {"tags": ["x"]})
        return boss.call("GET", "/events?after=0&limit=1")[2]["items"][0]["n"] > 1000

    fairlead.until("old events to go", some_are_gone, timeout=60, every=0)  # some hundred requests, each with a key to be made


# ---- live ----


@pytest.mark.asan
def test_who_comes_back_learns_what_it_missed(world):
    console = world.console()
    boss = admin(console)
    first = Stream(boss)
    kind, number, data = first.next()
    assert kind == "hello" and int(number) == data["last"]
    first.connection.close()
    console.rest("POST", "/proxies", {"name": "p", "addresses": ["127.0.0.1:9"]})
    again = Stream(boss, last=number)
    assert again.until("proxy.added")
    kind = ""
    while kind != "hello":
        kind, number, _ = again.next()
    again.connection.close()
    console.kill()
    fill(console, 1200)
    console.start()  # the session is still good, by the same cookie
    console.ready()
    for last in (number, int(number) + 5000, "nonsense", "-1"):
        stream = Stream(boss, last=last)
        kind, now, data = stream.next()
        assert kind == "missed" and int(now) == data["last"] > 1200, last
        assert stream.next()[0] == "hello"
        stream.connection.close()


@pytest.mark.asan
def test_a_stream_ends_with_what_it_came_by(world):
    """Nobody is told of what happens after its session or token ended."""
    console = world.console()
    boss = admin(console)
    vera, olaf, ines = (someone(console, boss, name, "viewer") for name in ("vera", "olaf", "ines"))
    made = boss.call("POST", "/tokens", {"name": "wall", "scope": "viewer"})[2]
    token = Browser(console)
    token.cookie = None
    streams = {name: Stream(browser) for name, browser in (("vera", vera), ("olaf", olaf), ("ines", ines), ("boss", boss))}
    streams["token"] = Stream(token, authorization=f"Bearer {made['token']}")
    boss.call("PATCH", "/users/vera", {"disabled": True})
    boss.call("DELETE", "/users/olaf")
    ines.call("DELETE", "/session")
    boss.call("DELETE", f"/tokens/{next(t['id'] for t in boss.call('GET', '/tokens')[2]['items'] if t['name'] == 'wall')}")
    console.rest("POST", "/proxies", {"name": "secret", "addresses": ["127.0.0.1:9"]})
    assert "secret" in streams["boss"].until("proxy.added")[2]["text"]
    for name in ("vera", "olaf", "ines", "token"):
        assert "secret" not in streams[name].rest(), name


# ---- users ----


@pytest.mark.asan
def test_a_role_changes_at_once(world):
    console = world.console()
    boss = admin(console)
    vera = someone(console, boss, "vera", "operator")
    job = {"kind": "distribution", "name": "j", "from": ["a:/x"], "to": ["b:/y"]}
    assert vera.call("POST", "/jobs", job)[0] not in (401, 403)
    assert "operator" in console.cli("user", "list").stdout
    assert "viewer" in console.cli("user", "set", "vera", "--role", "viewer").stdout
    status, _, answer = vera.call("POST", "/jobs", job)
    assert status == 403 and "operator may" in answer["detail"]
    assert vera.call("GET", "/session")[2]["role"] == "viewer"
    entry = pages(boss, "/audit?text=/users/vera")[0]
    assert entry["user"] == "token admin" and (entry["before"]["role"], entry["after"]["role"]) == ("operator", "viewer")
    # The last admin stays one, whoever asks; another one's role may go as long as one is left.
    for arguments in (["set", "admin", "--role", "viewer"], ["set", "admin", "--disable"], ["remove", "admin"]):
        refused = console.cli("user", *arguments, check=False)
        assert refused.returncode == 1 and "last admin" in refused.stderr
    console.cli("user", "set", "vera", "--role", "admin")
    console.cli("user", "set", "admin", "--role", "operator")
    assert boss.call("GET", "/users")[0] == 403
    assert "last admin" in console.cli("user", "set", "vera", "--disable", check=False).stderr
    made = json.loads(console.cli("--json", "user", "add", "olaf", "--role", "admin").stdout)
    assert Browser(console).login("olaf", made["password"])[0] == 200
    console.cli("user", "set", "vera", "--disable")
    assert vera.call("GET", "/session")[0] == 401
    assert "last admin" in console.cli("user", "remove", "olaf", check=False).stderr
    console.cli("user", "set", "vera", "--enable")
    console.cli("user", "remove", "olaf")
    assert len(json.loads(console.cli("--json", "user", "password", "vera").stdout)["password"]) == 24
    assert "give --role" in console.cli("user", "set", "vera", check=False).stderr


def test_sessions_outlive_a_kill(world):
    console = world.console()
    boss = admin(console)
    vera = someone(console, boss, "vera", "viewer")
    ended = someone(console, boss, "olaf", "viewer")
    kept = ended.cookie
    ended.call("DELETE", "/session")
    console.kill()
    console.start()
    console.ready()
    assert vera.call("GET", "/session")[2]["role"] == "viewer"
    csrf = boss.csrf
    assert boss.call("POST", "/users", {"name": "x", "role": "viewer"})[0] == 403  # the second value is a new one
    boss.csrf = boss.call("GET", "/session")[2]["csrf"]
    assert boss.csrf != csrf and boss.call("POST", "/users", {"name": "x", "role": "viewer"})[0] == 201
    ended.cookie = kept
    assert ended.call("GET", "/session")[0] == 401
    # A backup holds nobody's session once it is put somewhere else.
    backup = world.path("b.backup")
    console.cli("backup", backup)
    with contextlib.closing(sqlite3.connect(backup)) as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone()[0] >= 2
    state = world.path("elsewhere")
    subprocess.run([fairlead.program("fairlead-console"), "--state", str(state), "--restore", str(backup)], check=True, capture_output=True)
    with contextlib.closing(sqlite3.connect(state / "console.db")) as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone()[0] == 0


# ---- files on their way ----


def test_files_on_their_way(world):
    """A run tells which files move, the fastest first and few of many; so does the command."""
    console = world.console()
    world.proxy("hub")
    world.agent("a", via=["hub"])
    world.agent("b", via=["hub"], rate_limit_download=2048)
    folder = world.path("data")
    (folder / "deep").mkdir(parents=True)
    for number in range(12):
        (folder / f"film-{number:02}.bin").write_bytes(bytes([number]) * (8 << 20))
    long_name = "deep/" + "x" * 120 + "/" + "y" * 200 + ".bin"
    (folder / long_name).parent.mkdir()
    (folder / long_name).write_bytes(b"z" * (8 << 20))
    job = console.job("distribution", "films", [f"a:{folder}"], [f"b:{world.path('there')}"])

    def moving():
        flow = console.rest("GET", "/jobs/films")["run"]["flows"][0]
        return flow if any(f["speed"] > 0 and f["done"] > 0 for f in flow["files"]) else None

    flow = fairlead.until("files on their way", moving, timeout=60)
    files = flow["files"]
    assert 1 <= len(files) <= 8 and flow["files_open"] >= len(files)
    assert [f["speed"] for f in files] == sorted((f["speed"] for f in files), reverse=True)
    for file in files:
        assert 0 < file["done"] <= file["size"] == 8 << 20
        assert file["name"] == long_name[-255:] if file["cut"] else (folder / file["name"]).exists()
    assert all("files" not in f for j in console.items("/jobs?flows=5") for f in j["run"]["flows"])  # not in lists
    shown = console.cli("job", "show", "films").stdout
    assert "files on their way" in shown and "MiB of 8.0 MiB" in shown
    console.rest("POST", "/jobs/films/stop")
    job.wait(("stopped",))
    assert console.rest("GET", "/jobs/films")["run"]["flows"][0]["files"] == []
    assert "files on their way" not in console.cli("job", "show", "films").stdout
