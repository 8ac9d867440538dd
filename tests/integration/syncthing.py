"""Real Syncthing daemons (Debian's package) that know one relay and nothing else."""

import hashlib
import pathlib
import re
import subprocess
import xml.etree.ElementTree as xml

import fairlead

OPTIONS = {
    "globalAnnounceEnabled": "false", "localAnnounceEnabled": "false", "natEnabled": "false", "startBrowser": "false", "urAccepted": "-1",
    "autoUpgradeIntervalH": "0", "crashReportingEnabled": "false", "reconnectionIntervalS": "5", "relayReconnectIntervalM": "0", "setLowPriority": "false",
    "stunKeepaliveStartS": "0", "progressUpdateIntervalS": "-1",
}


class Daemon(fairlead.Program):
    """One device with one folder. Needs meet() before start()."""

    def __init__(self, world, name, folder, netns=None):
        self.home, self.folder = world.folder / f"home-{name}", pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        made = subprocess.run(["syncthing", "generate", f"--home={self.home}", "--no-default-folder"], check=True, capture_output=True, text=True)
        self.id = re.search(r"Device ID: (\S+)", made.stdout + made.stderr).group(1)
        super().__init__(world, f"syncthing-{name}", ["syncthing", "serve", f"--home={self.home}", "--no-browser", "--no-restart"], netns,
                         {"STNOUPGRADE": "1", "STTRACE": "relay", "HOME": str(self.home)})

    def meet(self, peer, relay):
        """Share the folder with @peer, a Daemon; both are at @relay, a relay:// URI."""
        path = self.home / "config.xml"
        root = xml.parse(path).getroot()
        options = root.find("options")
        options.find("listenAddress").text = relay
        for name, value in OPTIONS.items():
            options.find(name).text = value
        root.find("gui").set("enabled", "false")
        device = xml.SubElement(root, "device", id=peer.id, name=peer.name)
        xml.SubElement(device, "address").text = relay
        folder = xml.SubElement(root, "folder", id="shared", path=str(self.folder), type="sendreceive", rescanIntervalS="3600",
                                fsWatcherEnabled="false")
        for one in (self.id, peer.id):
            xml.SubElement(folder, "device", id=one)
        xml.ElementTree(root).write(path)


def pair(world, relay, source, target, netns=(None, None)):
    """Two daemons that share the folders @source and @target by way of @relay, started."""
    first, second = Daemon(world, "a", source, netns[0]), Daemon(world, "b", target, netns[1])
    first.meet(second, relay)
    second.meet(first, relay)
    return first.start(), second.start()


def sizes(folder):
    """{relative path: size} of files, without what Syncthing puts beside them."""
    found = {}
    for path in pathlib.Path(folder).rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] != ".stfolder" and not path.name.startswith((".syncthing.", "~syncthing~")):
            try:
                if path.is_file():
                    found[str(name)] = path.stat().st_size
            except FileNotFoundError:
                pass
    return found


def hashes(folder):
    return {name: hashlib.sha256((pathlib.Path(folder) / name).read_bytes()).hexdigest() for name in sizes(folder)}


def wait_equal(source, target, timeout):
    """Until @target has every file of @source, with equal content."""
    want = sizes(source)
    fairlead.until(f"{len(want)} files in {target}", lambda: sizes(target) == want, timeout, 0.2)
    assert hashes(target) == hashes(source)
