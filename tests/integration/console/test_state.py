"""What the console keeps: backup and restore, stores of earlier versions, secrets under a passphrase, and kill -9."""

import concurrent.futures
import contextlib
import hashlib
import itertools
import os
import random
import re
import sqlite3
import ssl
import stat
import subprocess
import threading
import time

import pytest
import schemas

import fairlead
import machine

NOWHERE = "192.0.2.1:1080"
PASSPHRASE = "a horse that is correct, with a staple"


def restore(file, state, check=True):
    """fairlead-console --restore. Returns the completed process."""
    argv = [str(fairlead.program("fairlead-console")), "--restore", str(file), "--state", str(state)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30 * fairlead.SLOW)
    if check:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done


def refused(console, *texts):
    """The console ends by itself, with one line."""
    console.start()
    assert console.wait() == 1
    lines = console.log().strip().splitlines()
    assert len(lines) == 1 and all(text in lines[0] for text in texts), lines
    return lines[0]


def query(path, sql):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def bytes_of(state):
    """All that lies in a state directory but for what was handed to the administrator."""
    return b"".join(path.read_bytes() for path in state.iterdir() if path.is_file() and not path.name.startswith("admin."))


# ---- backup and restore ----


@pytest.mark.asan
def test_backup_and_restore(world, tmp_path):
    console = world.console()
    world.proxy("way")
    agent = world.agent("left", via=["way"])
    world.agent("right", via=["way"])
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 1000)
    console.job("distribution", "one", [f"left:{source}"], [f"right:{tmp_path / 'target'}"]).wait()
    console.rest("POST", "/proxies", {"name": "gate", "addresses": [NOWHERE]})
    token = console.rest("POST", "/tokens", {"name": "script", "scope": "viewer"})["token"]
    file = tmp_path / "console.backup"
    said = console.cli("backup", file).stdout
    assert "keys" in said and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part")) and not (console.state / ".backup.new").exists()
    assert query(file, "PRAGMA integrity_check") == [("ok",)] and not list(tmp_path.glob("console.backup-*"))
    before = {path: console.rest("GET", path) for path in ("/jobs", "/proxies", "/agent-configs", "/status")}
    events = console.items("/events?limit=1000")
    audit = console.items("/audit?limit=1000")
    assert audit[-1]["action"] == "GET a backup of everything" and audit[-1]["user"] == "token admin"
    old_token = console.token
    console.rest("POST", "/proxies", {"name": "later", "addresses": [NOWHERE]})
    assert console.stop() == 0

    again = tmp_path / "again"
    restore(file, again)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in again.iterdir()} == {"admin.token": 0o600, "console.db": 0o600, "lock": 0o600}
    console.argv[console.argv.index("--state") + 1] = str(again)
    console.state = again
    console.start().ready()
    assert console.token != old_token
    after = {path: console.rest("GET", path) for path in before}
    assert [p["name"] for p in after["/proxies"]["items"]] == ["way", "gate"]
    assert after["/jobs"] == before["/jobs"] and after["/agent-configs"] == before["/agent-configs"]
    for key in ("console_id", "fingerprint"):
        assert after["/status"][key] == before["/status"][key]
    kept = [event for event in events if event["kind"] != "backup.made"]
    assert console.items("/events?limit=1000")[:len(kept)] == kept
    for known in (token, old_token):
        assert fairlead._request("GET", f"https://{console.ui}/api/v1/agents", known, console.ca, None)[0] == 200
    console.wait_agent("left")  # it is the same console to those who knew it
    assert agent.running()
    names = {t["name"] for t in console.items("/tokens")}
    assert names == {"admin", "admin (restored)", "script"}


@pytest.mark.early
@pytest.mark.asan
def test_backup_while_it_is_changed(world, tmp_path):
    console = world.console()
    console.stop()
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:  # so that it takes more than a moment
        rows = ((1700000000, 0, "agent.online", b"\0" * 16, "x" * 400) for _ in range(60000))
        database.executemany("INSERT INTO events(time, level, kind, subject, text) VALUES(?, ?, ?, ?, ?)", rows)
        database.commit()
    console.start().ready()
    stop = threading.Event()
    made = []

    def work(number):
        for count in itertools.count():
            if stop.is_set():
                return
            name = f"tag-{number}-{count}"
            console.rest("POST", "/agent-configs", {"tags": [name]})
            made.append(name)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(work, number) for number in range(2)]
        for turn in range(3):
            fairlead.until("some changes", lambda turn=turn: len(made) > 10 * (turn + 1))
            sure = list(made)
            file = tmp_path / f"{turn}.backup"
            console.cli("backup", file)
            assert query(file, "PRAGMA integrity_check") == [("ok",)]
            assert set(sure) <= {row[0] for row in query(file, "SELECT tags FROM tokens")}
            assert query(file, "SELECT count(*) FROM events WHERE length(text) = 400") == [(60000,)]
        stop.set()
        for job in jobs:
            job.result()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # one at a time, and the console lives
        codes = [done.returncode for done in pool.map(lambda n: console.cli("backup", tmp_path / f"same-{n}", check=False), range(4))]
    assert 0 in codes and console.rest("GET", "/status")
    assert len(list(tmp_path.glob("same-*"))) == codes.count(0)


def test_backup_is_for_administrators(world, tmp_path):
    console = world.console()
    for scope in ("viewer", "operator"):
        token = console.rest("POST", "/tokens", {"name": scope, "scope": scope})["token"]
        status, answer = fairlead._request("GET", f"https://{console.ui}/api/v1/backup", token, console.ca, None)
        assert status == 403 and "admin may" in answer["detail"]
    done = console.cli("backup", tmp_path / "none" / "file", check=False)
    assert done.returncode == 1 and "No such file" in done.stderr
    console.stop()
    done = console.cli("backup", tmp_path / "file", check=False)
    assert done.returncode == 1 and not list(tmp_path.glob("file*"))


def test_what_is_not_restored(world, tmp_path):
    console = world.console()
    file = tmp_path / "console.backup"
    console.cli("backup", file)
    assert "another console" in restore(file, console.state, check=False).stderr
    console.stop()
    assert "state already" in restore(file, console.state, check=False).stderr
    data = file.read_bytes()
    bad = tmp_path / "bad"
    for content, text in ((b"", "not a backup"), (b"nonsense" * 1000, "not a backup"), (data[:len(data) // 2], "damaged"),
                          (data[:8192] + b"\xaa" * 20000 + data[28192:], "damaged")):
        bad.write_bytes(content)
        said = restore(bad, tmp_path / "state", check=False).stderr
        assert text in said, said
    assert "cannot be opened" in restore(tmp_path / "none", tmp_path / "state", check=False).stderr
    bad.write_bytes(data)
    with contextlib.closing(sqlite3.connect(bad)) as database:
        database.execute("PRAGMA user_version = 999")
    assert "newer version" in restore(bad, tmp_path / "state", check=False).stderr
    assert not (tmp_path / "state").exists() or not list((tmp_path / "state").glob("*.db*"))
    restore(file, tmp_path / "state")


def test_who_was_revoked_after_the_backup(world, tmp_path):
    """The list of revocations outlives the store: what an older copy of that does not know is revoked again, whoever it was."""
    console = world.console()
    world.proxy("way")
    console.rest("POST", "/proxies", {"name": "gone", "addresses": [NOWHERE]})
    left = world.agent("left", via=["way"])
    token = console.rest("POST", "/agent-configs", {})["token_id"]
    file, again = tmp_path / "console.backup", tmp_path / "again"
    console.cli("backup", file)
    late = world.agent("late", via=["way"])
    ids = [console.agent(name)["id"] for name in ("left", "late")] + [token, next(p["id"] for p in console.items("/proxies") if p["name"] == "gone")]
    for name in ("left", "late"):
        console.rest("POST", f"/agents/{name}/revoke")
    console.rest("DELETE", f"/agent-configs/{token}")
    console.rest("DELETE", "/proxies/gone")
    assert console.stop() == 0
    kept = console.state / "revocations"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [line.split()[0] for line in kept.read_text().splitlines()] == ids
    restore(file, again)
    with open(again / "revocations", "w", encoding="utf-8") as copy:  # cut off in its last line, by a full disk
        copy.write("no id at all\n" + kept.read_text() + "0123")
    console.argv[console.argv.index("--state") + 1] = str(again)
    console.state = again
    console.start().ready()
    assert console.agent("left")["state"] == "revoked"
    assert [p["name"] for p in console.items("/proxies")] == ["way"]
    assert next(t for t in console.items("/agent-configs") if t["id"] == token)["revoked"]
    assert "4 identities" in next(e["text"] for e in console.items("/events?limit=1000") if e["kind"] == "revocations.again")
    console.wait_proxy("way")
    assert {id.hex() for (id,) in query(again / "console.db", "SELECT id FROM denied")} == set(ids)
    for agent in (left, late):
        agent.stop()
        agent.start()
        agent.wait_log("revoked", 30)
    other = console.rest("POST", "/agent-configs", {})["token_id"]
    console.rest("DELETE", f"/agent-configs/{other}")
    assert (again / "revocations").read_text().splitlines()[-1].split()[0] == other
    assert console.stop() == 0
    console.start().ready()
    assert len([e for e in console.items("/events?limit=1000") if e["kind"] == "revocations.again"]) == 1


# ---- earlier versions ----


@pytest.mark.parametrize("version", sorted(schemas.STEPS))
def test_stores_of_earlier_versions(world, version):
    fresh = fairlead.Console(world, "fresh").start().ready()
    fresh.stop()
    console = fairlead.Console(world, "old")
    console.state.mkdir(mode=0o700)
    path = console.state / "console.db"
    schemas.make(path, version, hashlib.sha256(schemas.TOKEN.encode()).hexdigest())
    (console.state / "admin.token").write_text(schemas.TOKEN)
    console.start().ready()
    assert console.token == schemas.TOKEN  # the old one is still good
    left, right = console.agent("left"), console.agent("right")
    assert (left["state"], left["tags"], left["addresses"]) == ("offline", ["office", "fast"], ["10.0.0.1:3839"])
    assert right["state"] == "revoked"
    assert [p["addresses"] for p in console.items("/proxies")] == [[NOWHERE]]
    job = console.rest("GET", "/jobs/photos")
    assert (job["from"], job["to"], job["state"]) == (["left:/photos"], ["right:/copy"], "partial")
    assert [(e["name"], e["text"]) for e in console.items(f"/runs/{job['run']['id']}/errors")] == [("a.jpg", "Permission denied")]
    assert job["run"]["flows"][0]["bytes_done"] == 900
    config = console.items("/agent-configs")[0]
    assert (config["uses"], config["approval"], config["tags"]) == (2, True, ["office"])
    assert console.items("/events")[0]["text"] == "job photos was created"
    users = {user["name"]: user for user in console.items("/users")}
    assert ("vera" in users) == (version >= 3)
    if version >= 3:
        assert users["vera"]["disabled"] and console.items("/audit")[0]["user"] == "vera"
    wanted = console.rest("GET", "/proxies/gate/settings")["wanted"]
    assert wanted == ({"raw": "never"} if version >= 4 else {})
    wanted = console.rest("GET", "/agents/left/settings")["wanted"]
    assert wanted == ({"rate_limit_upload": 512} if version >= 7 else {})
    fairlead.until("a removed job to be forgotten", lambda: query(path, "SELECT name FROM jobs") == [("photos",)])
    assert len(query(path, "SELECT * FROM runs")) == 1
    hooks = console.items("/hooks")
    assert [(h["name"], h["events"], h["waiting"]) for h in hooks] == ([("pager", ["run.failed", "agent.missing"], 1)] if version >= 5 else [])
    assert console.stop() == 0
    assert schemas.shape(path) == schemas.shape(fresh.state / "console.db")
    assert query(path, "PRAGMA foreign_key_check") == []


def test_the_schemas_are_all_there(world):
    """Whoever changes the schema adds its step to schemas.py."""
    console = world.console()
    console.stop()
    made = world.folder / "made.db"
    schemas.make(made, max(schemas.STEPS), "00" * 32)
    assert schemas.shape(made) == schemas.shape(console.state / "console.db")


# ---- a passphrase ----


@pytest.mark.asan
def test_passphrase(world, tmp_path):
    console = world.console()
    agent = world.agent("left")
    console.rest("POST", "/users", {"name": "vera", "role": "viewer"})
    console.stop()
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:  # a second factor, in clear so far
        database.execute("UPDATE users SET totp = ? WHERE name = 'vera'", (b"secret-of-vera-20-by",))
        database.commit()
    assert b"PRIVATE KEY" in bytes_of(console.state)
    fingerprint = re.search(rb"-----BEGIN PRIVATE KEY-----\n(\S{40})", bytes_of(console.state)).group(1)

    console.env = {"FAIRLEAD_PASSPHRASE": PASSPHRASE}
    console.start().ready()
    assert PASSPHRASE.encode() not in open(f"/proc/{console.pid}/environ", "rb").read()
    assert console.rest("GET", "/users/vera")["totp"]
    kept = bytes_of(console.state)
    assert b"PRIVATE KEY" not in kept and fingerprint not in kept and b"secret-of-vera" not in kept
    console.cli("backup", tmp_path / "sealed.backup")
    assert b"PRIVATE KEY" not in (tmp_path / "sealed.backup").read_bytes()
    console.stop()
    assert b"PRIVATE KEY" not in bytes_of(console.state) and PASSPHRASE not in console.log(since_start=False)

    console.env = {"FAIRLEAD_PASSPHRASE": PASSPHRASE + "!"}
    assert PASSPHRASE not in refused(console, "is not the passphrase of this state")
    console.env = {}
    refused(console, "set FAIRLEAD_PASSPHRASE")
    console.env = {"FAIRLEAD_PASSPHRASE": PASSPHRASE, "FAIRLEAD_NEW_PASSPHRASE": "another one"}
    console.start().ready()
    console.stop()
    refused(fairlead.Console(world, "other", state=console.state, env={"FAIRLEAD_PASSPHRASE": PASSPHRASE}), "is not the passphrase")
    console.env = {"FAIRLEAD_PASSPHRASE": "another one"}
    console.start().ready()
    console.stop()

    restore(tmp_path / "sealed.backup", tmp_path / "restored")
    console.argv[console.argv.index("--state") + 1] = str(tmp_path / "restored")
    console.state = tmp_path / "restored"
    refused(console, "is not the passphrase")
    console.env = {"FAIRLEAD_PASSPHRASE": PASSPHRASE, "FAIRLEAD_NEW_PASSPHRASE": ""}
    console.start().ready()
    console.stop()
    console.env = {}
    console.start().ready()
    console.wait_agent("left", timeout=60)
    assert b"PRIVATE KEY" in bytes_of(console.state) and agent.running()


def test_sealed_secrets_cannot_be_swapped(world):
    console = fairlead.Console(world, env={"FAIRLEAD_PASSPHRASE": PASSPHRASE}).start().ready()
    console.stop()
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
        database.execute("UPDATE settings SET value = (SELECT value FROM settings WHERE key = 'console.key') WHERE key = 'authority.key'")
        database.commit()
    refused(console, "authority")


# ---- kill -9 ----


def change_until_killed(console, done, number):
    """Order changes of several kinds; @done gets what the console has said yes to."""
    for count in itertools.count():
        name = f"w{number}-{count}-{time.monotonic_ns() % 10 ** 9}"
        try:
            if count % 3 == 0:
                console.rest("POST", "/users", {"name": name, "role": "viewer"})
                done.append(("user", name))
            elif count % 3 == 1:
                console.rest("POST", "/agent-configs", {"tags": [name]})
                done.append(("tag", name))
            else:
                removed = next((n for kind, n in reversed(done) if kind == "user" and n.startswith(f"w{number}-")), None)
                if removed:
                    done.append(("going", removed))  # killed while it is removed, it may be there or not
                    console.rest("DELETE", f"/users/{removed}")
                    done.append(("gone", removed))
        except (OSError, fairlead.Rest):
            return


def check_kept(console, done):
    users = {user["name"] for user in console.items("/users")}
    tags = {tag for config in console.items("/agent-configs") for tag in config["tags"]}
    gone = {name for kind, name in done if kind == "gone"}
    going = {name for kind, name in done if kind == "going"}
    lost = [(kind, name) for kind, name in done if (kind == "user" and name not in users | going) or (kind == "tag" and name not in tags)]
    assert not lost and not gone & users
    audited = {entry["after"]["name"] for entry in all_audit(console) if entry["subject"] == "/api/v1/users"}
    assert {name for kind, name in done if kind == "user"} <= audited


def all_audit(console):
    after, found = 0, []
    while page := console.items(f"/audit?limit=1000&after={after}"):
        found += page
        after = page[-1]["n"]
    return found


def kill_and_look(world, seconds):
    console = world.console()
    generator = random.Random(5)
    done, rounds = [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or rounds < 3:
        before = len(done)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(change_until_killed, console, done, number) for number in range(3)]
            fairlead.until("changes", lambda before=before: len(done) > before + 3)
            time.sleep(generator.random() * 0.3)
            console.kill()
            for job in jobs:
                job.result()
        console.start().ready()
        check_kept(console, done)
        rounds += 1
    assert console.stop() == 0
    assert query(console.state / "console.db", "PRAGMA integrity_check") == [("ok",)]
    return rounds, len(done)


@pytest.mark.asan
def test_kill_loses_nothing_that_was_acknowledged(world):
    kill_and_look(world, 6)


# ---- a full disk ----


def refuse_all(console, ends):
    """New jobs, until the console has no room for one more."""
    for n in range(20000):
        try:
            console.rest("POST", "/jobs", {"kind": "distribution", "name": f"more{n}", "hold": True, **ends})
        except fairlead.Rest as no:
            assert no.status == 507 and "disk is full" in no.answer["detail"], no
            return n
    raise AssertionError("there was room for everything")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small file system")
def test_full_disk(world):
    """What cannot be stored is refused and said; what runs goes on, and is stored when there is room again."""
    with machine.small_disk(world.path("small"), "6m") as disk:
        console = world.the_console = fairlead.Console(world, state=disk / "console").start().ready()
        world.agent("a", port=fairlead.free_port())
        world.agent("b", rate_limit_download=8192)
        source, target = world.path("source"), world.path("target")
        source.mkdir()
        (source / "file").write_bytes(os.urandom(40 << 20))
        job = console.job("distribution", "j", [f"a:{source}"], [f"b:{target}"])
        job.wait_bytes(1 << 20)
        machine.fill(disk)
        refuse_all(console, {"from": [f"a:{source}"], "to": ["b:/tmp/nowhere"]})
        try:
            job.do("pause")
            state = "paused"
        except fairlead.Rest as no:
            assert no.status == 507, no
            state = "running"
        assert job.run()["state"] == state
        assert console.rest("GET", "/status")["agents"]["online"] == 2
        (disk / "filler").unlink()
        if state == "paused":
            job.do("resume")
        job.wait()
        assert (target / "file").read_bytes() == (source / "file").read_bytes()
        assert console.job("distribution", "k", [f"a:{source}"], [f"b:{target}"]).wait()["files_same"] == 1
        assert console.stop() == 0


# ---- a long life ----


def web_certificate(console):
    """As PEM; None while nobody answers."""
    host, port = console.ui.rsplit(":", 1)
    try:
        return ssl.get_server_certificate((host, int(port)), timeout=5)
    except OSError:
        return None


def expires(pem):
    """In seconds since 1970."""
    text = subprocess.run(["openssl", "x509", "-noout", "-enddate"], input=pem, capture_output=True, text=True, check=True).stdout
    return ssl.cert_time_to_seconds(text.strip().removeprefix("notAfter="))


def test_web_certificate_of_a_console_that_runs_for_years(world):
    """It is renewed before it expires, without a restart by anybody."""
    clock = machine.Clock(world)
    console = world.console(env=clock.env)
    first = web_certificate(console)
    clock.set(days=300)
    console.rest("GET", "/status")
    assert web_certificate(console) == first  # not before it is time
    clock.set(days=380)
    second = fairlead.until("another certificate", lambda: (web_certificate(console) or first) != first and web_certificate(console))
    assert expires(second) - expires(first) > 370 * 86400
    console.wait_log("web certificate was renewed")
    pid = console.pid
    clock.set(days=0)
    console.stop()
    console.restart()  # the new one is what is kept
    assert fairlead.until("the console to answer", lambda: web_certificate(console)) == second
    assert console.pid != pid


@pytest.mark.long
def test_kill_for_minutes(world):
    rounds, done = kill_and_look(world, float(os.environ.get("FAIRLEAD_KILL_SECONDS", "180")))
    print(f"{rounds} kills, {done} changes")
