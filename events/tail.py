"""Following the log live: one tail per process, a ring of the newest events, a cursor per client.

    async for batch in follow(after=1200, kinds=("session.",)):
        ...

The tail is a thread with a connection of its own. It waits for commits (`events.changes`), reads what is new in the
order of ids, which is the order of commits, keeps it in the ring and wakes the followers. A follower whose cursor is
older than the ring reads pages from the database until it has caught up; nothing is ever pushed at a client, so a
slow one holds nobody back and can lose nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from operator import or_
from typing import Any

from django.conf import settings
from django.db.models import Max, Q

from events.changes import ChangeSignal
from events.models import Event
from events.reading import read

RING = 5_000  # events kept in memory
PAGE = 500  # events in one batch
HEARTBEAT_S = 15.0
_LOOK_S = 1.0  # the longest the tail trusts that nobody committed
_RETRY_S = 1.0

logger = logging.getLogger(__name__)


class Batch(list[dict[str, Any]]):
    """Events in the order of ids, and where the reader stands after them.

    after: every event up to this id that was asked for has been handed out.
    reset: the cursor belonged to another database; the stream goes on from now.
    """

    def __init__(self, events: Iterable[dict[str, Any]] = (), *, after: int, reset: bool = False) -> None:
        super().__init__(events)
        self.after = after
        self.reset = reset


def newest_id() -> int:
    """The id of the newest event, 0 while there is none."""
    return Event.objects.aggregate(newest=Max("id"))["newest"] or 0


async def follow(
    after: int | None, *, kinds: Sequence[str] = (), subjects: Sequence[str] = ()
) -> AsyncGenerator[Batch]:
    """Everything that happens after an event, in order, without end.

    Args:
        after: id of the last event the client has; None means from now.
        kinds: prefixes, of which an event's kind must have one; none means all.
        subjects: likewise for its subject.

    Returns: batches of at most 500. The first comes at once, is empty and tells the cursor (and whether it was
    reset, because it lies beyond the newest event); later empty ones are heartbeats after 15 s of silence.
    Raises: DatabaseError when pages cannot be read; the client comes again with its cursor.
    """
    tail = the_tail()
    newest = await read(newest_id)
    reset = after is not None and after > newest
    cursor = newest if after is None or reset else after
    yield Batch(after=cursor, reset=reset)
    heartbeat = getattr(settings, "GAIA_STREAM_HEARTBEAT_S", HEARTBEAT_S)
    clock = asyncio.get_running_loop().time
    with tail.waker() as wake:
        quiet_since = clock()
        while True:
            wake.clear()
            tail.ensure_running()
            events, upto = tail.newer(cursor)
            if events is None:
                events = await read(_page, cursor, upto, tuple(kinds), tuple(subjects))
                upto = events[-1]["id"] if len(events) == PAGE else upto
            wanted = [event for event in events if _wanted(event, tuple(kinds), tuple(subjects))]
            moved, cursor = upto > cursor, max(cursor, upto)
            if wanted or clock() - quiet_since >= heartbeat:
                yield Batch(wanted, after=cursor)
                quiet_since = clock()
            elif not moved:
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), quiet_since + heartbeat - clock())


class Tail:
    """The newest events of the log in memory, kept up to date by a thread."""

    def __init__(self, ring: int = RING) -> None:
        self._lock = threading.Lock()
        self._ring: deque[dict[str, Any]] = deque(maxlen=ring)
        self._floor: int | None = None  # the ring holds every event after this one ...
        self._head: int | None = None  # ... up to this one; both None until the database was read once
        self._wakers: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def ensure_running(self) -> None:
        """Start the thread, the first time and whenever it has died; it goes on where the old one stood."""
        with self._lock:
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="gaia-events-tail", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and give its connection back."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    @contextmanager
    def waker(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set whenever there is news."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wakers.setdefault(loop, set()).add(wake)
        try:
            yield wake
        finally:
            with self._lock:
                self._wakers[loop].discard(wake)
                if not self._wakers[loop]:
                    del self._wakers[loop]

    def newer(self, cursor: int) -> tuple[list[dict[str, Any]] | None, int]:
        """The next events after the cursor, at most 500, and the id up to which that is everything.

        None instead of events: they are older than the ring, read the database up to that id.
        """
        with self._lock:
            if self._head is None or self._floor is None or cursor >= self._head:
                return [], cursor
            if cursor < self._floor:
                return None, self._head
            events: list[dict[str, Any]] = []
            for event in reversed(self._ring):
                if event["id"] <= cursor:
                    break
                events.append(event)
            events.reverse()
            return events[:PAGE], self._head if len(events) <= PAGE else events[PAGE - 1]["id"]

    def _run(self) -> None:
        signal = ChangeSignal()
        try:
            while not self._stopping.is_set():
                try:
                    self._catch_up()
                    signal.wait(_LOOK_S)
                except Exception:
                    logger.exception("the tail of the event log stumbled; it goes on with a new connection")
                    signal.close()
                    self._stopping.wait(_RETRY_S)
        finally:
            signal.close()
            with self._lock:
                self._thread = None
            self._wake()  # whoever wakes starts the next thread

    def _catch_up(self) -> None:
        if self._head is None:
            newest = newest_id()
            with self._lock:
                self._floor = self._head = newest
            self._wake()
        while True:
            rows = Event.objects.filter(id__gt=self._head).order_by("id")[:PAGE]
            events = [event.as_dict() for event in rows]
            if not events:
                return
            self._publish(events)

    def _publish(self, events: list[dict[str, Any]]) -> None:
        with self._lock:
            for event in events:
                if len(self._ring) == self._ring.maxlen:
                    self._floor = self._ring[0]["id"]
                self._ring.append(event)
            self._head = events[-1]["id"]
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            waiting = [(loop, tuple(wakers)) for loop, wakers in self._wakers.items()]
        for loop, wakers in waiting:
            with suppress(RuntimeError):  # the loop was closed with its followers in it
                loop.call_soon_threadsafe(_set_all, wakers)


def _set_all(wakers: tuple[asyncio.Event, ...]) -> None:
    for wake in wakers:
        wake.set()


def _wanted(event: dict[str, Any], kinds: tuple[str, ...], subjects: tuple[str, ...]) -> bool:
    return (not kinds or event["kind"].startswith(kinds)) and (not subjects or event["subject"].startswith(subjects))


def _page(after: int, upto: int, kinds: tuple[str, ...], subjects: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = Event.objects.filter(id__gt=after, id__lte=upto).order_by("id")
    for name, prefixes in (("kind__startswith", kinds), ("subject__startswith", subjects)):
        if prefixes:
            rows = rows.filter(reduce(or_, (Q((name, prefix)) for prefix in prefixes)))
    return [event.as_dict() for event in rows[:PAGE]]


_the_tail: Tail | None = None
_making = threading.Lock()


def the_tail() -> Tail:
    """This process's tail, made on first use."""
    global _the_tail
    with _making:
        if _the_tail is None:
            _the_tail = Tail()
        _the_tail.ensure_running()
        return _the_tail


def _forget_after_fork() -> None:
    # the thread stayed in the parent, and its locks may have been held
    global _the_tail, _making
    _the_tail, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)
