"""Webhooks and mail: what is told, signed, tried again, and never shown."""

import email
import email.header
import hashlib
import hmac
import json

import pytest
import sinks

import fairlead

EVENTS = ["run.finished", "run.failed", "agent.missing", "agent.back", "proxy.missing", "proxy.back"]


@pytest.fixture
def sink():
    """Make sinks; all are closed at the end."""
    made = []

    def start(what, **kwargs):
        made.append(getattr(sinks, what)(**kwargs))
        return made[-1]

    yield start
    for one in made:
        one.close()


def start(world, **keys):
    """A console that is quick to miss somebody and to try again."""
    config = world.write("console.json", {"missing_after": 1, "notify_retry": 1, **keys})
    return world.console(extra=["--config", config])


def hook(console, name, target, events=EVENTS, kind="webhook"):
    return console.rest("POST", "/hooks", {"name": name, "kind": kind, "target": target, "events": events})


def events_of(sink):
    """What was told, in order. A console that is killed before it knows that a message was taken sends it again, with its number."""
    taken = {headers["X-Fairlead-Delivery"]: json.loads(body)["event"] for status, _, headers, body in list(sink.got) if status == 200}
    return list(taken.values())


def signed(secret, headers, body):
    expected = hmac.new(secret.encode(), f"{headers['X-Fairlead-Timestamp']}.{body}".encode(), hashlib.sha256).hexdigest()
    return headers["X-Fairlead-Signature"] == f"sha256={expected}"


def proxy_problem(console, method, path, body, status, field):
    with pytest.raises(fairlead.Rest) as caught:
        console.rest(method, path, body)
    assert caught.value.status == status and caught.value.answer.get("field") == field, caught.value


@pytest.mark.asan
def test_runs_are_told(world, sink):
    console = start(world)
    world.proxy("way")
    for name in ("left", "right"):
        world.agent(name, via=["way"])
    server = sink("web")
    made = hook(console, "tickets", f"http://127.0.0.1:{server.port}/in?a=b", ["run.finished"])
    only_bad = hook(console, "pager", f"http://127.0.0.1:{server.port}/bad", ["run.failed"])
    source = world.path("source")
    source.mkdir()
    (source / "file").write_bytes(b"x" * 1000)
    job = console.job("distribution", "copy", [f"left:{source}"], [f"right:{world.path('target')}"])
    job.wait()
    fairlead.until("the message", lambda: len(server.got) == 1)
    _, path, headers, body = server.got[0]
    told = json.loads(body)
    assert path == "/in?a=b" and headers["Content-Type"] == "application/json" and headers["X-Fairlead-Event"] == "run.finished"
    assert told["event"] == "run.finished" and told["run"]["state"] == "done" and told["run"]["job_name"] == "copy"
    assert told["run"]["bytes_done"] == 1000 and told["console"] == console.rest("GET", "/status")["console_id"]
    assert signed(made["secret"], headers, body) and not signed(only_bad["secret"], headers, body)
    broken = console.job("distribution", "broken", [f"left:{world.path('nowhere')}"], [f"right:{world.path('target')}"])
    broken.wait(("failed", "partial"))
    fairlead.until("both messages", lambda: len(server.got) == 3)
    assert sorted(path for _, path, _, _ in server.got[1:]) == ["/bad", "/in?a=b"]
    assert all(json.loads(body)["event"] == "run.failed" and json.loads(body)["level"] == "error" for _, _, _, body in server.got[1:])
    shown = console.rest("GET", "/hooks/tickets")
    assert shown["last"]["state"] == "done" and shown["waiting"] == 0 and "secret" not in shown
    assert len(console.items("/hooks/tickets/deliveries")) == 2
    # The secret was shown once, and is nowhere else.
    everything = json.dumps([console.rest("GET", p) for p in ("/hooks", "/audit?limit=1000", "/events?limit=1000", "/hooks/tickets")]) + console.log()
    assert made["secret"] not in everything
    console.rest("PATCH", "/hooks/tickets", {"secret": "0123456789abcdef", "events": ["agent.back"]})
    console.rest("POST", "/hooks/tickets/test")
    fairlead.until("the test", lambda: len(server.got) == 4)
    assert signed("0123456789abcdef", server.got[3][2], server.got[3][3]) and server.got[3][2]["X-Fairlead-Event"] == "test"
    console.rest("DELETE", "/hooks/tickets")
    assert [h["name"] for h in console.items("/hooks")] == ["pager"]


@pytest.mark.asan
def test_tried_again_until_it_is_taken(world, sink):
    """Nobody there, then errors, then a restart of the console, then it is taken: once each, in the order of the numbers."""
    console = start(world)
    port = fairlead.free_port()
    hook(console, "late", f"http://127.0.0.1:{port}/", ["proxy.missing"])
    console.rest("POST", "/proxies", {"name": "gone", "addresses": ["127.0.0.1:9"]})
    waiting = fairlead.until("an attempt", lambda: (console.rest("GET", "/hooks/late")["last"] or {}).get("attempts") and console.rest("GET", "/hooks/late"))
    assert waiting["waiting"] == 1 and waiting["last"]["status"] == 0 and waiting["last"]["error"] and waiting["last"]["next"]
    console.kill()
    server = sink("web", port=port)
    server.answers = [500, 302]
    console.start().ready()
    assert console.rest("GET", "/hooks/late")["last"]["n"] == waiting["last"]["n"]
    fairlead.until("it to be taken", lambda: server.got and server.got[-1][0] == 200, timeout=60)
    fairlead.until("its end", lambda: console.rest("GET", "/hooks/late")["last"]["state"] == "done")
    assert [status for status, _, _, _ in server.got] == [500, 302, 200]
    assert len({headers["X-Fairlead-Delivery"] for _, _, headers, _ in server.got}) == 1
    assert all(path == "/" for _, path, _, _ in server.got)  # a redirection is not followed
    last = console.rest("GET", "/hooks/late")["last"]
    assert last["attempts"] >= 4 and last["error"] == "" and last["ended"]
    # Somebody who says that it is gone is not asked again, and people hear of it.
    server.answers = [410]
    console.rest("POST", "/hooks/late/test")
    fairlead.until("the end", lambda: console.rest("GET", "/hooks/late")["last"]["state"] == "given up")
    assert any(e["kind"] == "hook.failed" for e in console.items("/events?limit=1000"))


def of(sink, what):
    """What was told of agents or of proxies, in order; nobody is missed twice without having been back."""
    told = [event for event in events_of(sink) if event.startswith(what)]
    assert all(one != other for one, other in zip(told, told[1:])), told
    return told


@pytest.mark.asan
def test_who_is_missing_is_told_once(world, sink):
    console = start(world)
    proxy = world.proxy("way")
    agent = world.agent("left", via=["way"])
    server = sink("web")
    hook(console, "h", f"http://127.0.0.1:{server.port}/", ["agent.missing", "agent.back", "proxy.missing", "proxy.back"])
    agent.kill()
    fairlead.until("the agent to be missed", lambda: of(server, "agent")[-1:] == ["agent.missing"], timeout=60)
    assert "left" in next(json.loads(body) for _, _, _, body in server.got if "agent.missing" in body)["text"]
    console.kill()
    console.start().ready()  # it was told, so it is not told again
    agent.restart()
    fairlead.until("the agent to be back", lambda: of(server, "agent")[-1:] == ["agent.back"], timeout=60)
    proxy.kill()
    fairlead.until("the proxy to be missed", lambda: of(server, "proxy")[-1:] == ["proxy.missing"], timeout=60)
    proxy.restart()
    fairlead.until("the proxy to be back", lambda: of(server, "proxy")[-1:] == ["proxy.back"], timeout=60)
    # Who was revoked is not missed.
    fairlead.until("the agent to be back", lambda: console.agent("left")["state"] == "online" and of(server, "agent")[-1:] == ["agent.back"], timeout=60)
    console.rest("POST", "/agents/left/revoke")
    told = len(of(server, "agent"))
    console.rest("POST", "/hooks/h/test")
    fairlead.until("the test", lambda: "test" in events_of(server))
    assert len(of(server, "agent")) == told


@pytest.mark.asan
def test_mail(world, sink):
    files = sinks.certificate(world.folder)
    console = start(world, notify_ca=str(files[0]))
    hook(console, "people", "people@example.org", ["run.failed"], kind="mail")
    console.rest("POST", "/hooks/people/test")
    fairlead.until("that there is no server", lambda: "no mail server" in (console.rest("GET", "/hooks/people")["last"] or {}).get("error", ""))
    plain = sink("mail")
    plain.answers = ["451 later, please"]
    console.rest("PUT", "/mail", {"server": f"smtp://127.0.0.1:{plain.port}", "from": "fairlead@example.org", "starttls": False})
    fairlead.until("the mail", lambda: plain.got, timeout=60)
    got = plain.got[0]
    assert "<fairlead@example.org>" in got["from"] and "<people@example.org>" in got["to"] and not got["tls"]
    message = email.message_from_string(got["text"])
    assert str(email.header.make_header(email.header.decode_header(message["Subject"]))) == "[Fairlead] this is a test of what Fairlead tells"
    assert message["Message-ID"] and message["Date"] and "this is a test" in message.get_payload()
    # With TLS and a password; neither is ever shown.
    secure = sink("mail", tls=files)
    settings = {"server": f"smtp://127.0.0.1:{secure.port}", "from": "fairlead@example.org", "user": "ute", "password": "of the mail server"}
    assert console.rest("PUT", "/mail", settings)["password_set"]
    console.rest("POST", "/hooks/people/test")
    fairlead.until("the mail over TLS", lambda: secure.got, timeout=60)
    assert secure.got[0]["tls"] and secure.got[0]["user"] == ["ute", "of the mail server"]
    shown = console.rest("GET", "/mail")
    assert shown["password_set"] and "password" not in shown
    del settings["password"]
    assert console.rest("PUT", "/mail", settings)["password_set"]  # left out: stays
    assert not console.rest("PUT", "/mail", {**settings, "server": "smtps://elsewhere.example"})["password_set"]
    assert "of the mail server" not in json.dumps(console.items("/audit?limit=1000")) + console.log()
    # A server without TLS gets nothing when TLS is asked for.
    console.rest("PUT", "/mail", {"server": f"smtp://127.0.0.1:{plain.port}", "from": "fairlead@example.org"})
    console.rest("POST", "/hooks/people/test")
    fairlead.until("the refusal", lambda: console.rest("GET", "/hooks/people")["last"]["error"], timeout=60)
    assert len(plain.got) == 1


def test_https_is_checked(world, sink):
    files = sinks.certificate(world.folder)
    server = sink("web", tls=files)
    console = start(world)
    hook(console, "h", f"https://127.0.0.1:{server.port}/")
    console.rest("POST", "/hooks/h/test")
    fairlead.until("an attempt", lambda: "certificate" in ((console.rest("GET", "/hooks/h")["last"] or {}).get("error") or "").lower())
    assert not server.got
    console.stop()
    world.write("console.json", {"missing_after": 1, "notify_retry": 1, "notify_ca": str(files[0])})
    console.start().ready()
    fairlead.until("it to be taken", lambda: server.got, timeout=60)


def test_bad_hooks(world):
    console = world.console()
    good = {"name": "h", "kind": "webhook", "target": "https://a.example/x", "events": ["run.failed"]}
    for change, field in (({"kind": "fax"}, "kind"), ({"target": "ftp://a/"}, "target"), ({"target": "https://user:pass@a/"}, "target"),
                          ({"target": "https:///x"}, "target"), ({"target": "https://a/\r\nX: y"}, "target"), ({"target": "file:///etc/passwd"}, "target"),
                          ({"events": ["run.fialed"]}, "events"), ({"events": []}, "events"), ({"name": "a b"}, "name"), ({"secret": "short"}, "secret"),
                          ({"kind": "mail", "target": "nobody"}, "target"), ({"kind": "mail", "target": "a@b\r\nBcc: c@d"}, "target"),
                          ({"kind": "mail", "target": "a@b,c@d"}, "target")):
        proxy_problem(console, "POST", "/hooks", {**good, **change}, 400, field)
    console.rest("POST", "/hooks", good)
    proxy_problem(console, "POST", "/hooks", good, 409, "name")
    proxy_problem(console, "PATCH", "/hooks/h", {"target": "gopher://a"}, 400, "target")
    for method, path in (("GET", "/hooks/none"), ("DELETE", "/hooks/none"), ("POST", "/hooks/none/test"), ("GET", "/hooks/none/deliveries")):
        proxy_problem(console, method, path, None, 404, None)
    for change, field in (({"server": "http://a"}, "server"), ({"from": "nobody"}, "from"), ({"user": "u", "starttls": False}, "starttls")):
        proxy_problem(console, "PUT", "/mail", {"server": "smtp://a", "from": "a@b.example", **change}, 400, field)
    assert console.rest("PUT", "/mail", {"server": ""})["server"] == ""


def test_cli(world, sink):
    console = start(world)
    server = sink("web")
    made = json.loads(console.cli("--json", "hook", "add", "tickets", "--url", f"http://127.0.0.1:{server.port}/", "--event", "run.failed,agent.back").stdout)
    assert len(made["secret"]) == 43 and made["events"] == ["run.failed", "agent.back"]
    secret = world.write("secret", "a secret of ours\n")
    said = console.cli("hook", "add", "people", "--mail", "a@b.example", "--event", "run.failed", "--secret-file", secret).stdout
    assert "a secret" not in said
    console.cli("hook", "test", "tickets")
    fairlead.until("the test", lambda: server.got)
    fairlead.until("its end", lambda: "done" in console.cli("hook", "list").stdout)
    assert "test" in console.cli("hook", "show", "tickets").stdout
    password = world.write("password", "of mail\n")
    console.cli("mail", "set", "--server", "smtps://mail.example", "--from", "a@b.example", "--user", "u", "--password-file", password)
    shown = console.cli("mail", "show").stdout
    assert "smtps://mail.example" in shown and "set" in shown and "of mail" not in shown
    console.cli("hook", "remove", "tickets")
    assert "tickets" not in console.cli("hook", "list").stdout
    for line, status in ((("hook", "add", "x", "--event", "run.failed"), 2), (("hook", "add", "x", "--url", "ftp://a", "--event", "run.failed"), 1),
                         (("hook", "remove", "none"), 1), (("mail", "set", "--server", "smtp://a", "--password-file", "/none"), 2)):
        done = console.cli(*line, check=False)
        assert done.returncode == status and done.stderr.count("\n") == 1, done.stderr
