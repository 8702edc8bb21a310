"""Services and commands whose programs themselves prove that nobody runs twice: each holds a lock while it lives.

A program that finds its lock held by somebody else, its predecessor or something which that left running, says so. It
also notes every start with the attempt's token. So what these files tell does not depend on anything that is tested.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from events.actor import acting_as
from processes.actions.nodes import ensure_node
from processes.actions.processes import request_start
from processes.models import Process
from services.actions.definitions import register
from services.actions.running import start_all
from services.models import Service
from services.spec import parse_spec
from services.states import ServiceState
from tests.processes.conftest import environment, running
from tests.waiting import until

_PREAMBLE = """
exec 8>>"$1.lock"
flock -n 8 || echo "$$" >>"$1.twice"
echo "$$ $GAIA_ATTEMPT_TOKEN" >>"$1.began"
"""
SHAPES = {
    "plain": "exec sleep 1000000",
    "family": "sleep 1000000 & sleep 1000000 & wait",
    "apart": "setsid sleep 1000000 & wait",
    "deaf": "trap '' TERM; while :; do sleep 1000000; done",
}
# Ends when it is told to, or after some time, with the code it has been given.
_COMMAND = """
until [ -e "$1.end" ]; do sleep 0.05; done
echo "$2 $GAIA_ATTEMPT_TOKEN" >>"$1.ended"
exit "$2"
"""
_SHORT = """
sleep "$3"
echo "$2 $GAIA_ATTEMPT_TOKEN" >>"$1.ended"
exit "$2"
"""


class Fleet:
    """Programs in a directory, their services and commands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        for name, rest in {**SHAPES, "command": _COMMAND, "short": _SHORT}.items():
            (directory / f"{name}.sh").write_text(_PREAMBLE + rest)

    # -- making

    def register(self, names: Iterable[str], **changes: object) -> list[Service]:
        """Services that stay up, of all shapes that end when they are asked to."""
        shapes = ("plain", "family", "apart")
        services = []
        with acting_as("user:tester"):
            for number, name in enumerate(names):
                words = [str(self.directory / f"{shapes[number % len(shapes)]}.sh"), str(self.directory / name)]
                definition = {"name": name, "command": ["/bin/sh", *words], "cwd": str(self.directory), **changes}
                services.append(register(parse_spec({"restart": "always", **definition})))
        return services

    def start(self, services: list[Service]) -> None:
        """Have them up and wait until they are."""
        with acting_as("user:tester"):
            start_all(services)
        pks = [each.pk for each in services]
        until(lambda: Service.objects.filter(pk__in=pks, state=ServiceState.RUNNING).count() == len(pks))
        until(lambda: all(self.began(each.name) for each in services))

    def command(self, name: str, code: int, *, seconds: float | None = None) -> Process:
        """A command that runs until it is told to end, or for so many seconds, and ends with this code."""
        program = "command" if seconds is None else "short"
        words = [str(self.directory / f"{program}.sh"), str(self.directory / name), str(code), str(seconds or "")]
        with acting_as("user:tester"):
            return request_start(ensure_node(), f"test/{name}", ["/bin/sh", *words], cwd=self.directory)

    def end(self, name: str) -> None:
        """Tell a command to end."""
        (self.directory / f"{name}.end").touch()

    # -- looking

    def token(self, name: str) -> str:
        """Of its last start."""
        return self._notes(name, "began")[-1][1]

    def began(self, name: str) -> list[int]:
        """Pids of all its starts, oldest first."""
        return [int(pid) for pid, _ in self._notes(name, "began")]

    def ended(self, name: str) -> dict[str, int]:
        """The exit codes its attempts were about to end with, by token."""
        return {token: int(code) for code, token in self._notes(name, "ended")}

    def tokens(self) -> Counter[str]:
        """How often each attempt has begun, of all there are."""
        return Counter(token for path in self.directory.glob("*.began") for _, token in self._notes(path.stem, "began"))

    def twice(self) -> dict[str, str]:
        """Who found somebody of his name running already."""
        return {path.stem: path.read_text() for path in self.directory.glob("*.twice")}

    def alive(self, name: str) -> list[int]:
        """Pids of its starts that run, and not those of strangers who have got such a pid since."""
        starts = [(int(pid), token) for pid, token in self._notes(name, "began")]
        return [pid for pid, token in starts if bears(pid, token) and running(pid)]

    def _notes(self, name: str, kind: str) -> list[tuple[str, str]]:
        path = self.directory / f"{name}.{kind}"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(first, token) for first, _, token in (line.partition(" ") for line in lines)]

    def told(self) -> str:
        """Everything, for whoever wants to know what happened."""
        notes = [path for path in sorted(self.directory.iterdir()) if path.suffix in (".began", ".ended", ".twice")]
        return json.dumps({path.name: path.read_text() for path in notes}, indent=1)


def bears(pid: int, token: str) -> bool:
    """Whether that process is of this attempt."""
    return f"GAIA_ATTEMPT_TOKEN={token}".encode() in environment(pid)


def kill(pid: int, token: str) -> bool:
    """kill -9 of that process, if it is of this attempt. Whether it was."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not bears(pid, token):  # looked at with the pidfd open: it can mean nobody else from here on
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
