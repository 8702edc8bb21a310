"""Many stops at the same time, in one thread: one look at the process table serves all who want one.

The stops themselves are those of `processes.drivers.stop`, step by step, with all their guarantees. A thread for each
would have each of them read the whole table several times over, and contend for the interpreter.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from processes.drivers.liveness import Census, Identity, alive
from processes.drivers.stop import Look, Progress, Steps, StopReport, Wait, stopping
from processes.drivers.table import Row

_LOOK_S = 0.01  # between two looks at those for whom there is no descriptor
_GATHER_S = 0.002  # who ends so soon after another is looked for in the same pass
_LONGEST_GATHERING_S = 0.02
_EARLY_S = 0.05

Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Running(Generic[Key]):
    key: Key
    steps: Steps
    deadline: float = 0.0
    pidfds: set[int] = field(default_factory=set)
    unseen: list[Identity] = field(default_factory=list)  # without a descriptor
    look: Look | None = None


class Stops(Generic[Key]):
    """Stops under way. `add` may be called from any thread, `run` from one at a time."""

    def __init__(self) -> None:
        self._added: deque[_Running[Key]] = deque()
        self._running: dict[Key, _Running[Key]] = {}
        self._finished: list[tuple[Key, StopReport | Exception]] = []
        self._by_pidfd: dict[int, _Running[Key]] = {}
        self._poll = select.poll()
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._mouth, False)
        self._poll.register(self._ear, select.POLLIN)

    def add(
        self, key: Key, identity: Identity, *, token: str, grace: float, on_progress: Progress | None = None
    ) -> None:
        """Begin a stop, as `stop.stop` does it; `run` carries it out.

        Args:
            key: what its report comes with; one at a time of each.
        """
        self._added.append(_Running(key, stopping(identity, token=token, grace=grace, on_progress=on_progress)))
        with suppress(BlockingIOError):  # it is awake then
            os.write(self._mouth, b"\0")

    @property
    def pending(self) -> bool:
        """Whether there is anything for `run` to do."""
        return bool(self._added or self._running or self._finished)

    def run(self) -> list[tuple[Key, StopReport | Exception]]:
        """Go on with all of them until at least one is over. Returns: those that are, by their keys.

        A stop that fails gives its exception and hinders no other.
        """
        while not self._finished:
            self._take_added()
            if not self._running:
                break
            if any(one.look is not None for one in self._running.values()):
                self._gather()
                self._look([one for one in self._running.values() if one.look is not None])
            else:
                self._wait(self._patience())
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Give the descriptors back; the stops are left as they are."""
        for one in self._running.values():
            self._release(one)
        os.close(self._ear)
        os.close(self._mouth)

    def _take_added(self) -> None:
        while self._added:
            one = self._added.popleft()
            self._running[one.key] = one
            self._step(one, None)

    def _step(self, one: _Running[Key], rows: list[Row] | None) -> None:
        """Let one go on, and note what it waits for now."""
        self._release(one)
        try:
            request = one.steps.send(rows)
        except StopIteration as done:
            self._end(one, done.value)
        except Exception as error:
            self._end(one, error)
        else:
            if isinstance(request, Look):
                one.look = request
            else:
                self._await(one, request)

    def _end(self, one: _Running[Key], result: StopReport | Exception) -> None:
        del self._running[one.key]
        self._finished.append((one.key, result))

    # -- looking

    def _gather(self) -> None:
        """Give those who end at the same time a moment, so that they are looked for together."""
        deadline = time.monotonic() + _LONGEST_GATHERING_S
        while self._by_pidfd and time.monotonic() < deadline and self._wait(_GATHER_S):
            pass

    def _look(self, lookers: list[_Running[Key]]) -> None:
        census = Census(min(one.look.since for one in lookers if one.look is not None))
        for one in lookers:
            look, one.look = one.look, None
            if look is not None:
                self._step(one, census.members(look.session, look.token, since=look.since))

    # -- waiting

    def _await(self, one: _Running[Key], wait: Wait) -> None:
        one.deadline = time.monotonic() + wait.seconds
        for target in wait.targets:
            pidfd = _open(target)
            if pidfd is not None:
                one.pidfds.add(pidfd)
                self._by_pidfd[pidfd] = one
                self._poll.register(pidfd, select.POLLIN)
            elif alive(target):
                one.unseen.append(target)

    def _release(self, one: _Running[Key]) -> None:
        for pidfd in one.pidfds:
            self._forget(pidfd)
        one.pidfds.clear()
        one.unseen.clear()

    def _forget(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        del self._by_pidfd[pidfd]
        os.close(pidfd)

    def _patience(self) -> float:
        """Seconds until somebody has to be looked after though nobody ended."""
        waiting = [one for one in self._running.values() if one.look is None]
        if any(one.unseen for one in waiting):
            return _LOOK_S
        if any(not one.pidfds for one in waiting):
            return 0.0
        return max(0.0, min(one.deadline for one in waiting) - time.monotonic())

    def _wait(self, seconds: float) -> bool:
        """Wait, and let those go on for whom it is over. Whether there was one."""
        for fd, _ in self._poll.poll(seconds * 1000):
            if fd == self._ear:
                with suppress(BlockingIOError):
                    os.read(self._ear, 4096)
                self._take_added()
            elif fd in self._by_pidfd:
                self._by_pidfd[fd].pidfds.discard(fd)
                self._forget(fd)
        waiting = [one for one in self._running.values() if one.look is None]
        for one in waiting:
            one.unseen = [target for target in one.unseen if alive(target)]
        now = time.monotonic()
        if any(now >= one.deadline for one in waiting):
            now += _EARLY_S  # one look for all who want another one soon
        over = [one for one in waiting if (not one.pidfds and not one.unseen) or now >= one.deadline]
        for one in over:
            self._step(one, None)
        return bool(over)


def _open(target: Identity) -> int | None:
    """A pidfd of exactly this process while it lives; None when it has ended, or there are none to be had."""
    try:
        pidfd = os.pidfd_open(target.pid)
    except (AttributeError, OSError):
        return None
    if alive(target):
        return pidfd
    os.close(pidfd)
    return None
