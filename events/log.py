"""Writing the log: an event is stored in the transaction of the change it tells of.

    log.change(process, EXITED, kind="process.exited", message=...)

    with log.atomic():
        changed = Node.objects.filter(pk=pk, daemon_pid=pid).update(daemon_pid=None)
        log.emit("node.stopped", subject=..., message=...)

Events are held back until the outermost block ends and are then inserted as its last statements. On PostgreSQL
an advisory lock is taken right before, because sequence numbers are handed out before commits are ordered: a
reader that tails by id would otherwise miss events whose transaction commits late. Taken last, it cannot
deadlock with row locks. SQLite has one writer, so ids follow commits by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from asgiref.local import Local
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from common.redaction import mask_url
from events.actor import current_actor
from events.models import Event, Level, Stateful

CHANNEL = "gaia_events"
_ADVISORY_LOCK = 0x47414941  # "GAIA"
_open = Local(thread_critical=True)


@contextmanager
def atomic(*, savepoint: bool = True) -> Iterator[None]:
    """A transaction that may emit events. Nests; an inner block that fails takes its events with it.

    Args:
        savepoint: whether an outer block can go on when this one fails; two statements less without.
    """
    blocks: list[list[Event]] = getattr(_open, "blocks", None) or []
    _open.blocks = blocks
    pending: list[Event] = []
    blocks.append(pending)
    try:
        with transaction.atomic(savepoint=savepoint):
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


def change(
    row: Stateful,
    after: str,
    *,
    kind: str,
    message: str,
    before: Sequence[str] | None = None,
    only: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    level: str = Level.INFO,
    silent: bool = False,
    **data: Any,
) -> bool:
    """Move a row to another state by compare-and-swap, its event in the same transaction (invariants 2 and 3).

    Args:
        after: the new state; the row's TRANSITIONS say which ones it may follow.
        before: only from these of them; default from all.
        only: what else must be true of the stored row, as lookups.
        fields: what else is written.
        kind, message, level, data: the event's, as in `emit`.
        silent: there is no event; for steps of what goes on for ever without news, which one event tells of together.

    Returns: whether the row was moved, and then has the new values; False when somebody was faster.
    Raises: ValueError for a state in `before` that TRANSITIONS do not lead out of to `after`.
    """
    permitted = [state for state, following in row.TRANSITIONS.items() if after in following]
    if before is not None and not set(before) <= set(permitted):
        raise ValueError(f"{row.key}: {', '.join(before)} → {after} is not among its transitions")
    stored = {"pk": row.pk, "state__in": permitted if before is None else before, **(only or {})}
    changes = {"state": after, **(fields or {})}
    # within a transaction that emits events nobody goes on after a single statement that failed
    with atomic(savepoint=not getattr(_open, "blocks", None)):
        changed = _update(type(row), stored, changes)
        if changed and not silent:
            emit(kind, subject=row.key, message=message, level=level, **data)
    for name, value in changes.items() if changed else ():
        setattr(row, name, value)
    return bool(changed)


def _update(model: type[Stateful], stored: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """`filter(**stored).update(**changes)` in a quarter of the time, which the start after a crash waits for.

    Args:
        stored: values of fields, or `FIELD__in`; what is no plain value is left to the ORM.

    Returns: how many rows were changed.
    """
    if not all(map(_is_plain, changes.values())) or not all(
        name.partition("__")[2] in ("", "in") and _is_plain(value) for name, value in stored.items()
    ):
        return model._default_manager.filter(**stored).update(**changes)
    given, sets, where = [], [], []
    for name, value in changes.items():
        field = _field(model, name)
        sets.append(f"{_column(field)} = %s")
        given.append(field.get_db_prep_save(value, connection))
    for name, value in stored.items():
        field, values = _field(model, name.removesuffix("__in")), value if name.endswith("__in") else [value]
        if values == [None]:
            where.append(f"{_column(field)} IS NULL")
            continue
        where.append(f"{_column(field)} IN ({', '.join(['%s'] * len(values)) or 'NULL'})")
        given += [field.get_db_prep_value(each, connection) for each in values]
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        # names are those of the model's own fields, values are parameters
        cursor.execute(f"UPDATE {table} SET {', '.join(sets)} WHERE {' AND '.join(where)}", given)  # noqa: S608
        return int(cursor.rowcount)


def _is_plain(value: Any) -> bool:
    """Neither an expression nor a row."""
    return not hasattr(value, "resolve_expression") and not hasattr(value, "prepare_database_save")


def _field(model: type[Stateful], name: str) -> Any:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)


def _column(field: Any) -> str:
    return connection.ops.quote_name(field.column)


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
