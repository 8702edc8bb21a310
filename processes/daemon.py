"""The node daemon: one asyncio loop per host that owns OS processes and runs the reconcilers.

What runs in it besides processes is wired in `gaia_site.node`. It may be killed at any moment: everything it
knows is in the database, the journals and the locks, and the next one adopts what it finds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from common.errors import Unavailable
from events.actor import acting_as
from events.changes import ChangeSignal
from processes.actions import nodes
from processes.drivers import cgroup
from processes.drivers.liveness import Identity
from processes.drivers.watch import Exit, ExitWatcher
from processes.models import Node
from processes.reconcile import ProcessReconciler
from processes.upkeep import FORESEEN, Keeper

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_HEARTBEAT_S = 5.0
_LONGEST_PAUSE_S = 5.0  # after failures: a database that is back is noticed soon, and the log is not flooded
_ASIDE_THREADS = 64
_SPACING = 4.0  # pause between two looks, in multiples of what one takes
_LONGEST_SPACING_S = 0.2


@dataclass(frozen=True)
class Loop:
    """Work the daemon repeats.

    Args:
        name: for the log.
        every: seconds between two starts.
        work: called in a thread; an exception is logged and the next turn comes all the same.
        on_change: also run when somebody committed.
        due_in: seconds until it is due earlier than that, if it is.
    """

    name: str
    every: float
    work: Callable[[], object]
    on_change: bool = False
    due_in: Callable[[], float | None] = lambda: None


def use_cgroups() -> None:
    """Start everything in a cgroup of its own where one was delegated to GAIA."""
    try:
        found = cgroup.delegated(settings.GAIA["processes.cgroup"])
    except Unavailable as error:
        logger.error("%s. %s %s", error.what, error.meaning, error.fix)
        found = None
    cgroup.use(found)
    if found is not None:
        logger.info("cgroups below %s, with %s", found.root, ", ".join(sorted(found.controllers)) or "no controllers")


class Daemon:
    """Runs until `stop` is called or TERM arrives; leaves every process it started running."""

    def __init__(self, node: Node, loops: Sequence[Loop], keeper: Keeper | None = None) -> None:
        self._node = node
        self._keeper = keeper
        self._loops = loops
        self._stopped = asyncio.Event()
        self._ending = threading.Event()
        self._wakers: list[asyncio.Event] = []
        self._exits: deque[tuple[int, int | None, str]] = deque()
        self._processes_thread = ThreadPoolExecutor(1, thread_name_prefix="processes")
        self._aside = ThreadPoolExecutor(_ASIDE_THREADS, thread_name_prefix="aside")

    async def run(self) -> None:
        """Adopt what is there, then reconcile until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        self._watcher = ExitWatcher()
        self._loop = loop
        use_cgroups()
        self._reconciler = ProcessReconciler(self._node, self._watch, self._do_aside, keeper=self._keeper)
        self._actor = f"node:{self._node.name}"
        await self._work(self._processes_thread, lambda: nodes.daemon_started(self._node, os.getpid()))
        logger.info("node %s: daemon runs as pid %s", self._node.name, os.getpid())
        reconciler = self._reconciler
        tick = Loop("processes", _TICK_S, reconciler.tick, on_change=True, due_in=reconciler.due_in)
        beat = Loop("heartbeat", _HEARTBEAT_S, lambda: nodes.heartbeat(self._node, timezone.now()))
        tasks = [asyncio.create_task(self._repeat(tick, self._processes_thread))]
        pools = [ThreadPoolExecutor(1, thread_name_prefix=each.name) for each in (beat, *self._loops)]
        tasks += [
            asyncio.create_task(self._repeat(each, pool))
            for each, pool in zip((beat, *self._loops), pools, strict=True)
        ]
        threading.Thread(target=self._notice_changes, name="changes", daemon=True).start()
        await self._stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watcher.close()
        await self._work(self._processes_thread, lambda: nodes.daemon_stopped(self._node, os.getpid()))
        self._ending.set()
        for pool in (self._processes_thread, self._aside, *pools):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _repeat(self, each: Loop, pool: ThreadPoolExecutor) -> None:
        wake = asyncio.Event()
        if each.on_change:
            self._wakers.append(wake)
        failures = 0
        while True:
            wake.clear()
            began = time.monotonic()
            if await self._work(pool, each.work, quiet=failures > 0, name=each.name):
                failures = 0
            else:
                failures += 1
                await asyncio.sleep(min(_LONGEST_PAUSE_S, each.every * 2.0 ** min(failures, 10)))
                continue
            pause = min(_LONGEST_SPACING_S, _SPACING * (time.monotonic() - began))
            due = each.due_in()
            left = each.every if due is None else min(each.every, due)
            if not each.on_change:
                await asyncio.sleep(max(pause, left))
                continue
            await asyncio.sleep(pause)  # while others commit all the time, looking takes a fifth of it
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), max(0.0, left - pause))

    async def _work(
        self, pool: ThreadPoolExecutor, work: Callable[[], object], *, quiet: bool = False, name: str = "the daemon"
    ) -> bool:
        guarded = partial(self._guarded, work, quiet=quiet, name=name)
        return await asyncio.get_running_loop().run_in_executor(pool, guarded)

    def _guarded(self, work: Callable[[], object], *, quiet: bool = False, name: str = "the daemon") -> bool:
        """One unit of work: an actor, a usable connection, and no exception that ends the loop.

        Args:
            quiet: say a failure in one line; the traceback is in the log already.

        Returns: False after a failure.
        """
        close_old_connections()
        try:
            with acting_as(self._actor):
                work()
        except Exception as error:
            defect = not isinstance(error, FORESEEN)
            logger.error("%s: %s: %s", name, type(error).__name__, error, exc_info=defect and not quiet)
            return False
        finally:
            close_old_connections()
        return True

    def _watch(self, identity: Identity, process_id: int) -> None:
        """Called in the processes thread: the watcher belongs to the loop's thread."""

        def on_exit(ended: Exit) -> None:
            self._exits.append((process_id, ended.code, ended.source))
            self._submit(self._tell_exits)

        self._loop.call_soon_threadsafe(self._watcher.watch, identity, on_exit)

    def _tell_exits(self) -> None:
        """In the processes thread. Those that ended while it was busy are told of together."""
        told = []
        while self._exits:
            told.append(self._exits.popleft())
        if told:
            self._reconciler.some_ended(told)

    def _do_aside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        def run() -> None:
            result = work()
            self._submit(lambda: then(result))

        self._aside.submit(run)

    def _submit(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the daemon ends: the next one finds out by itself
            self._processes_thread.submit(self._guarded, work)

    def _notice_changes(self) -> None:
        changes = ChangeSignal()
        while not self._ending.is_set():
            if changes.wait(1.0):
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for wake in self._wakers:
            wake.set()
