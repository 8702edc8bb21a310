"""Writing the log: an event is stored in the transaction of the change it tells of.

    with log.atomic():
        changed = Process.objects.filter(pk=pk, state=RUNNING).update(state=EXITED)
        log.emit("process.exited", subject=..., message=...)

Events are held back until the outermost block ends and are then inserted as its last statements. On PostgreSQL
an advisory lock is taken right before, because sequence numbers are handed out before commits are ordered: a
reader that tails by id would otherwise miss events whose transaction commits late. Taken last, it cannot
deadlock with row locks. SQLite has one writer, so ids follow commits by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.local import Local
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from common.redaction import mask_url
from events.actor import current_actor
from events.models import Event, Level

CHANNEL = "gaia_events"
_ADVISORY_LOCK = 0x47414941  # "GAIA"
_open = Local(thread_critical=True)


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction that may emit events. Nests; an inner block that fails takes its events with it."""
    blocks: list[list[Event]] = getattr(_open, "blocks", None) or []
    _open.blocks = blocks
    pending: list[Event] = []
    blocks.append(pending)
    try:
        with transaction.atomic():
            yield
            if len(blocks) == 1:
                _insert(pending)
    except BaseException:
        blocks.pop()
        raise
    blocks.pop()
    if blocks:
        blocks[-1].extend(pending)


def start_over() -> None:
    """Forget the transaction in progress, if any, and its connection: the next query opens a new one.

    For who was interrupted by a signal, which may come in the middle of a statement or of a commit: what the
    connection can still do is unknown then. What was not committed is lost.
    """
    connection.close()
    del connections[DEFAULT_DB_ALIAS]
    _open.blocks = []


def emit(kind: str, *, subject: str, message: str, level: str = Level.INFO, **data: Any) -> None:
    """Record that something happened, in the running `atomic()` block.

    Args:
        kind: noun.verb, such as "session.started".
        subject: key of what it happened to, such as "session/dev1_worker".
        message: one sentence for people.
        level: info, warning or error.
        data: JSON-ready facts.

    Raises: RuntimeError outside of `log.atomic()`; NoActor when nobody is acting.
    """
    blocks = getattr(_open, "blocks", None)
    if not blocks:
        raise RuntimeError(
            f"emit({kind!r}) outside of events.log.atomic(): the change and its event must commit together"
        )
    blocks[-1].append(
        Event(
            kind=kind,
            subject=subject,
            message=mask_url(message),
            level=level,
            data=_masked(data),
            actor=current_actor(),
        )
    )


def _masked(value: Any) -> Any:
    """The same data with credentials in URLs masked, at any depth."""
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    return [_masked(each) for each in value] if isinstance(value, list | tuple) else value


def _insert(events: list[Event]) -> None:
    if not events:
        return
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            Event.objects.bulk_create(events)
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    else:
        Event.objects.bulk_create(events)
