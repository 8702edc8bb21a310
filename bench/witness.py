"""What can be seen of services and their supervisors from outside, without asking the supervisor.

Each service is a shell script that says its number and pid as the first thing it does, into a pipe that a `Witness`
reads. Its end is seen through a pidfd.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
_SERVICE = """#!/bin/sh
echo "$2 $3 $$" >"$1"
exec sleep 1000000
"""


@dataclass(frozen=True)
class Start:
    """A start that was proved by the service itself: when (monotonic seconds), and its process."""

    at: float
    pid: int
    pidfd: int

    @property
    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def kill(self) -> float:
        """kill -9; when that was, in monotonic seconds."""
        at = time.monotonic()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        return at


class Witness:
    """Hears of every start: services write a line into a named pipe, and its arrival is the moment they run.

    Whatever is still alive at the end of the block is killed.
    """

    def __init__(self, directory: Path) -> None:
        self.pipe = directory / "started"
        self.script = directory / "service.sh"
        self.script.write_text(_SERVICE)
        self.script.chmod(0o755)
        os.mkfifo(self.pipe)
        self._fd = os.open(self.pipe, os.O_RDWR | os.O_CLOEXEC)  # a writer of our own: it never reads an end of file
        self._news = threading.Condition(threading.RLock())
        self._starts: dict[str, list[Start]] = defaultdict(list)

    def command(self, fleet: str, number: int) -> list[str]:
        """What a supervisor has to run."""
        return ["/bin/sh", str(self.script), str(self.pipe), fleet, str(number)]

    def starts(self, fleet: str, number: int) -> list[Start]:
        """All of one service, oldest first."""
        with self._news:
            return list(self._starts[f"{fleet} {number}"])

    def alive(self, fleet: str, number: int) -> list[Start]:
        """Those of a service that still run; more than one are duplicates."""
        return [start for start in self.starts(fleet, number) if start.alive]

    def wait(self, question: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
        """Until the answer is true; asked whenever there was a start. Raises: TimeoutError."""
        with self._news:
            if not self._news.wait_for(question, seconds):
                raise TimeoutError(f"not within {seconds:g} s")

    def started_after(self, fleet: str, number: int, at: float) -> Start | None:
        """The newest start of a service, if it came after a moment. For `wait`, which asks with the lock held."""
        starts = self._starts[f"{fleet} {number}"]
        return starts[-1] if starts and starts[-1].at > at else None

    def __enter__(self) -> Witness:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for starts in self._starts.values():
            for start in starts:
                start.kill()

    def _listen(self) -> None:
        rest = b""
        while True:
            rest += os.read(self._fd, 65536)
            at = time.monotonic()
            *lines, rest = rest.split(b"\n")
            with self._news:
                for line in lines:
                    service, _, pid = line.decode().rpartition(" ")
                    with suppress(ProcessLookupError):  # it was killed within these microseconds
                        self._starts[service].append(Start(at, int(pid), os.pidfd_open(int(pid))))
                self._news.notify_all()


# -- processes


def spawn(argv: Sequence[str | Path], directory: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a supervisor in a session of its own, its output in a file."""
    with (directory / "output").open("ab") as output:
        return subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        )


def retry(ask: Callable[[], Any], errors: tuple[type[Exception], ...], seconds: float = 30.0) -> None:
    """Until it does not raise these any more."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask()
            return
        except errors:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


def wait_for_ends(pidfds: Iterable[int], seconds: float = PATIENCE_S) -> None:
    """Until all of these processes have ended. Raises: TimeoutError."""
    deadline = time.monotonic() + seconds
    left = set(pidfds)
    poll = select.poll()
    for pidfd in left:
        poll.register(pidfd, select.POLLIN)
    while left:
        for pidfd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            poll.unregister(pidfd)
            left.discard(pidfd)
        if left and time.monotonic() >= deadline:
            raise TimeoutError(f"{len(left)} did not end within {seconds:g} s")


def kill_and_wait(pids: Iterable[int]) -> None:
    """kill -9, and wait for the end of each."""
    pidfds = []
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
            signal.pidfd_send_signal(pidfds[-1], signal.SIGKILL)
    wait_for_ends(pidfds)
    for pidfd in pidfds:
        os.close(pidfd)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def children(pid: int) -> list[int]:
    """Pids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def supervised_by(marker: str, parent: int) -> list[int]:
    """runsv processes of a services directory, whose runsvdir may have been killed."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text() == "runsv\n":
                directory = os.readlink(entry / "cwd")
                if directory.startswith(marker) or parent in {int((entry / "stat").read_text().split()[3])}:
                    found.append(int(entry.name))
    return found


def free_port() -> int:
    """A TCP port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, shared pages divided among those who share them (PSS)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def processor_seconds(pids: Iterable[int]) -> float:
    """Processor time that all threads of these processes have used, to the nanosecond."""
    return (
        sum(int(path.read_text().split()[0]) for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        / 1e9
    )
