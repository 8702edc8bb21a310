"""Notifications of a control client for one reader that may be slow: a bounded queue that says what it had to drop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from sessions.drivers.control_parser import Notification, Output

ITEMS = 10_000
BYTES = 8_000_000


class Lost(NamedTuple):
    """So many notifications were dropped here: whoever needs them has to look anew."""

    dropped: int


class Ended(NamedTuple):
    """The client has ended; nothing comes after this."""

    reason: str


class Notifications:
    """A listener for a `ControlClient`, to be iterated over in the same event loop; the end of the client ends it.

    Args:
        items: notifications that wait.
        size: bytes of pane output that wait.
    """

    def __init__(self, *, items: int = ITEMS, size: int = BYTES) -> None:
        self._items = items
        self._size = size
        self._waiting: deque[Notification | Lost] = deque()
        self._bytes = 0
        self._ended = False
        self._news = asyncio.Event()

    def __call__(self, item: Notification | Ended) -> None:
        if isinstance(item, Ended):
            self._ended = True
        else:
            size = len(item.data) if isinstance(item, Output) else 0
            if len(self._waiting) >= self._items or self._bytes + size > self._size:
                self._drop()
            else:
                self._waiting.append(item)
                self._bytes += size
        self._news.set()

    def _drop(self) -> None:
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Lost):
            self._waiting[-1] = Lost(last.dropped + 1)
        else:
            self._waiting.append(Lost(1))

    async def __aiter__(self) -> AsyncIterator[Notification | Lost]:
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                if isinstance(item, Output):
                    self._bytes -= len(item.data)
                yield item
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
