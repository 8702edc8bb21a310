"""GAIA as people run it, on the test's home and database: `gaia up`, `gaia down`, and nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from common.home import gaia_home
from tests import warm
from tests.live import ROOT
from tests.waiting import until as until  # here, too, for who runs an installation

_WEB = "gaia_site.asgi:application"
SECONDS = 90  # that a command may take on a busy machine


@dataclass(frozen=True)
class Found:
    """One process of the installation."""

    pid: int
    session: int
    role: str
    token: str
    words: tuple[str, ...]

    @property
    def shim(self) -> bool:
        return any(word.endswith("gaia-shim.sh") for word in self.words)

    def runs(self, *words: str) -> bool:
        return not self.shim and all(word in self.words for word in words)


class Gaia:
    """One installation: commands, and what the process table knows of it."""

    def __init__(self, place: Path, **environ: str) -> None:
        self.place = place
        self.home = gaia_home().root
        self.port = free_port()
        self.environ = {
            **os.environ,
            "GAIA_JOBS_WORKERS": "1",
            "GAIA_SESSIONS_SHELL": "/bin/sh",
            "GAIA_SESSIONS_PATH": str(place / "no-agents"),
            **environ,
        }

    def begin(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command of the CLI."""
        return subprocess.Popen(
            [sys.executable, "-m", "gaia_site.cli", *words],
            cwd=ROOT, env={**self.environ, **environ}, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __call__(self, *words: str, code: int = 0, **environ: str) -> str:
        """Run a command of the CLI to its end. Returns: its standard output."""
        done = warm.run(["-m", "gaia_site.cli", *words], cwd=ROOT, environ={**self.environ, **environ}, timeout=SECONDS)
        output, error = done.stdout, done.stderr
        assert done.returncode == code, f"{words} ended with {done.returncode}\n{output}\n{error}\n{self.logs()}"
        return output if code == 0 else output + error

    def up(self, *words: str, **environ: str) -> dict[str, Any]:
        """`gaia up --detach`."""
        return dict(json.loads(self(*self.up_words, *words, **environ)))

    @property
    def up_words(self) -> tuple[str, ...]:
        return ("up", "--detach", "--json", "--port", str(self.port))

    def logs(self) -> str:
        """What the daemon, the console and the jobs have to say."""
        paths = [self.home / "logs" / "node.log", *sorted((self.home / "processes").glob("gaia-*.log"))]
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in paths if path.exists())

    # -- the process table, read by other means than those that are tested

    def processes(self) -> list[Found]:
        """Whoever carries the home or an attempt's token in its environment, commands of the test excepted."""
        found = []
        home = f"GAIA_HOME={self.home}".encode()
        for pid in psutil.pids():
            with suppress(OSError):
                entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if home not in entries or pid == os.getpid():
                    continue
                variables = dict(entry.partition(b"=")[::2] for entry in entries)
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                found.append(
                    Found(
                        pid,
                        os.getsid(pid),
                        variables.get(b"GAIA_ROLE", b"").decode(),
                        variables.get(b"GAIA_ATTEMPT_TOKEN", b"").decode(),
                        tuple(words),
                    )
                )
        return found

    def of(self, *words: str) -> list[Found]:
        """Those that run a program with these words."""
        return [one for one in self.processes() if one.runs(*words)]

    def daemons(self) -> list[Found]:
        """Without what they are just starting, which has their words until it is executed."""
        found = self.of("node")
        return [one for one in found if _parent(one.pid) not in {each.pid for each in found}]

    def webs(self) -> list[Found]:
        return self.of(_WEB)

    def clusters(self) -> list[Found]:
        return clusters(self.of("jobs"))

    def whole(self) -> bool:
        """One daemon, one console and one cluster, and nobody who is of no live row."""
        from processes.models import Process
        from processes.states import ProcessState

        found = self.processes()
        live = set(Process.objects.filter(state=ProcessState.RUNNING).values_list("token", flat=True))
        parts = [one for one in found if one.runs("node")], [one for one in found if one.runs(_WEB)], clusters(found)
        return [len(part) for part in parts] == [1, 1, 1] and {one.token for one in found if one.token} <= live

    def end(self) -> None:
        """End everything, by force."""
        while found := self.processes():
            for one in found:
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            time.sleep(0.02)
        tmux = ["tmux", "-L", gaia_home().tmux_socket_name, "kill-server"]
        subprocess.run(tmux, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)


def clusters(found: list[Found]) -> list[Found]:
    """The parents of job clusters, children of their shims; their own children have the same command line."""
    return [one for one in found if one.runs("jobs") and _parent(one.pid) == one.session]


def _parent(pid: int) -> int:
    with suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return 0


def free_port() -> int:
    """A port that nobody had a moment ago; below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def installation(place: Path, **environ: str) -> Iterator[Gaia]:
    """For a fixture: an installation that is not up yet, ended afterwards with everything that its rows tell of."""
    from processes.models import Process
    from tests.processes.conftest import kill_marked

    one = Gaia(place, **environ)
    try:
        yield one
    finally:
        one.end()
        kill_marked(set(Process.objects.values_list("token", flat=True)))
