"""Real programs for tests: started from a build, watched by their log, killed hard, started again.

    def test_move(world):
        console = world.console()
        proxy = world.proxy("dmz")
        a, b = world.agent("a", via=["dmz"]), world.agent("b", via=["dmz"])
        run = console.job("distribution", "j", [f"a:{src}"], [f"b:{dst}"]).wait()

The build is the folder FAIRLEAD_BUILD names (default: build, beside this tree). Each program takes `netns=`, the name of a network
namespace to run in. Everything that a World started is stopped by its own pid when the World is closed; the folder
goes too, but after a failure the logs are kept under FAIRLEAD_LOGS (default: test-logs in the build).
"""

import concurrent.futures
import contextlib
import ctypes
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("FAIRLEAD_BUILD", ROOT / "build")).resolve()
LOGS = pathlib.Path(os.environ.get("FAIRLEAD_LOGS", BUILD / "test-logs"))
SLOW = float(os.environ.get("FAIRLEAD_SLOW", "1"))  # stretches every time-out, for sanitizers and busy machines
FREE_PORT = [10000 + os.getpid() * 97 % 21000]  # the last one given
ENDED = ("done", "partial", "failed", "stopped")


class Failure(AssertionError):
    """A program did not do what a test waited for."""


def free_port(below=31000):
    """A TCP port that was free on loopback a moment ago. It lies below the range from which the kernel takes the ports of
    outgoing connections, and tests that run side by side look from different starts."""
    while True:
        FREE_PORT[0] = FREE_PORT[0] + 1 if FREE_PORT[0] + 1 < below else 10000
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", FREE_PORT[0]))
            return FREE_PORT[0]


def program(name):
    """The path of a built program: build/NAME, or where meson has put it."""
    found = [path for path in (BUILD / name, *BUILD.glob(f"src/*/{name}")) if path.is_file()]
    if not found:
        raise Failure(f"{name} is not built in {BUILD} (FAIRLEAD_BUILD names another build)")
    return found[0]


def until(what, test, timeout=20, every=0.05):
    """Wait for @test to give something true, and return it."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        result = test()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failure(f"waited {timeout * SLOW:.0f} s in vain for {what}")
        time.sleep(every)


class Program:
    """One program: its log in a file, its pid, its exit status."""

    def __init__(self, world, name, argv, netns=None, env=None):
        self.world, self.name, self.netns, self.env = world, name, netns, env
        self.argv = [str(part) for part in argv]
        self.log_path = world.folder / f"{name}.log"
        self.mark = 0  # where the log stood at the last start
        self.process = None
        self.killed = False  # by the test
        self.crash = None  # what went wrong when it ended by itself
        world.programs.append(self)

    def prefix(self):
        # ip(8) replaces itself by the program, so that the pid is the program's.
        return ["ip", "netns", "exec", self.netns] if self.netns else []

    def start(self):
        if self.running():
            raise Failure(f"{self.name} runs already, and would be lost sight of")
        self.killed = False
        self.mark = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.prefix(), *self.argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            start_new_session=True, env={**os.environ, **(self.env or {})})
        return self

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self, since_start=True):
        """The log so far, by default since the last start."""
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as file:
            file.seek(self.mark if since_start else 0)
            return file.read().decode(errors="replace")

    def wait_log(self, pattern, timeout=20, since_start=True, ended_is_fine=False):
        """Wait for a line that the regular expression fits, and return the match."""
        def look():
            found = re.search(pattern, self.log(since_start))
            if not found and not self.running() and not ended_is_fine:
                raise Failure(f"{self.name} ended with status {self.process.returncode}, no line {pattern!r}:\n{self.log()[-2000:]}")
            return found
        return until(f"{pattern!r} in {self.log_path}", look, timeout)

    def wait(self, timeout=20):
        """Wait for it to end by itself, and return the exit status."""
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} still runs after {timeout * SLOW:.0f} s:\n{self.log()[-2000:]}") from None

    def kill(self):
        """kill -9, and see it gone."""
        if self.running():
            self.killed = True
            self.process.kill()
            self.process.wait()
        else:
            self.note_crash()

    def note_crash(self):
        """A program that a signal of its own ended (or a sanitizer: SIGABRT) fails the test, whatever else it looked at."""
        early = self.process and self.process.poll() == -signal.SIGTERM  # stopped before it had a handler
        if self.process and self.process.poll() is not None and self.process.returncode < 0 and not self.killed and not early:
            self.crash = f"{self.name} died of signal {-self.process.returncode}:\n{self.log()[-3000:]}"

    def stop(self, timeout=10):
        """SIGTERM; the exit status. One that does not end in time is killed and is a failure."""
        if self.process is None:
            return None
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout * SLOW)
            self.note_crash()
            return status
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not stop within {timeout * SLOW:.0f} s of SIGTERM") from None

    def restart(self):
        """Start it again, after kill() or stop()."""
        return self.start()

    def signal(self, number):
        self.process.send_signal(number)

    def memory(self):
        """Resident bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{self.pid}/status").read_text())
        return int(found.group(1)) * 1024

    def ready(self):
        """Wait until it does its work."""
        return self


def _request(method, url, token, ca, body):
    """One REST request. Returns (status, parsed body)."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False  # tests reach the console under addresses of their own
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except http.client.HTTPException as error:  # it went in the middle of its answer
        raise ConnectionError(f"{method} {url}: {error!r}") from error
    with contextlib.suppress(ValueError):
        return status, json.loads(text) if text else None
    return status, text.decode(errors="replace")


def _within(netns, call):
    """What @call returns or raises, done in a network namespace: by a thread of its own, as each thread is in one. (A process of its
    own for each request was half of what the labs cost.)"""
    done = concurrent.futures.Future()

    def work():
        try:
            with open(f"/run/netns/{netns}", "rb") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
            done.set_result(call())
        except BaseException as error:  # pylint: disable=broad-exception-caught
            done.set_exception(error)
    threading.Thread(target=work).start()
    return done.result()


class Rest(Failure):
    """REST said no."""

    def __init__(self, method, path, status, answer):
        super().__init__(f"{method} {path}: {status}: {answer}")
        self.status, self.answer = status, answer


class Console(Program):
    """fairlead-console, with REST and the CLI."""

    def __init__(self, world, name="console", host="127.0.0.1", ui_port=None, agents_port=None, netns=None, extra=(), env=None, state=None):
        self.state = pathlib.Path(state) if state else world.folder / name
        self.ui = f"{host}:{ui_port or free_port()}"
        self.agents = f"{host}:{agents_port or free_port()}"
        super().__init__(world, name, [program("fairlead-console"), "--state", self.state, "--ui", self.ui,
                                       "--agents", self.agents, *extra], netns, env)

    def ready(self):
        def answers():
            if not self.running():
                raise Failure(f"{self.name} ended with status {self.process.returncode}:\n{self.log()[-2000:]}")
            try:
                return (self.state / "admin.token").exists() and self.rest("GET", "/status")
            except (OSError, Rest):
                return None
        until(f"{self.name} to answer", answers)
        return self

    @property
    def token(self):
        return (self.state / "admin.token").read_text().strip()

    @property
    def ca(self):
        return str(self.state / "ca.pem")

    def rest(self, method, path, body=None):
        """A request below /api/v1; raises Rest unless the answer is a 2xx."""
        url = f"https://{self.ui}/api/v1{path}"
        ask = functools.partial(_request, method, url, self.token, self.ca, body)
        status, answer = _within(self.netns, ask) if self.netns else ask()
        if not 200 <= status < 300:
            raise Rest(method, path, status, answer)
        return answer

    def cli(self, *arguments, check=True, timeout=120):
        """The `fairlead` command against this console. Returns the completed process; checks for status 0."""
        argv = [*self.prefix(), str(program("fairlead")), "--console", f"https://{self.ui}", "--token-file",
                str(self.state / "admin.token"), "--ca", self.ca, *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout * SLOW)
        if check and done.returncode:
            raise Failure(f"fairlead {' '.join(map(str, arguments))}: status {done.returncode}: {done.stderr}")
        return done

    def items(self, path):
        return self.rest("GET", path)["items"]

    def agent(self, name):
        """The agent of that name as REST shows it, or None."""
        return next((agent for agent in self.items("/agents") if agent["name"] == name), None)

    def wait_agent(self, name, state="online", timeout=30):
        return until(f"agent {name} {state}", lambda: (self.agent(name) or {}).get("state") == state and self.agent(name), timeout, 0.1)

    def wait_proxy(self, name, state="connected", timeout=30):
        return until(f"proxy {name} {state}",
                     lambda: next((p for p in self.items("/proxies") if p["name"] == name and p["state"] == state), None), timeout, 0.1)

    def job(self, kind, name, sources, targets, hold=False):
        """Order a job. @sources, @targets: "AGENT:/path" each."""
        body = {"kind": kind, "name": name, "from": [str(s) for s in sources], "to": [str(t) for t in targets]}
        if hold:
            body["hold"] = True
        return Job(self, self.rest("POST", "/jobs", body))


class Job:
    """A job at a console."""

    def __init__(self, console, made):
        self.console, self.id = console, made["id"]

    def run(self):
        """The latest run, or None."""
        return self.console.rest("GET", f"/jobs/{self.id}")["run"]

    def do(self, verb):
        """start, pause, resume or stop."""
        return self.console.rest("POST", f"/jobs/{self.id}/{verb}")

    def wait(self, states=("done",), timeout=60):
        """Wait for the run to be in one of @states; another end is a failure. A console that is down is waited for."""
        def look():
            try:
                run = self.run()
            except OSError:
                return None
            if run and run["state"] in states:
                return run
            if run and run["state"] in ENDED:
                raise Failure(f"run ended as {run['state']}: {json.dumps(run, indent=1)}\nerrors: {self.errors()[:20]}")
            return None
        try:
            return until(f"run to be {'/'.join(states)}", look, timeout, 0.1)
        except Failure as failure:
            with contextlib.suppress(OSError, Rest):
                raise Failure(f"{failure}\n{json.dumps(self.run(), indent=1)}") from None
            raise

    def wait_bytes(self, count, timeout=60):
        """Wait until the run reports that many bytes done (or has ended)."""
        def look():
            with contextlib.suppress(OSError):
                run = self.run()
                return run and (run["bytes_done"] >= count or run["state"] in ENDED) and run
        return until(f"{count} bytes done", look, timeout, 0.02)

    def errors(self):
        run = self.run()
        return self.console.items(f"/runs/{run['id']}/errors") if run else []


class Proxy(Program):
    """fairlead-proxy with the file that the console made."""

    def __init__(self, world, name, config, netns=None):
        self.config_path = world.write(f"{name}.json", config)
        super().__init__(world, name, [program("fairlead-proxy"), "--config", self.config_path], netns)


class Agent(Program):
    """fairlead-agent."""

    def __init__(self, world, name, config, netns=None, extra=(), state=None):
        self.state = pathlib.Path(state) if state else world.folder / f"state-{name}"
        self.config_path = world.write(f"{name}.json", config)
        super().__init__(world, f"agent-{name}" if name in ("console", "proxy") else name,
                         [program("fairlead-agent"), "--config", self.config_path, "--state", self.state, *extra], netns)

    def ready(self):
        """Enrolled and connected to the console."""
        self.wait_log(r"console connected", 30)
        return self


class World:
    """A folder, a console, proxies and agents, and their end."""

    def __init__(self, name="world"):
        self.name = re.sub(r"[^\w.-]+", "-", name)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fairlead-test-"))
        self.programs = []
        self.the_console = None

    def write(self, name, content):
        """A private file in the folder: text, or anything else as JSON."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        path.chmod(0o600)
        return path

    def path(self, name):
        """A path in the folder."""
        return self.folder / name

    def console(self, **kwargs):
        """Start a console and wait until it answers."""
        self.the_console = Console(self, **kwargs).start().ready()
        return self.the_console

    def proxy(self, name="proxy", address=None, listen=None, netns=None, wait=True, change=None):
        """Register a proxy at the console, start it, and wait until the console has dialled it. @change: may alter proxy.json."""
        address = address or f"127.0.0.1:{free_port()}"
        body = {"name": name, "addresses": [address], "listen": [listen or address]}
        config = self.the_console.rest("POST", "/proxies", body)["config"]
        if change:
            change(config)
        made = Proxy(self, name, config, netns).start()
        made.address = address
        if wait:
            self.the_console.wait_proxy(name)
        return made

    def agent_config(self, name, via=(), direct=None, tags=(), port=0, approval=None, **keys):
        """An agent.json made by the console. @via: names of proxies, then the only ways; @keys: more keys of the file."""
        body = {"via": list(via), "tags": list(tags)}
        if approval is not None:
            body["approval"] = approval
        config = self.the_console.rest("POST", "/agent-configs", body)["config"]
        if via:
            config["management_server"].pop("host", None)
        config.update(device_name=name, listening_port=port, **keys)
        if direct:
            config["direct"] = direct
        return config

    def agent(self, name, via=(), netns=None, wait=True, extra=(), **keys):
        """Make an agent.json, start an agent with it and wait until it is connected. @keys: as agent_config()."""
        made = Agent(self, name, self.agent_config(name, via=via, **keys), netns, extra).start()
        if wait:
            made.ready()
            self.the_console.wait_agent(name)
        return made

    def processes(self):
        """Pid and command of each process that has something to do with this folder."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has just ended
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"{self.folder}/" in command and int(path.parent.name) != os.getpid():
                    found.append((int(path.parent.name), command.strip()))
        return found

    def left_behind(self):
        """What still runs though all programs were stopped: a failure, and killed."""
        with contextlib.suppress(Failure):
            until("all processes to end", lambda: not self.processes(), 5)
        left = self.processes()
        for pid, _ in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [f"left behind: {command}" for _, command in left]

    def close(self, failed=False):
        """Stop everything; the console last. Keep the logs of a failure."""
        bad = []
        for one in sorted(self.programs, key=lambda p: isinstance(p, Console)):
            try:
                one.stop()
            except (Failure, OSError) as failure:
                bad.append(str(failure))
            bad += [one.crash] if one.crash else []
        bad += self.left_behind()
        if failed or bad:
            kept = LOGS / self.name
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True, exist_ok=True)
            for log in self.folder.glob("*.log"):
                shutil.copy(log, kept)
            print(f"logs: {kept}")
        shutil.rmtree(self.folder, ignore_errors=True)
        if bad:
            raise Failure("\n".join(bad))


def parts(folder):
    """Temporary files that were left below @folder."""
    return [path for path in pathlib.Path(folder).rglob(".fairlead-*.part")]
