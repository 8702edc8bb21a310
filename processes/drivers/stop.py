"""Stopping a process with everything it started, and making sure that nothing of it is left.

The order is that of EXECUTION: TERM to the group, time to end in peace, KILL to every member but the shim, which then
notes the end and exits; then sweeps until two in a row find nobody. Every signal to a single process goes through a
pidfd whose identity was checked, so none ever reaches a stranger who got the pid.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from processes.drivers import cgroup
from processes.drivers.liveness import Census, Identity, alive, boot_id
from processes.drivers.table import Row, table

Progress = Callable[[str], None]

_SHIM_PATIENCE = 2.0  # seconds for the shim to note the end once nobody else is left
_KILL_PATIENCE = 5.0  # seconds of killing before those who remain are called survivors
_RESCAN = 0.25  # seconds after which the process table is read again though nothing was reported
_RESCAN_SOON = 0.01  # seconds, while the shim is just starting or ending its command
_PASSES_SPARING_SHIM = 10  # then the whole group is killed at once: that outruns whoever forks faster than we kill


@dataclass(frozen=True)
class StopReport:
    """How a stop went.

    Args:
        ended: nothing of the process is left.
        killed: pids that had to be killed.
        survivors: pids that are still there (of another user, or stuck in the kernel).
    """

    ended: bool
    killed: tuple[int, ...]
    survivors: tuple[int, ...]


def stop(identity: Identity, *, token: str, grace: float, on_progress: Progress | None = None) -> StopReport:
    """Stop a process and all its descendants; blocks until that is done.

    Args:
        identity: the shim (it may be dead already: what it left behind is stopped).
        token: the attempt's token.
        grace: seconds between TERM and KILL.
        on_progress: gets a sentence for people whenever something happens.
    """
    steps = stopping(identity, token=token, grace=grace, on_progress=on_progress)
    rows: list[Row] | None = None
    while True:
        try:
            request = steps.send(rows)
        except StopIteration as done:
            report: StopReport = done.value
            return report
        rows = None
        if isinstance(request, Look):
            rows = Census(request.since).members(request.session, request.token, since=request.since)
        else:
            wait_until_ended(request.targets, request.seconds)


@dataclass(frozen=True)
class Look:
    """A stop wants to know the members of its attempt as they are from now on."""

    session: int
    token: str
    since: int


@dataclass(frozen=True)
class Wait:
    """A stop wants to go on when these have ended (a zombie has), or when the seconds are over."""

    targets: tuple[Identity, ...]
    seconds: float


Steps = Generator[Look | Wait, list[Row] | None, StopReport]


def stopping(identity: Identity, *, token: str, grace: float, on_progress: Progress | None = None) -> Steps:
    """`stop` in steps, for who does many at a time: it asks for looks and waits, and returns the report."""
    return _Stop(identity, token, on_progress or _silent).run(grace)


def with_group(rows: list[Row], group: Path | None) -> list[Row]:
    """These, and who lives in the cgroup besides them: nobody leaves it by a session or an environment of his own."""
    known = {row.pid for row in rows}
    others = [table().row(pid) for pid in cgroup.pids(group) if pid not in known] if group is not None else []
    return [*rows, *(row for row in others if row is not None and not row.dead)]


class _Stop:
    def __init__(self, shim: Identity, token: str, say: Progress) -> None:
        self._shim = shim
        self._token = token
        self._say = say
        self._group = cgroup.group_of(token)
        self._killed: dict[int, None] = {}
        self._empty_looks = 0  # in a row; one proves nothing, for who forks during the look may not be seen

    def run(self, grace: float) -> Steps:
        if self._shim.boot_id != boot_id():  # the machine was started again since: all of it is gone
            return StopReport(ended=True, killed=(), survivors=())
        yield from self._ask(time.monotonic() + grace)
        deadline = time.monotonic() + _KILL_PATIENCE
        if (yield from self._kill_members(deadline)):
            yield from self._end_shim()
        survivors = yield from self._sweep(deadline + _SHIM_PATIENCE)
        return StopReport(ended=not survivors, killed=tuple(self._killed), survivors=tuple(survivors))

    def _members(self) -> Generator[Look | Wait, list[Row] | None, list[Row]]:
        """Live members without the shim and without ourselves."""
        rows = with_group((yield Look(self._shim.pid, self._token, self._shim.start_ticks)) or [], self._group)
        members = [row for row in rows if Identity.of(row) != self._shim and row.pid != os.getpid()]
        self._empty_looks = 0 if members or alive(self._shim) else self._empty_looks + 1
        return members

    # -- asking

    def _ask(self, deadline: float) -> Generator[Look | Wait, list[Row] | None, None]:
        """TERM the group and wait until nobody is left; TERM once whoever that did not reach."""
        members = yield from self._members()
        asked = self._ask_group([row for row in members if row.group == self._shim.pid and self._runs_program(row)])
        if members or alive(self._shim):
            self._say(f"asked {len(members)} process{'es' if len(members) != 1 else ''} to end")
        shim_deadline = math.inf
        while members or alive(self._shim):
            pending = self._ask_the_rest(members, asked)
            if members:
                shim_deadline = math.inf
            elif shim_deadline == math.inf:  # alone, the shim is about to start its command, or about to exit
                shim_deadline = time.monotonic() + _SHIM_PATIENCE
            left = min(deadline, shim_deadline) - time.monotonic()
            if left <= 0:
                return
            watched = [self._shim] if alive(self._shim) else [Identity.of(row) for row in members]
            yield Wait(tuple(watched), min(left, _RESCAN_SOON if pending or not members else _RESCAN))
            members = yield from self._members()

    def _ask_group(self, members: list[Row]) -> set[Identity]:
        """TERM the shim's group, in one go if the shim still stands for it. Returns who has been asked by that."""
        if alive(self._shim):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._shim.pid, signal.SIGTERM)
                os.killpg(self._shim.pid, signal.SIGCONT)  # a stopped process gets no TERM
        else:
            for row in members:
                _ask(Identity.of(row))
        return {Identity.of(row) for row in members}

    def _ask_the_rest(self, members: list[Row], asked: set[Identity]) -> bool:
        """TERM the command itself if it came up only after the group was asked, or is in a group of its own; and
        what it left behind in other groups, once it has gone: until then that is its own business.

        Returns: True when the command is just starting and cannot be asked yet.
        """
        group_gone = not any(row.group == self._shim.pid for row in members)
        starting = False
        for row in members:
            if Identity.of(row) in asked:
                continue
            if not self._runs_program(row):
                starting = True
            elif row.parent == self._shim.pid or group_gone:
                asked.add(Identity.of(row))
                _ask(Identity.of(row))
        return starting

    def _runs_program(self, row: Row) -> bool:
        """False for the moment between the shim's fork and exec, when the shim's handlers still swallow a TERM."""
        return row.parent != self._shim.pid or table().command_line(row.pid) != table().command_line(self._shim.pid)

    # -- killing

    def _kill_members(self, deadline: float) -> Generator[Look | Wait, list[Row] | None, bool]:
        """KILL everybody but the shim; True when nobody is left before the time is up."""
        passes = 0
        while members := (yield from self._members()):
            if time.monotonic() >= deadline:
                return False
            if passes == 0:
                self._say(f"killing {len(members)} that did not end: {', '.join(str(row.pid) for row in members)}")
                if self._group is not None:  # all of it at once; who is not in it follows
                    cgroup.kill(self._group)
            if passes >= _PASSES_SPARING_SHIM:
                self._kill_group([row.pid for row in members if row.group == self._shim.pid])
            yield self._kill(Identity.of(row) for row in members)
            passes += 1
        return True

    def _kill(self, targets: Iterable[Identity]) -> Wait:
        targets = tuple(targets)
        self._killed.update((target.pid, None) for target in targets if send_signal(target, signal.SIGKILL))
        return Wait(targets, _RESCAN)

    def _kill_group(self, pids: list[int]) -> None:
        """KILL the whole group in one go; its number cannot be another's while one of ours is in it."""
        if not pids:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._shim.pid, signal.SIGKILL)
            self._killed.update((pid, None) for pid in (*pids, self._shim.pid))

    def _end_shim(self) -> Generator[Look | Wait, list[Row] | None, None]:
        """Let the shim note how its command ended; a shim that does not exit is killed."""
        send_signal(self._shim, signal.SIGCONT)
        yield Wait((self._shim,), _SHIM_PATIENCE)
        if alive(self._shim):
            self._say("the shim did not exit and is killed")
            yield self._kill([self._shim])

    def _sweep(self, deadline: float) -> Generator[Look | Wait, list[Row] | None, list[int]]:
        """Kill who came up meanwhile, until two looks in a row find nobody. Returns the pids that remain.

        While somebody of it survives, so does the shim: it has the lock, and a second start is not to be.
        """
        while self._empty_looks < 2:
            left = [Identity.of(row) for row in (yield from self._members())]
            shim = [self._shim] if alive(self._shim) else []
            if (left or shim) and time.monotonic() >= deadline:
                pids = sorted(one.pid for one in left + shim)
                self._say(f"still there: {', '.join(map(str, pids))}")
                return pids
            if left or shim:
                yield self._kill(left or shim)
        return []


def _ask(target: Identity) -> None:
    send_signal(target, signal.SIGTERM)
    send_signal(target, signal.SIGCONT)  # a stopped process gets no TERM


def send_signal(target: Identity, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it has ended or is not ours to signal."""
    if not hasattr(os, "pidfd_open"):
        return _send_by_pid(target, number)
    try:
        pidfd = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel without pidfds, or no descriptor left
        return _send_by_pid(target, number)
    try:
        if not alive(target):  # checked with the pidfd open: from here on it cannot mean another process
            return False
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(pidfd)
    return True


def _send_by_pid(target: Identity, number: signal.Signals) -> bool:
    try:
        if not alive(target):
            return False
        os.kill(target.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def wait_until_ended(targets: Iterable[Identity], seconds: float) -> None:
    """Return when all of these have ended (a zombie has), or when the time is up."""
    deadline = time.monotonic() + seconds
    waiting = [target for target in targets if alive(target)]
    with ExitStack() as stack:
        pidfds = _open_all(waiting, stack)
        if pidfds is None:
            while any(alive(target) for target in waiting) and time.monotonic() < deadline:
                time.sleep(0.01)
            return
        poll = select.poll()
        for pidfd in pidfds:
            poll.register(pidfd, select.POLLIN)
        left = len(pidfds)
        while left and (remaining := deadline - time.monotonic()) > 0:
            for pidfd, _ in poll.poll(remaining * 1000):
                poll.unregister(pidfd)
                left -= 1


def _open_all(targets: list[Identity], stack: ExitStack) -> list[int] | None:
    """A pidfd for each that still lives, closed by the stack; None where that does not work."""
    pidfds = []
    for target in targets:
        try:
            pidfd = os.pidfd_open(target.pid)
        except ProcessLookupError:
            continue
        except (AttributeError, OSError):
            return None
        stack.callback(os.close, pidfd)
        if alive(target):
            pidfds.append(pidfd)
    return pidfds


def _silent(_: str) -> None:
    """Nobody listens to the progress."""
