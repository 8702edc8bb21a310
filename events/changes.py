"""Noticing that somebody committed, without asking the tables."""

from __future__ import annotations

import time
from typing import Any, cast

from django.db import DatabaseError, InterfaceError, connection

from events.log import CHANNEL

_SQLITE_POLL_S = 0.02


class ChangeSignal:
    """Wakes when another connection has committed. One per thread: it uses the thread's own connection.

    SQLite: `PRAGMA data_version` is read from shared memory (microseconds), so it is polled 50 times a second.
    PostgreSQL: LISTEN on the channel that `events.log` notifies; a hint only, callers look anyway on time-out.
    """

    def __init__(self) -> None:
        self._seen: Any = None

    def wait(self, timeout: float) -> bool:
        """Block until a commit or the time-out (seconds); True when there was a commit, or may have been."""
        try:
            return self._wait_listening(timeout) if connection.vendor == "postgresql" else self._wait_polling(timeout)
        except (DatabaseError, InterfaceError):
            # the server restarted or the disk is unwell: begin anew, callers fall back to looking
            self.close()
            time.sleep(min(timeout, 0.5))
            return True

    def close(self) -> None:
        """Give the connection back."""
        self._seen = None
        connection.close()

    def _wait_polling(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with connection.cursor() as cursor:
            while True:
                cursor.execute("PRAGMA data_version")
                version = cursor.fetchone()[0]
                if version != self._seen:
                    self._seen = version
                    return True
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_SQLITE_POLL_S)

    def _wait_listening(self, timeout: float) -> bool:
        connection.ensure_connection()
        raw = cast(Any, connection.connection)  # psycopg.Connection
        with connection.wrap_database_errors:  # psycopg's own errors are none of Django's
            if self._seen is not raw:
                raw.execute(f"LISTEN {CHANNEL}")
                self._seen = raw
                return True
            return any(True for _ in raw.notifies(timeout=timeout, stop_after=1))
