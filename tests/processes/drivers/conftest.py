"""A place to run real processes in, and the promise that none of them outlives its test."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from processes.drivers import journal
from processes.drivers.spawn import Spawned, Spec, spawn
from tests import waiting

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def until() -> Until:
    """Ask again until the answer is true, and return it."""
    return waiting.until


class Place:
    """A directory with a journal and a log, where processes are started under tokens of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "journal"
        self.log = root / "log"
        self.tokens: list[str] = []
        self.pids: list[int] = []
        self.noted: set[psutil.Process] = set()

    def token(self) -> str:
        """A token no other test has; whoever carries it is killed in the end."""
        token = f"test-{secrets.token_hex(8)}"
        self.tokens.append(token)
        return token

    def spec(self, *argv: str, token: str | None = None, **changes: Any) -> Spec:
        token = token or self.token()
        fields: dict[str, Any] = {
            "argv": argv,
            "cwd": self.root,
            "env": {"PATH": os.environ["PATH"]},
            "log": self.log,
            "lock": self.root / f"{token}.lock",
            "journal": self.journal,
            "token": token,
        }
        return Spec(**{**fields, **changes})

    def start(self, spec: Spec) -> Spawned:
        spawned = spawn(spec)
        self.pids.append(spawned.pid)
        return spawned

    def sh(self, script: str, *, words: tuple[str, ...] = (), **changes: Any) -> tuple[Spec, Spawned]:
        """Start a shell script, which may say `touch up` when it is where the test wants it; `words` are $0, $1, …"""
        spec = self.spec("/bin/sh", "-c", script, *words, **changes)
        return spec, self.start(spec)

    def exists(self, name: str) -> bool:
        return (self.root / name).exists()

    def pid_in(self, name: str) -> int:
        """The pid a script wrote into a file with `echo $$ >name`, 0 as long as it has not; killed in the end."""
        with suppress(FileNotFoundError):
            text = (self.root / name).read_text()
            if text.endswith("\n"):
                with suppress(psutil.NoSuchProcess):
                    self.noted.add(psutil.Process(int(text)))
                return int(text)
        return 0

    def code(self, token: str) -> int | None:
        """The exit code noted in the journal."""
        record = journal.records(self.journal).get(token)
        return record.code if record else None

    def kill_all(self) -> None:
        """Kill and reap whatever is left; found by other means than those that are tested."""
        marks = {f"GAIA_ATTEMPT_TOKEN={token}".encode() for token in self.tokens}
        for _ in range(20):
            found = [process for process in psutil.process_iter() if self._is_ours(process.pid, marks)]
            found += [process for process in self.noted if process.is_running() and process not in found]
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
            self.noted.clear()
            if not found:
                break
            time.sleep(0.02)
        for pid in self.pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _is_ours(self, pid: int, marks: set[bytes]) -> bool:
        with suppress(OSError, psutil.NoSuchProcess):  # it ends meanwhile
            if os.getsid(pid) in self.pids and pid in psutil.pids():
                return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
            return not marks.isdisjoint(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        return False


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    here.kill_all()


@pytest.fixture
def reaped() -> Callable[[int], int]:
    """Wait for a child and give its exit code, negative for a signal."""
    return lambda pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def kill() -> Callable[[int], None]:
    return lambda pid: os.kill(pid, signal.SIGKILL)
