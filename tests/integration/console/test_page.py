"""The page in a real browser when things go wrong, and for who uses no mouse."""

import contextlib
import json
import sqlite3

from people import FRESH, IN_A_BROWSER, Script, admin, node

pytestmark = IN_A_BROWSER


def happened(console, count):
    """@count events in the store of a console that does not run, as if it had written them just before it died."""
    with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
        for number in range(count):
            text = f"while it was away {number}"
            n = database.execute("INSERT INTO events(time, level, kind, subject, text, about) VALUES(unixepoch(), 0, 'test.event', zeroblob(16), ?, zeroblob(16))", (text,)).lastrowid
            database.execute("INSERT INTO events_text(rowid, text) VALUES(?, ?)", (n, text))
        database.commit()


def test_a_console_that_is_killed_while_the_page_is_open(world):
    console = world.console()
    admin(console)
    add = lambda name: console.rest("POST", "/proxies", {"name": name, "addresses": ["127.0.0.1:9"]})
    add("first")
    script = Script("lost.mjs", {"url": f"https://{console.ui}", "user": "admin", "password": FRESH, "out": str(world.path("."))})

    def kill(count, forget=False):
        script.wants("kill it")
        console.kill()
        script.tell()
        script.wants("start it without sessions" if forget else "start it")
        happened(console, count)
        if forget:
            with contextlib.closing(sqlite3.connect(console.state / "console.db")) as database:
                database.execute("DELETE FROM sessions")
                database.commit()
        console.start()
        console.ready()
        script.tell()

    try:
        kill(8)
        script.wants("add third")
        add("third")
        script.tell()
        kill(1500)
        kill(0, forget=True)
        script.wants("done")
        script.tell()
        script.end()
    finally:
        script.close()


def test_without_a_mouse(world):
    """Login, a dialog, the wizard with its folder browser, a run watched and stopped: by Tab, Enter, arrows and Escape alone."""
    console = world.console()
    world.proxy("hub")
    for name in ("left", "right"):
        world.agent(name, via=["hub"], direct="never")
    admin(console)
    folder = world.path("source")
    folder.mkdir()
    for number in range(4):
        (folder / f"file-{number}").write_bytes(bytes([number]) * 3_000_000)
    text = node("keyboard.mjs", json.dumps({"url": f"https://{console.ui}", "user": "admin", "password": FRESH, "source": str(folder), "target": str(world.path("target"))}),
                timeout=240)
    assert "without a mouse" in text
