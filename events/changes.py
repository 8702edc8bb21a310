"""Noticing that somebody committed events: every change that others have to see at once comes with one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

from django.db import DatabaseError, InterfaceError, connection

from events.drivers.writes import WriteWatch
from events.log import CHANNEL

_NEWEST = "SELECT MAX(id) FROM events_event"
_SQLITE_POLL_S = 0.02
_SETTLED_S = 0.01  # what comes together is noticed together, and whoever commits goes on before the others wake
_PENDING_S = 0.2  # a write shows as a commit a moment later, where the writer is held up some moments
_LATER_S = 0.03


class ChangeSignal:
    """Wakes when another connection has committed events. One per thread: it uses the thread's own connection.

    SQLite: the kernel tells of writes to its log (WAL); whether one was a commit says `PRAGMA data_version`, which is
    read from shared memory. Where the kernel does not tell, it is asked 50 times a second.
    PostgreSQL: LISTEN on the channel that `events.log` notifies; a hint only, callers look anyway on time-out.
    """

    def __init__(self) -> None:
        self._seen: Any = None
        self._newest: int | None = None
        self._writes: WriteWatch | None = None
        self._deaf = False  # the kernel does not tell here
        self._pending_until = 0.0

    def wait(self, timeout: float) -> bool:
        """Block until there are events or the time-out (seconds); True when there are new ones, or may be."""
        try:
            return self._wait_listening(timeout) if connection.vendor == "postgresql" else self._wait_sqlite(timeout)
        except (DatabaseError, InterfaceError):
            # the server restarted or the disk is unwell: begin anew, callers fall back to looking
            self.close()
            time.sleep(min(timeout, 0.5))
            return True

    def close(self) -> None:
        """Give the connection back."""
        self._seen = None
        self._deaf = False
        self._watch_no_more()
        connection.close()

    def _wait_sqlite(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with connection.cursor() as cursor:
            while True:
                cursor.execute("PRAGMA data_version")
                version = cursor.fetchone()[0]
                now = time.monotonic()
                if version != self._seen:
                    first, self._seen = self._seen is None, version
                    self._pending_until = now + _LATER_S
                    cursor.execute(_NEWEST)
                    newest, self._newest = self._newest, cursor.fetchone()[0]
                    if first or newest != self._newest:
                        return True
                if now >= deadline:
                    return False
                self._pause(now, deadline - now)

    def _pause(self, now: float, most: float) -> None:
        """Until it is worth while to ask again."""
        if self._writes is None and not self._deaf:
            self._watch()
            self._pending_until = now + _LATER_S  # what was written just before
        if self._writes is None or now < self._pending_until:
            time.sleep(min(_SQLITE_POLL_S, most))
        elif self._writes.wait(most):
            time.sleep(_SETTLED_S)
        if self._writes is not None and self._writes.wait(0):
            self._pending_until = time.monotonic() + _PENDING_S
            if not self._writes.clear():
                self._watch_no_more()  # and anew, as it may be another file now

    def _watch(self) -> None:
        try:
            self._writes = WriteWatch(Path(f"{connection.settings_dict['NAME']}-wal"))
        except OSError:
            self._deaf = True

    def _watch_no_more(self) -> None:
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    def _wait_listening(self, timeout: float) -> bool:
        connection.ensure_connection()
        raw = cast(Any, connection.connection)  # psycopg.Connection
        with connection.wrap_database_errors:  # psycopg's own errors are none of Django's
            if self._seen is not raw:
                raw.execute(f"LISTEN {CHANNEL}")
                self._seen = raw
                return True
            return any(True for _ in raw.notifies(timeout=timeout, stop_after=1))
