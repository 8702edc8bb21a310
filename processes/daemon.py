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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from django.db import close_old_connections, connections
from django.utils import timezone

from events.actor import acting_as
from events.changes import ChangeSignal
from processes.actions import nodes
from processes.drivers.liveness import Identity
from processes.drivers.watch import ExitWatcher
from processes.models import Node
from processes.reconcile import ProcessReconciler

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_HEARTBEAT_S = 5.0


@dataclass(frozen=True)
class Loop:
    """Work the daemon repeats.

    Args:
        name: for the log.
        every: seconds between two starts.
        work: called in a thread; an exception is logged and the next turn comes all the same.
        on_change: also run when somebody committed.
    """

    name: str
    every: float
    work: Callable[[], None]
    on_change: bool = False


class Daemon:
    """Runs until `stop` is called or TERM arrives; leaves every process it started running."""

    def __init__(self, node: Node, loops: Sequence[Loop]) -> None:
        self._node = node
        self._loops = loops
        self._stopped = asyncio.Event()
        self._ending = threading.Event()
        self._wakers: list[asyncio.Event] = []
        self._processes_thread = ThreadPoolExecutor(1, thread_name_prefix="processes")

    async def run(self) -> None:
        """Adopt what is there, then reconcile until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        self._watcher = ExitWatcher()
        self._reconciler = ProcessReconciler(self._node, partial(self._watch, loop), self._in_thread)
        self._actor = f"node:{self._node.name}"
        await self._work(self._processes_thread, lambda: nodes.daemon_started(self._node, os.getpid()))
        logger.info("node %s: daemon runs as pid %s", self._node.name, os.getpid())
        tick = Loop("processes", _TICK_S, self._reconciler.tick, on_change=True)
        beat = Loop("heartbeat", _HEARTBEAT_S, lambda: nodes.heartbeat(self._node, timezone.now()))
        tasks = [asyncio.create_task(self._repeat(tick, self._processes_thread))]
        pools = [ThreadPoolExecutor(1, thread_name_prefix=each.name) for each in (beat, *self._loops)]
        tasks += [
            asyncio.create_task(self._repeat(each, pool))
            for each, pool in zip((beat, *self._loops), pools, strict=True)
        ]
        changes = threading.Thread(target=self._notice_changes, args=(loop,), name="changes", daemon=True)
        changes.start()
        await self._stopped.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._watcher.close()
        await self._work(self._processes_thread, lambda: nodes.daemon_stopped(self._node, os.getpid()))
        self._ending.set()
        for pool in (self._processes_thread, *pools):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _repeat(self, each: Loop, pool: ThreadPoolExecutor) -> None:
        wake = asyncio.Event()
        if each.on_change:
            self._wakers.append(wake)
        while True:
            wake.clear()
            await self._work(pool, each.work)
            try:
                await asyncio.wait_for(wake.wait(), each.every)
            except TimeoutError:
                continue

    async def _work(self, pool: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, self._guarded, work)

    def _guarded(self, work: Callable[[], None]) -> None:
        """One unit of work: an actor, a usable connection, and no exception that ends the loop."""
        close_old_connections()
        try:
            with acting_as(self._actor):
                work()
        except Exception:
            logger.exception("a unit of work failed; the next turn comes all the same")
        finally:
            close_old_connections()

    def _watch(self, loop: asyncio.AbstractEventLoop, identity: Identity, process_id: int) -> None:
        """Called in the processes thread: the watcher belongs to the loop's thread."""

        def on_exit(code: int | None) -> None:
            loop.run_in_executor(
                self._processes_thread, self._guarded, lambda: self._reconciler.ended(process_id, code)
            )

        loop.call_soon_threadsafe(self._watcher.watch, identity, on_exit)

    def _in_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            self._guarded(work)
            connections.close_all()

        threading.Thread(target=run, name="stop", daemon=True).start()

    def _notice_changes(self, loop: asyncio.AbstractEventLoop) -> None:
        signal_ = ChangeSignal()
        while not self._ending.is_set():
            if signal_.wait(1.0) and not loop.is_closed():
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for wake in self._wakers:
            wake.set()
