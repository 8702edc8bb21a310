"""Being told of exits where there is no pidfd but kqueue(2): macOS and the BSDs."""

from __future__ import annotations

import select
from typing import Any

_AT_ONCE = 64
_kqueue: Any = select  # typed by hand: what of it exists depends on the system


def available() -> bool:
    """Whether this system has it."""
    return hasattr(select, "kqueue")


class ExitQueue:
    """A descriptor that becomes readable when a watched process ends."""

    def __init__(self) -> None:
        self._queue = _kqueue.kqueue()

    def fileno(self) -> int:
        return int(self._queue.fileno())

    def add(self, pid: int) -> None:
        """Tell of its end. Raises: ProcessLookupError when there is no such process."""
        flags = _kqueue.KQ_EV_ADD | _kqueue.KQ_EV_ONESHOT
        end = _kqueue.kevent(pid, filter=_kqueue.KQ_FILTER_PROC, flags=flags, fflags=_kqueue.KQ_NOTE_EXIT)
        self._queue.control([end], 0, 0)

    def ended(self) -> list[int]:
        """The pids that have ended since the last call; does not wait."""
        return [int(event.ident) for event in self._queue.control(None, _AT_ONCE, 0)]

    def close(self) -> None:
        self._queue.close()
