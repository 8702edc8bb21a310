"""Real daemons on the test's home and database, and the promise that nothing they start outlives its test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from common.home import gaia_home
from tests import waiting, warm
from tests.live import ROOT

if TYPE_CHECKING:  # Django is not set up yet when this is imported
    from common.home import Home
    from processes.models import Node, Process
    from tests.processes.turns import Turn

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def until() -> Until:
    """Ask again until the answer is true."""
    return waiting.until


@pytest.fixture
def node(db: None, acting: str) -> Node:
    """This host."""
    from processes.actions.nodes import ensure_node

    return ensure_node()


@pytest.fixture
def turn(node: Node) -> Turn:
    """A reconciler whose daemon is the test."""
    from tests.processes.turns import Turn

    return Turn(node)


@pytest.fixture
def successor(node: Node) -> Callable[[], Turn]:
    """A reconciler that knows nothing, as that of a daemon after a kill -9."""
    from tests.processes.turns import Turn

    return lambda: Turn(node)


@pytest.fixture
def full_journal(tmp_path: Path) -> Path:
    """A journal that no shim can write."""
    path = tmp_path / "journal"
    path.symlink_to(tmp_path / "gone" / "journal")
    return path


def kill_marked(tokens: set[str]) -> None:
    """Kill whoever carries one of these tokens; found by other means than those that are tested."""
    marks = {f"GAIA_ATTEMPT_TOKEN={token}".encode() for token in tokens}
    while found := [process for process in psutil.process_iter() if not marks.isdisjoint(environment(process.pid))]:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.02)


def environment(pid: int) -> list[bytes]:
    """The variables a process was started with; none for one that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def running(pid: int) -> bool:
    """Whether the pid is a process that has not ended."""
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def leave_nothing(transactional_db: None, home: Home) -> Iterator[None]:
    """Ends whatever the test's rows tell of."""
    from processes.models import Process

    yield
    kill_marked(set(Process.objects.values_list("token", flat=True)))
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class Daemon:
    """The node daemon without web and jobs (`tests.processes.bare_daemon`), in a process of its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: warm.Running | None = None

    def start(self, **environ: str) -> int:
        """Start it and wait until it has looked at everything once. Returns: its pid."""
        from events.models import Event

        seen = Event.objects.filter(kind="node.started").count()
        self._process = warm.Running(
            ["-m", "tests.processes.bare_daemon"],
            cwd=ROOT, environ={**os.environ, "GAIA_ROLE": "node", **environ}, log=self.log,
        )  # fmt: skip
        try:
            waiting.until(lambda: self._process.poll() is not None or self._started(seen))
        finally:
            assert self._process.poll() is None, self.log.read_text()
        return self._process.pid

    def _started(self, seen: int) -> bool:
        from events.models import Event

        return Event.objects.filter(kind="node.started").count() > seen

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(60)
        self._process = None
        return code


@pytest.fixture
def daemon(leave_nothing: None, acting: str, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    one = Daemon(tmp_path / "daemon.log")
    yield one
    one.kill()


@pytest.fixture
def request_sh(tmp_path: Path, acting: str) -> Callable[..., Process]:
    """Ask for a shell script to be run for an owner, in the test's directory."""
    from processes.actions.nodes import ensure_node
    from processes.actions.processes import request_start

    def request(script: str, owner: str = "test/one", **changes: Any) -> Process:
        return request_start(ensure_node(), owner, ["/bin/sh", "-c", script], **{"cwd": tmp_path, **changes})

    return request


def journal_of_today() -> Path:
    """Where the shims of this home note."""
    return next(iter(sorted(gaia_home().processes.glob("journal-*"))))
