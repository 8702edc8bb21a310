"""Supervisors that GAIA is measured against: each with a fleet of services, driven by its own control interface."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xmlrpc.client
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.witness import (
    PATIENCE_S,
    Start,
    Witness,
    children,
    free_port,
    kill_and_wait,
    retry,
    spawn,
    supervised_by,
    wait_for_ends,
)

SUPERVISOR, CIRCUS, PM2, RUNIT = "supervisor==4.3.0", "circus==0.19.0", "pm2@6.0.8", "runit"


class Supervisor(ABC):
    """One supervisor with its services, registered and down at first.

    Args:
        witness: where the services show up.
        directory: for its files; short, it may hold sockets. Its name is the fleet's.
        count: how many services, numbered from 0.
    """

    name: str

    def __init__(self, witness: Witness, directory: Path, count: int) -> None:
        self.witness = witness
        self.directory = directory
        self.count = count
        self.fleet = directory.name
        directory.mkdir(mode=0o700)

    # -- what each does in its own way

    @abstractmethod
    def up(self) -> None:
        """Start the supervisor, which has its services down."""

    @abstractmethod
    def ask_start(self) -> None:
        """Ask for the start of all services."""

    @abstractmethod
    def ask_stop(self) -> None:
        """Ask for the stop of all services."""

    @abstractmethod
    def ask_shutdown(self) -> None:
        """Tell the supervisor to end with its services."""

    @abstractmethod
    def supervisors(self) -> list[int]:
        """Pids of the processes that supervise."""

    @abstractmethod
    def revive(self) -> None:
        """Start the supervisor again after a kill -9, as its manual says."""

    def kill(self) -> None:
        """kill -9 of the supervisor itself."""
        kill_and_wait(self.supervisors()[:1])

    def down(self) -> None:
        """End the supervisor; the witness kills whatever it leaves."""
        kill_and_wait(self.supervisors())

    # -- what is measured, the same for all

    def command(self, number: int) -> list[str]:
        """What service so-and-so runs."""
        return self.witness.command(self.fleet, number)

    def settle(self) -> None:
        """Until the supervisor has noticed that all of them run. Most have a service down as "starting" for 1 s."""
        time.sleep(1.5)

    def start_all(self) -> float:
        """Seconds from asking to the last service running."""
        began = time.monotonic()
        self.ask_start()
        self.await_start(began)
        return max(self.witness.starts(self.fleet, number)[-1].at for number in range(self.count)) - began

    def await_start(self, since: float) -> None:
        """Until each service has started after that moment."""
        started_after, numbers = self.witness.started_after, range(self.count)
        self.witness.wait(lambda: all(started_after(self.fleet, number, since) for number in numbers))

    def crash(self, number: int) -> float:
        """kill -9 of one service; when that was."""
        return self.witness.starts(self.fleet, number)[-1].kill()

    def has_recovered(self, number: int, crashed_at: float) -> bool:
        """Whether a service runs again after its crash."""
        return self.witness.started_after(self.fleet, number, crashed_at) is not None

    def recovered(self, number: int, crashed_at: float) -> float:
        """Seconds from its crash to the service running again; waits for it."""
        self.witness.wait(lambda: self.has_recovered(number, crashed_at))
        return self.witness.starts(self.fleet, number)[-1].at - crashed_at

    def stop_all(self) -> float:
        """Seconds from asking to the supervisor's answer and the last service's end, whichever comes later."""
        return self._ending(self.ask_stop)

    def shut_down(self) -> float:
        """Seconds from telling the supervisor to end with its services to the end of the last of these."""
        return self._ending(self.ask_shutdown)

    def _ending(self, ask: Callable[[], None]) -> float:
        running = [start for starts in self.running() for start in starts]
        began = time.monotonic()
        ask()
        wait_for_ends([start.pidfd for start in running])
        return time.monotonic() - began

    def running(self) -> list[list[Start]]:
        """Per service, the starts that are alive."""
        return [self.witness.alive(self.fleet, number) for number in range(self.count)]


class Supervisord(Supervisor):
    """supervisord with its defaults, over XML-RPC."""

    name = "supervisord"

    def __init__(self, witness: Witness, directory: Path, count: int, place: Path) -> None:
        super().__init__(witness, directory, count)
        self._bin = place
        self._port = free_port()
        self._config = directory / "supervisord.conf"
        programs = "".join(
            f"[program:s{number}]\ncommand={' '.join(self.command(number))}\nautostart=false\nautorestart=true\n"
            f"stdout_logfile={directory}/s{number}.log\nredirect_stderr=true\n"
            for number in range(count)
        )
        self._config.write_text(
            f"[supervisord]\nlogfile={directory}/log\npidfile={directory}/pid\nchilddir={directory}\nnodaemon=true\n"
            f"minfds={4 * count + 1024}\n[inet_http_server]\nport=127.0.0.1:{self._port}\n[rpcinterface:supervisor]\n"
            f"supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n{programs}"
        )

    def up(self) -> None:
        self._process = spawn([self._bin / "supervisord", "-c", self._config], self.directory)
        self._proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{self._port}/RPC2", use_builtin_types=True)
        retry(self._proxy.supervisor.getState, (OSError, http.client.HTTPException))

    def ask_start(self) -> None:
        self._proxy.supervisor.startAllProcesses(False)

    def ask_stop(self) -> None:
        self._proxy.supervisor.stopAllProcesses(True)

    def ask_shutdown(self) -> None:
        self._proxy.supervisor.shutdown()

    def supervisors(self) -> list[int]:
        return [self._process.pid]

    def revive(self) -> None:
        text = self._config.read_text()  # as it is in use: what is registered starts with it
        self._config.write_text(text.replace("autostart=false", "autostart=true"))
        self.up()


class Circus(Supervisor):
    """circusd with its defaults, over its own client library."""

    name = "circus"

    def __init__(self, witness: Witness, directory: Path, count: int, place: Path) -> None:
        super().__init__(witness, directory, count)
        self._bin = place
        self._endpoint = f"ipc://{directory}/endpoint"
        self._config = directory / "circus.ini"
        watchers = "".join(f"[watcher:s{number}]\ncmd={' '.join(self.command(number))}\n" for number in range(count))
        self._config.write_text(
            f"[circus]\nendpoint={self._endpoint}\npubsub_endpoint=ipc://{directory}/events\n{watchers}"
        )
        (directory / "ask.py").write_text(_CIRCUS_CLIENT)

    def up(self) -> None:
        self._process = spawn([self._bin / "circusd", self._config], self.directory)
        self._client = Dialogue([self._bin / "python", self.directory / "ask.py", self._endpoint])
        # `start` leaves out what does not start with circusd; and while that begins, it takes no orders
        retry(lambda: self._client.ask("stop"), (RuntimeError,))

    def ask_start(self) -> None:
        self._client.ask("start")

    def ask_stop(self) -> None:
        self._client.ask("stop")

    def ask_shutdown(self) -> None:
        self._client.ask("quit")

    def supervisors(self) -> list[int]:
        return [self._process.pid]

    def revive(self) -> None:
        self._process = spawn([self._bin / "circusd", self._config], self.directory)

    def down(self) -> None:
        self._client.end()
        super().down()


class Pm2(Supervisor):
    """pm2 in fork mode, over its own programming interface."""

    name = "pm2"

    def __init__(self, witness: Witness, directory: Path, count: int, modules: Path) -> None:
        super().__init__(witness, directory, count)
        apps = []
        for number in range(count):
            program, *arguments = self.command(number)
            apps.append({"name": f"s{number}", "script": program, "args": arguments, "interpreter": "none"})
        (directory / "apps.json").write_text(json.dumps({"apps": apps}))
        (directory / "ask.js").write_text(_PM2_CLIENT)
        self._environ = {**os.environ, "PM2_HOME": str(directory / "home"), "NODE_PATH": str(modules)}
        self._known = False

    def up(self) -> None:
        self._client = Dialogue(["node", self.directory / "ask.js"], cwd=self.directory, env=self._environ)
        self._client.ask("connect")

    def ask_start(self) -> None:
        self._client.ask("restart" if self._known else "start")
        self._known = True

    def ask_stop(self) -> None:
        self._client.ask("stop")

    def ask_shutdown(self) -> None:
        self._client.ask("kill")

    def supervisors(self) -> list[int]:
        pid = self.directory / "home" / "pm2.pid"
        return [int(pid.read_text())] if pid.exists() else []

    def kill(self) -> None:
        self._client.ask("dump")  # `pm2 save`: what it should bring back
        self._client.end()
        super().kill()

    def revive(self) -> None:
        self.up()
        self._client.ask("resurrect")

    def down(self) -> None:
        self._client.end()
        super().down()


class Runit(Supervisor):
    """runsvdir with a runsv for each service, asked by `sv`."""

    name = "runit"

    def __init__(self, witness: Witness, directory: Path, count: int, place: Path) -> None:
        super().__init__(witness, directory, count)
        self._environ = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}
        self._services = directory / "services"
        for number in range(count):
            service = self._services / f"s{number}"
            service.mkdir(parents=True)
            (service / "run").write_text(f"#!/bin/sh\nexec {' '.join(self.command(number))}\n")
            (service / "run").chmod(0o755)
            (service / "down").touch()

    def up(self) -> None:
        self._process = spawn(["runsvdir", "-P", self._services], self.directory, env=self._environ)
        retry(lambda: self._sv("status"), (subprocess.CalledProcessError,))

    def ask_start(self) -> None:
        self._sv("up")

    def ask_stop(self) -> None:
        self._sv("down")

    def ask_shutdown(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def supervisors(self) -> list[int]:
        return [self._process.pid, *children(self._process.pid)]

    def revive(self) -> None:
        for down in self._services.glob("*/down"):
            down.unlink()
        self._process = spawn(["runsvdir", "-P", self._services], self.directory, env=self._environ)

    def down(self) -> None:
        found = supervised_by(str(self._services), self._process.pid)
        kill_and_wait([self._process.pid, *found])

    def _sv(self, verb: str) -> None:
        subprocess.run(
            ["sv", verb, *(str(self._services / f"s{number}") for number in range(self.count))],
            env=self._environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PATIENCE_S,
        )  # fmt: skip


class Dialogue:
    """A warm client in another language: a word to its standard input, a line back when that is done."""

    def __init__(self, argv: Sequence[str | Path], **options: Any) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)

    def ask(self, word: str) -> None:
        """Raises: RuntimeError with what it said when it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"{word}: {answer or 'no answer'}")

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()


_CIRCUS_CLIENT = """
import sys
from circus.client import CircusClient

client = CircusClient(endpoint=sys.argv[1], timeout=120)
for word in sys.stdin:
    word = word.strip()
    answer = client.send_message(word, waiting=True)
    print(answer["status"], flush=True)
"""
_PM2_CLIENT = """
const pm2 = require("pm2"), done = error => console.log(error ? String(error.message || error) : "ok");
const verbs = {
  connect: () => pm2.connect(done),
  start: () => pm2.start("apps.json", done),
  restart: () => pm2.restart("all", done),
  stop: () => pm2.stop("all", done),
  kill: () => pm2.killDaemon(done),
  dump: () => pm2.dump(done),
  resurrect: () => pm2.resurrect(done),
};
console.warn = () => {};
require("readline").createInterface({input: process.stdin}).on("line", word => verbs[word]());
"""


# -- installing


def install_python(directory: Path) -> Path | None:
    """supervisord and circus in a virtual environment of their own. Returns: its `bin`; None when that fails."""
    place = directory / "venv"
    try:
        subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True)
        subprocess.run(
            [place / "bin" / "pip", "install", "-q", SUPERVISOR, CIRCUS], check=True, capture_output=True, timeout=300
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return place / "bin"


def install_pm2(directory: Path) -> Path | None:
    """pm2 from npm. Returns: its `node_modules`; None where there is no npm, or no pm2 to be had."""
    try:
        subprocess.run(
            ["npm", "install", "--prefix", directory / "npm", "--no-audit", "--no-fund", "--silent", PM2],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return directory / "npm" / "node_modules"


def install_runit(directory: Path) -> Path | None:
    """runit's programs: the machine's own, or out of Debian's package without installing it."""
    if found := shutil.which("runsvdir"):
        return Path(found).parent
    place = directory / "runit"
    place.mkdir()
    try:
        subprocess.run(["apt-get", "download", RUNIT], cwd=place, check=True, capture_output=True, timeout=60)
        subprocess.run(["dpkg", "-x", *place.glob("*.deb"), place], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return place / "usr" / "bin"
