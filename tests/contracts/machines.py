"""The ways to deal with processes that there are, on this system: each keeps the same contract.

`pidfd`: Linux. `kqueue`: macOS and the BSDs. `polling`: anywhere. The process table is that of the system.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from processes.drivers.liveness import Identity
from processes.drivers.watch import Exit, ExitWatcher

MACHINES = [
    *(["pidfd"] if hasattr(os, "pidfd_open") else []),
    *(["kqueue"] if hasattr(select, "kqueue") else []),
    "polling",
]


@contextmanager
def machine(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This system, with no more than that way."""
    with monkeypatch.context() as patch:
        if name != "pidfd":
            patch.delattr(os, "pidfd_open", raising=False)
        if name == "polling":
            patch.delattr(select, "kqueue", raising=False)
        yield name


class Watching:
    """The daemon's loop in a thread of its own, as `processes.daemon` has it: tells of each end once."""

    def __init__(self) -> None:
        self.told: dict[int, list[Exit]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(60)

    def watch(self, identity: Identity) -> Callable[[], list[Exit]]:
        """Watch it; what was told of it so far is what the answer returns."""
        told = self.told.setdefault(identity.pid, [])
        self._loop.call_soon_threadsafe(self._watcher.watch, identity, told.append)
        return lambda: told

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._watcher.close()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._watcher = ExitWatcher(self._loop)
        self._ready.set()
        self._loop.run_forever()
