"""Being told at once when a process ends: pidfd in asyncio, kqueue on macOS, polling where there is neither."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from processes.drivers import kqueue
from processes.drivers.exits import exit_of
from processes.drivers.liveness import Identity, alive, boot_id, start_ticks

_POLL_INTERVAL = 0.05  # seconds


@dataclass(frozen=True)
class Exit:
    """How a process ended.

    Args:
        code: its exit code, negative for a signal (as subprocess has it); None when only the journal may know.
        source: `wait` for a child of ours, `pidfd` when the kernel told it of somebody else's child, else `unknown`.
    """

    code: int | None
    source: Literal["wait", "pidfd", "unknown"]


OnExit = Callable[[Exit], None]


@dataclass
class _Watch:
    identity: Identity
    on_exit: OnExit
    pidfd: int | None = None
    timer: asyncio.Handle | None = None


class ExitWatcher:
    """Calls back once for each watched process that ends. Use it from the loop's own thread.

    Args:
        loop: the event loop; the running one when left out.
        use_pidfd, use_kqueue: False does without. With neither, or when no descriptor is left, it looks every 50 ms.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *, use_pidfd: bool = True, use_kqueue: bool = True
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._use_kqueue = use_kqueue and not self._use_pidfd and kqueue.available()
        self._queue: kqueue.ExitQueue | None = None
        self._watches: dict[int, _Watch] = {}

    def watch(self, identity: Identity, on_exit: OnExit) -> None:
        """Call `on_exit` from the loop when the process has ended, soon if it already has.

        A child of ours is reaped. Of a process that was adopted, or that somebody else reaped, the kernel is asked
        how it ended; where that is not known either, look into the journal.
        Watching a process again replaces its callback.
        """
        known = self._watches.get(identity.pid)
        if known is not None and known.identity == identity:
            known.on_exit = on_exit
            return
        if known is not None:  # its pid is another's now, so it has ended and the loop has not got round to saying so
            self._ended(known)
        watch = _Watch(identity, on_exit)
        self._watches[identity.pid] = watch
        if not _in_table(identity):
            watch.timer = self._loop.call_soon(self._ended, watch)
        elif not (self._use_pidfd and self._open_pidfd(watch)) and not (self._use_kqueue and self._enqueue(watch)):
            watch.timer = self._loop.call_soon(self._poll, watch)

    def close(self) -> None:
        """Forget all processes."""
        for watch in list(self._watches.values()):
            self._forget(watch)
        if self._queue is not None:
            self._loop.remove_reader(self._queue.fileno())
            self._queue.close()
            self._queue = None

    def _open_pidfd(self, watch: _Watch) -> bool:
        """True when the loop will hear of the end through a pidfd, or has been told that it is over."""
        try:
            pidfd = os.pidfd_open(watch.identity.pid)
        except ProcessLookupError:
            watch.timer = self._loop.call_soon(self._ended, watch)
            return True
        except OSError:  # a kernel without, or no descriptor left
            return False
        watch.pidfd = pidfd
        if _in_table(watch.identity):  # again: the pid may have changed hands before pidfd_open
            self._loop.add_reader(pidfd, self._ended, watch)
        else:
            os.close(pidfd)
            watch.pidfd = None
            watch.timer = self._loop.call_soon(self._ended, watch)
        return True

    def _enqueue(self, watch: _Watch) -> bool:
        """True when the loop will hear of the end through the queue, or has been told that it is over."""
        try:
            if self._queue is None:
                self._queue = kqueue.ExitQueue()
                self._loop.add_reader(self._queue.fileno(), self._some_ended)
            self._queue.add(watch.identity.pid)
        except ProcessLookupError:
            watch.timer = self._loop.call_soon(self._ended, watch)
            return True
        except OSError:  # no descriptor left
            return False
        if not _in_table(watch.identity):  # again: the pid may have changed hands before it was added
            watch.timer = self._loop.call_soon(self._ended, watch)
        return True

    def _some_ended(self) -> None:
        for pid in self._queue.ended() if self._queue is not None else ():
            watch = self._watches.get(pid)
            if watch is not None and not alive(watch.identity):  # else another's who had the pid before
                self._ended(watch)

    def _poll(self, watch: _Watch) -> None:
        if alive(watch.identity):
            watch.timer = self._loop.call_later(_POLL_INTERVAL, self._poll, watch)
        else:
            self._ended(watch)

    def _ended(self, watch: _Watch) -> None:
        ended = _exit(watch)
        self._forget(watch)  # first: a readable pidfd would spin, and on_exit may watch the next start
        watch.on_exit(ended)

    def _forget(self, watch: _Watch) -> None:
        if self._watches.get(watch.identity.pid) is watch:
            del self._watches[watch.identity.pid]
        if watch.timer is not None:
            watch.timer.cancel()
        if watch.pidfd is not None:
            self._loop.remove_reader(watch.pidfd)
            os.close(watch.pidfd)
            watch.pidfd = None


def _in_table(identity: Identity) -> bool:
    """True while the process, or its zombie, has the pid."""
    return identity.boot_id == boot_id() and start_ticks(identity.pid) == identity.start_ticks


def _exit(watch: _Watch) -> Exit:
    code = _reap(watch)
    if code is not None:
        return Exit(code, "wait")
    code = exit_of(watch.identity, watch.pidfd)
    return Exit(code, "pidfd") if code is not None else Exit(None, "unknown")


def _reap(watch: _Watch) -> int | None:
    """The exit code if it is a child of ours that nobody has reaped yet, else None."""
    try:
        if watch.pidfd is not None:
            result = os.waitid(os.P_PIDFD, watch.pidfd, os.WEXITED | os.WNOHANG)
            if result is None:
                return None
            return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        if _in_table(watch.identity):  # else the pid may be that of another child
            pid, status = os.waitpid(watch.identity.pid, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if pid else None
    except ChildProcessError:
        pass
    return None
