"""People at the console: browsers that are logged in, readers of the live stream, and scripts with a real browser."""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading

import pytest

import fairlead

WEB = fairlead.ROOT / "web"
FRESH = "a password of my own"

# Marks of what drives a real browser, which takes a core for itself: one at a time, from the beginning on.
IN_A_BROWSER = [pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("node")), reason="no browser"), pytest.mark.xdist_group("browser"), pytest.mark.early]


def in_a_browser(test):
    """Decorator: those marks."""
    for mark in IN_A_BROWSER:
        test = mark(test)
    return test


class Browser:
    """What a browser does: keeps the cookie, sends the session's second value with changes."""

    def __init__(self, console):
        self.console = console
        self.context = ssl.create_default_context(cafile=console.ca)
        self.cookie = self.csrf = None

    def call(self, method, path, body=None, **headers):
        """Returns (status, headers, JSON or text)."""
        host, port = self.console.ui.rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), context=self.context, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if self.csrf and method != "GET":
            sent.setdefault("X-CSRF-Token", self.csrf)
        data = None if body is None else json.dumps(body)
        connection.request(method, f"/api/v1{path}", data, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.headers["Set-Cookie"]:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        kind = answer.headers["Content-Type"] or ""
        return answer.status, answer.headers, json.loads(text) if text and kind.endswith("json") else text

    def login(self, user, password, **more):
        status, headers, answer = self.call("POST", "/session", {"user": user, "password": password, **more})
        if status == 200:
            self.csrf = answer["csrf"]
        return status, headers, answer


def first_password(console):
    return (console.state / "admin.password").read_text().strip()


def admin(console):
    """A browser with an administrator who has chosen a password."""
    browser = Browser(console)
    status, _, _ = browser.login("admin", FRESH)
    if status != 200:
        assert browser.login("admin", first_password(console))[0] == 200
        assert browser.call("POST", "/session/password", {"old": first_password(console), "new": FRESH})[0] == 200
    return browser


def someone(console, boss, name, role):
    """A browser with a new user of that role."""
    status, _, made = boss.call("POST", "/users", {"name": name, "role": role})
    assert status == 201, made
    browser = Browser(console)
    assert browser.login(name, made["password"])[0] == 200
    assert browser.call("POST", "/session/password", {"old": made["password"], "new": f"{name} chose this one"})[0] == 200
    return browser


class Stream:
    """Server-sent events, read as they come."""

    def __init__(self, browser, last=None, authorization=None):
        host, port = browser.console.ui.rsplit(":", 1)
        self.connection = http.client.HTTPSConnection(host, int(port), context=browser.context, timeout=20)
        given = {"Cookie": browser.cookie, "Last-Event-ID": last, "Authorization": authorization}
        headers = {"Accept": "text/event-stream", **{name: str(value) for name, value in given.items() if value is not None}}
        self.connection.request("GET", "/api/v1/events", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200 and self.answer.headers["Content-Type"] == "text/event-stream"

    def next(self):
        """The next (event, id, data)."""
        fields = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if not line and "data" in fields:
                return fields.get("event"), fields.get("id"), json.loads(fields["data"])
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value

    def rest(self):
        """All that still comes, up to the end of the stream."""
        return self.answer.read().decode()

    def until(self, kind):
        while True:
            event = self.next()
            if event[0] == "event" and event[2]["kind"] == kind:
                return event


def node(script, *arguments, timeout=180, **env):
    """A script of web/tests with a real browser. The page's packages are there: the console was built."""
    done = subprocess.run(["node", f"tests/{script}", *map(str, arguments)], cwd=WEB, capture_output=True, text=True, timeout=timeout * fairlead.SLOW, check=False,
                          env={**os.environ, **env})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Script:
    """A script of web/tests that works with us, word by word: it says what it wants next, and is told when that is done."""

    def __init__(self, script, order, **env):
        self.process = subprocess.Popen(["node", f"tests/{script}", json.dumps(order)], cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={**os.environ, **env})
        self.watch = threading.Timer(300 * fairlead.SLOW, self.process.kill)  # so that one that hangs ends
        self.watch.start()

    def wants(self, word):
        said = self.process.stdout.readline().strip()
        if said != word:
            self.process.kill()
            raise AssertionError(f"wanted {word!r}, got {said!r}: {self.process.communicate()[1]}")

    def tell(self, word=""):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self):
        _, errors = self.process.communicate()
        self.watch.cancel()
        assert self.process.returncode == 0, errors

    def close(self):
        self.watch.cancel()
        self.process.kill()
        self.process.wait()
