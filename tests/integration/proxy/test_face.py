"""The proxy's port as a web server: real clients and scanners, and that a prober learns nothing from a wrong proof."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time

import fairlead
import pytest
from party import Rig


@pytest.fixture(scope="module")
def rig():
    """One for all: nothing here changes it."""
    world = fairlead.World("face")
    made = Rig(world, workers=1).start()
    yield made
    made.close()
    world.close()


def tool(name):
    assert shutil.which(name), f"{name} is missing: scripts/setup installs it"
    return name


def run(*argv, timeout=60, stdin=""):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout * fairlead.SLOW, input=stdin, check=False, errors="replace")


def curl(rig, *options, path="/", scheme="https"):
    return run(tool("curl"), "-sS", "-k", "-i", "--noproxy", "" if "-x" in options else "*", *options, f"{scheme}://127.0.0.1:{rig.port}{path}")


def tls(rig, alpn=(), timeout=15):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", rig.port), timeout=timeout), suppress_ragged_eofs=False)
    return sock


def everything(sock):
    got = b""
    while piece := sock.recv(65536):  # an end without close_notify raises here
        got += piece
    return got


# --- clients

@pytest.mark.parametrize("options", [["--http1.1"], ["--http1.0"], ["--http2"], ["--tlsv1.3", "--http1.1", "--no-alpn"]])
def test_curl_gets_the_page(rig, options):
    got = curl(rig, *options)
    assert got.returncode == 0, got.stderr
    head, _, body = got.stdout.partition("\n\n") if "\r\n" not in got.stdout else got.stdout.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK") and "<h1>Welcome</h1>" in body
    assert re.search(r"^Connection: close", head, re.M) and "Server:" not in head
    assert f"Content-Length: {len(body.encode())}" in head
    assert re.search(r"^Date: \w{3}, \d\d \w{3} \d{4} ", head, re.M)
    assert "default-src 'none'" in head


def test_curl_other_requests(rig):
    head = curl(rig, "-I")
    assert head.returncode == 0 and "200 OK" in head.stdout and "<html" not in head.stdout
    for path, kind in (("/style.css", "text/css"), ("/favicon.svg", "image/svg+xml"), ("/robots.txt", "text/plain"), ("/index.html?a=b", "text/html")):
        got = curl(rig, path=path)
        assert "200 OK" in got.stdout and f"Content-Type: {kind}" in got.stdout, path
    assert "404 Not Found" in curl(rig, path="/../etc/passwd", *()).stdout
    assert "404 Not Found" in curl(rig, "--path-as-is", path="/../../etc/passwd").stdout
    post = curl(rig, "-d", "a=b").stdout
    assert "405 Method Not Allowed" in post and "Allow: GET, HEAD" in post
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert "405 Method Not Allowed" in curl(rig, "-X", method).stdout, method
    assert "414 URI Too Long" in curl(rig, path="/" + "a" * 3000).stdout
    assert "431 Request Header" in curl(rig, "-H", "X: " + "a" * 9000).stdout
    assert "431 Request Header" in curl(rig, *[x for n in range(70) for x in ("-H", f"X{n}: a")]).stdout


def test_is_no_open_proxy(rig):
    port = rig.port
    got = run(tool("curl"), "-sS", "-i", "-k", "--proxy-insecure", "--noproxy", "", "-x", f"https://127.0.0.1:{port}", "http://example.org/")
    assert "400 Bad Request" in got.stdout, got
    got = run(tool("curl"), "-sS", "-i", "-k", "--proxy-insecure", "--noproxy", "", "-x", f"https://127.0.0.1:{port}", "https://example.org/")
    assert "405" in got.stdout + got.stderr and got.returncode != 0, got


def test_plain_http(rig):
    got = curl(rig, scheme="http")
    assert got.returncode == 0 and got.stdout.startswith("HTTP/1.1 400 Bad Request") and "HTTPS" in got.stdout
    with socket.create_connection(("127.0.0.1", rig.port), timeout=5) as sock:
        sock.sendall(b"GET / HT")
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):  # the request is not whole
            sock.recv(1)
        sock.settimeout(5)
        sock.sendall(b"TP/1.0\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 400 ")


def test_chromium_shows_the_page(rig, tmp_path):
    got = run(tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}",
              "--ignore-certificate-errors", "--no-proxy-server", "--virtual-time-budget=2000", "--dump-dom", f"https://127.0.0.1:{rig.port}/", timeout=90)
    assert "<h1>Welcome</h1>" in got.stdout, got.stderr[-2000:]


# --- ALPN, certificates

def test_alpn(rig):
    for offered, chosen in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), ([], None)):
        with tls(rig, offered) as sock:
            assert sock.selected_alpn_protocol() == chosen
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        tls(rig, ["h2"])


def test_gnutls_cli(rig):
    # A Host field would name this machine; HTTP/1.0 needs none.
    got = run(tool("gnutls-cli"), "--insecure", "--alpn", "http/1.1", "-p", rig.port, "127.0.0.1", stdin="GET / HTTP/1.0\r\n\r\n")
    assert "Application protocol: http/1.1" in got.stdout and "TLS1.3" in got.stdout
    assert "<h1>Welcome</h1>" in got.stdout
    assert "CA names" not in got.stdout and "requested" not in got.stdout.lower()  # no CertificateRequest


def test_openssl(rig):
    got = run("openssl", "s_client", "-connect", f"127.0.0.1:{rig.port}", "-alpn", "h2,http/1.1", "-crlf", "-ign_eof", stdin="HEAD / HTTP/1.0\n\n")
    assert "ALPN protocol: http/1.1" in got.stdout and "HTTP/1.1 200 OK" in got.stdout
    assert "No client certificate CA names sent" in got.stdout and "Requested Signature" not in got.stdout
    got = run("openssl", "s_client", "-connect", f"127.0.0.1:{rig.port}", "-alpn", "h2")
    assert "no application protocol" in got.stderr + got.stdout
    for old in ("-tls1_1", "-tls1_2"):
        got = run("openssl", "s_client", "-connect", f"127.0.0.1:{rig.port}", old)
        assert got.returncode != 0 and "Cipher is (NONE)" in got.stdout


# --- scanners

def test_nmap_says_https(rig):
    """On port 443, as nmap takes a web server that does not name itself for what its port says, once TLS is there."""
    config = {**rig.config, "listen": "127.0.0.43:443"}
    path = rig.world.folder / "443.json"
    path.write_text(json.dumps(config))
    proxy = fairlead.Program(rig.world, "proxy443", [fairlead.program("fairlead-proxy"), "--config", path]).start()
    proxy.wait_log('"listening"')
    got = run(tool("nmap"), "-Pn", "-n", "-sT", "-sV", "-p", 443, "127.0.0.43", timeout=150)
    line = next(l for l in got.stdout.splitlines() if l.startswith("443/tcp"))
    assert re.search(r"open\s+ssl/https", line), got.stdout
    proxy.stop()


def test_sslscan(rig):
    got = run(tool("sslscan"), "--no-colour", "--show-certificate", f"127.0.0.1:{rig.port}")
    text = got.stdout
    for old in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"):
        assert re.search(rf"^{re.escape(old)}\s+disabled", text, re.M), text
    assert re.search(r"^TLSv1\.3\s+enabled", text, re.M)
    assert not re.search(r"vulnerable to heartbleed", text.replace("not vulnerable", "")), text
    offered = re.findall(r"^(?:Preferred|Accepted)\s+TLSv1\.3\s+\d+ bits\s+(\S+)", text, re.M)
    assert set(offered) == {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}, text


@pytest.mark.long
def test_testssl(rig):
    """All its checks: no finding above LOW."""
    out = rig.world.folder / "testssl.json"
    out.unlink(missing_ok=True)
    got = run(tool("testssl"), "--quiet", "--color", "0", "--warnings", "off", "--jsonfile", out, f"127.0.0.1:{rig.port}", timeout=400)
    assert re.search(r"^\s*Done .* -->> ", got.stdout, re.M), got.stdout[-2000:]
    findings = json.loads(out.read_text())
    # What the console's own authority cannot change, as it is no public one; and a word on testssl's own OpenSSL.
    known = {"cert_chain_of_trust", "cert_revocation", "engine_problem"}
    bad = [f for f in findings if f["severity"] not in ("OK", "INFO", "LOW", "DEBUG") and f["id"] not in known]
    assert not bad, bad
    seen = {f["id"]: f["finding"] for f in findings}
    assert len(findings) > 100 and seen["TLS1_3"].startswith("offered") and seen["TLS1_2"] == seen["TLS1_1"] == seen["SSLv2"] == "not offered"
    assert seen["heartbleed"].startswith("not vulnerable") and seen["ROBOT"].startswith("not vulnerable")


# --- a prober

def without_date(answer):
    return re.sub(rb"Date: [^\r]*\r\n", b"", answer)


def test_wrong_first_bytes_are_answered_alike(rig):
    """Nonsense, and what is ever nearer to a HELLO: the same bytes, at once, and the same kind of end."""
    answers = {}
    for name, payload in (("word", b"nonsense\r\n"), ("zero", b"\0" * 40), ("empty hello", b"\x01\0\0\0"), ("short hello", b"\x01\0\0\x05abc"),
                          ("ignorable", b"\x3e\0\0\0"), ("critical", b"\x3e\1\0\0"), ("register", b"\x03\0\0\2\x08\0"), ("ping", b"\x0b\0\0\0"),
                          ("hello without certificate", b"\x01\0\0\2\x08\1"), ("letter", b"A\0\0\0"), ("raw", b"\x13\0\0\0"), ("eof", b"\x11\0\0\0")):
        with tls(rig) as sock:
            start = time.monotonic()
            sock.sendall(payload)
            answers[name] = without_date(everything(sock))  # ends in close_notify
            assert time.monotonic() - start < 2 * fairlead.SLOW, name
    assert answers["word"].startswith(b"HTTP/1.1 400 Bad Request")
    different = [name for name, answer in answers.items() if answer != answers["word"]]
    assert not different, different


def test_silence_and_halves_have_one_deadline(rig):
    """Nothing, half a request, half a frame's record: ten seconds, no answer, close_notify."""
    socks = {}
    start = time.monotonic()
    for name, payload in (("silence", b""), ("request", b"GET / HTTP/1.1\r\nHost: a\r\n"), ("letter", b"G")):
        socks[name] = tls(rig, timeout=30)
        if payload:
            socks[name].sendall(payload)
    for name, sock in socks.items():
        assert everything(sock) == b"", name
        took = time.monotonic() - start
        assert 9.5 < took < 12 * fairlead.SLOW, (name, took)
        sock.close()


def test_silent_connection_ends_without_reset(rig):
    with socket.create_connection(("127.0.0.1", rig.port), timeout=20) as sock:
        assert sock.recv(1) == b""  # a reset would raise
