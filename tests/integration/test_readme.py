"""The README's walk-through works as it is written: its four terminals, with other ports and another folder than /tmp/fl."""

import os
import pathlib
import re
import signal
import subprocess

import fairlead

ROOT = fairlead.ROOT


def terminals():
    """The commands of each terminal."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("## Try it by hand"):text.index("## What it promises")]
    return [re.sub("^    ", "", block, flags=re.M) for block in re.findall(r"^\*\*\d:[^\n]*\n(?:[^\n]+\n)*\n((?:    [^\n]*\n)+)", section, re.M)]


def here(block, folder, ports):
    """The same commands, so that they may run beside anything else."""
    block = block.replace("/tmp/fl", str(folder)).replace("build/fairlead", str(pathlib.Path(fairlead.BUILD) / "fairlead"))
    for written, free in ports.items():
        block = block.replace(f":{written}", f":{free}")
    return block


def test_walk_through(tmp_path):
    blocks = terminals()
    assert len(blocks) == 4, "the walk-through has changed its form"
    folder = tmp_path / "fl"  # not there yet, as on any machine on which this is tried first
    ports = {port: fairlead.free_port() for port in (8443, 8444, 1080)}
    # The agents' default port for direct legs may be in use here; they go without it then. The CLI's default URL is port 8443.
    env = {**os.environ, "FAIRLEAD_CONSOLE": f"https://127.0.0.1:{ports[8443]}"}
    started = []
    try:
        for number, block in enumerate(blocks[:3], 1):
            log = tmp_path / f"terminal-{number}.log"
            with open(log, "wb") as out:
                started.append(subprocess.Popen(["bash", "-c", here(block, folder, ports)], cwd=ROOT, env=env, stdout=out, stderr=out,
                                                stdin=subprocess.DEVNULL, start_new_session=True))
            awaited = [r"8443|ready|listening", r"listening", r"(?s)console connected.*console connected"][number - 1].replace("8443", str(ports[8443]))
            fairlead.until(f"terminal {number}", lambda log=log, awaited=awaited: re.search(awaited, log.read_text(errors="replace")), 30)
        done = subprocess.run(["bash", "-e", "-c", here(blocks[3], folder, ports)], cwd=ROOT, env=env, capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "equal"
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
