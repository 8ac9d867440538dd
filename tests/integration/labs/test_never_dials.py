"""The proxy only accepts: a trace of a whole run shows no connect to an address and no opening for writing."""

import re
import subprocess

import fairlead
import trees


def test_trace(world):
    console = world.console()
    proxy = world.proxy("dmz")
    trace = world.path("trace.txt")
    strace = subprocess.Popen(["strace", "-f", "-q", "-e", "trace=%file,%network,%desc,execve", "-e", "signal=none", "-o", str(trace), "-p", str(proxy.pid)],
                              stderr=subprocess.PIPE)
    try:
        fairlead.until("strace to be attached", lambda: f"TracerPid:\t{strace.pid}" in open(f"/proc/{proxy.pid}/status").read())
        world.agent("a", via=["dmz"], direct="never")
        world.agent("b", via=["dmz"], direct="never")
        source, target = world.path("source"), world.path("target")
        source.mkdir()
        trees.random_file(source / "file", 10 << 20)
        run = console.job("distribution", "traced", [f"a:{source}"], [f"b:{target}"]).wait()
        assert run["flows"][0]["path"] == "proxy dmz tcp"
        assert trees.differences(source, target) == []
        assert proxy.stop() == 0
    finally:
        strace.terminate()
        strace.wait()
    text = trace.read_text(errors="replace")
    assert re.search(r"\baccept4?\(", text), "the trace shows nothing at all"
    assert not re.findall(r".*\bconnect\(.*sa_family=AF_INET.*", text)
    assert not re.findall(r".*\b(?:open|openat|openat2|creat)\(.*(?:O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND).*", text)
    assert not re.findall(r".*\b(?:unlink|rename|mkdir|truncate|execve)\w*\(.*", text)
