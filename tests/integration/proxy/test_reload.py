"""SIGHUP: certificates are read again by the loader, a process of its own that may only read."""

import pathlib
import re
import signal
import ssl
import socket
import subprocess
import time

import fairlead
import pytest
from party import Rig

pytestmark = [pytest.mark.tsan, pytest.mark.asan]


@pytest.fixture
def rig(world):
    made = Rig(world).start()
    yield made
    made.close()


def shown(rig):
    """The certificate that the port shows, DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", rig.port), timeout=20)) as sock:
        return sock.getpeercert(binary_form=True)


def make_certificate(path, name, days=30):
    """As a public authority's would come: another key, written beside, moved into place."""
    key, cert = path.with_suffix(".key"), path.with_suffix(".crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert], check=True, capture_output=True)
    new = path.with_suffix(".new")
    new.write_text(key.read_text() + cert.read_text())
    new.rename(path)
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


def hup(rig, pattern, times=1):
    rig.proxy.signal(signal.SIGHUP)
    fairlead.until(pattern, lambda: len(re.findall(pattern, rig.proxy.log())) >= times)


def loader_pid(rig):
    """It names itself soon after its start."""
    def look():
        children = pathlib.Path(f"/proc/{rig.proxy.pid}/task/{rig.proxy.pid}/children").read_text().split()
        return next((int(pid) for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text() == "fairlead-loader\n"), 0)

    return fairlead.until("the loader", look)


def test_certificate_is_swapped_under_sessions(rig, world):
    alice, bob = rig.register("alice"), rig.register("bob")
    a, b = rig.session(alice, bob)
    assert rig.party(f"flow {a} {b} 1000000") == "ok"
    before = shown(rig)
    tls = world.folder / "pki/tls.pem"
    made = make_certificate(tls, "proxy.example.org")
    assert shown(rig) == before  # not before it is told
    hup(rig, "certificates reloaded")
    assert shown(rig) == made
    for n in range(2, 6):  # again and again, with a session that never ends and new ones
        made = make_certificate(tls, f"proxy{n}.example.org")
        hup(rig, "certificates reloaded", n)
        assert shown(rig) == made
        assert rig.party(f"flow {a} {b} 1000000") == "ok"
        c, d = rig.session(alice, bob)
        assert rig.party(f"flow {d} {c} 100000") == "ok"
        rig.party(f"close {c}")
        rig.party(f"close {d}")
    assert "expires" in re.search(r"certificates reloaded.*", rig.proxy.log()).group(0)


def test_what_is_wrong_changes_nothing(rig, world):
    before, pki = shown(rig), world.folder / "pki"
    good = {name: (pki / name).read_text() for name in ("tls.pem", "identity.pem", "ca.pem")}

    def refused(times, **files):
        for name, text in files.items():
            (pki / f"{name}.pem").write_text(text)
        hup(rig, "nothing has changed", times)
        assert shown(rig) == before
        for name, text in good.items():
            (pki / name).write_text(text)

    refused(1, tls="no PEM at all")
    refused(2, tls=good["tls.pem"].split("-----BEGIN CERTIFICATE")[0])  # the key alone
    refused(3, tls=good["tls.pem"] + "x" * 2**21)  # too much
    refused(4, identity=good["tls.pem"])
    rig.party("ca B")
    rig.party(f"proxy B {world.folder}/other")
    other = {name: (world.folder / "other" / f"{name}.pem").read_text() for name in ("ca", "identity")}
    refused(5, **other)  # another console's proxy
    rig.party(f"proxy A {world.folder}/second")
    refused(6, identity=(world.folder / "second/identity.pem").read_text())  # another proxy of the same console
    (pki / "tls.pem").unlink()
    hup(rig, "nothing has changed", 7)
    rig.write({**rig.config, "listen": "no address"})
    hup(rig, "nothing has changed", 8)
    log = rig.proxy.log()
    for word in ("tls_certificate", "identity", "listen"):
        assert re.search(rf"nothing has changed.*{word}", log), word
    rig.write()
    (pki / "tls.pem").write_text(good["tls.pem"])
    hup(rig, "certificates reloaded")
    rig.register("alice")


def test_loader_may_only_read(rig):
    pid = loader_pid(rig)

    def state():
        return dict(re.findall(r"^(\w+):\s*(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))

    sockets = [link for link in (p.readlink() for p in pathlib.Path(f"/proc/{pid}/fd").iterdir() if int(p.name) > 2)]
    assert len(sockets) == 1 and str(sockets[0]).startswith("socket:"), sockets
    if '"sandboxed"' in rig.proxy.log():
        fairlead.until("its own filter", lambda: state()["Seccomp"] == "2")  # it makes it while the proxy goes on
        status = state()
        assert status["NoNewPrivs"] == "1" and int(status["CapPrm"], 16) == 0
        assert status["Threads"] == "1"  # ThreadSanitizer, without a sandbox, has one of its own


def test_loader_ends_with_the_proxy(rig):
    pid = loader_pid(rig)
    rig.proxy.kill()
    fairlead.until("the loader's end", lambda: not pathlib.Path(f"/proc/{pid}").exists())


def test_loss_of_the_loader_is_told(rig, world):
    before = shown(rig)
    subprocess.run(["kill", "-KILL", str(loader_pid(rig))], check=True)
    rig.proxy.wait_log("the loader has ended")
    make_certificate(world.folder / "pki/tls.pem", "late.example.org")
    rig.proxy.signal(signal.SIGHUP)
    time.sleep(0.3)
    assert shown(rig) == before
    rig.register("alice")
    assert rig.proxy.running()
