"""Is that process still the one we started? Identity, and who belongs to an attempt.

A pid alone says nothing: it is reused. Boot, pid and start time together name one process for good.
A zombie has ended and is dead here.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.table import Row, table

_LISTINGS = 5  # at most: a machine that forks all the time must not keep us for ever
_LOOKS_LIKE_ENVIRON = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Identity:
    """One process, never confused with another: boot of the machine, pid, start time in clock ticks since boot."""

    boot_id: str
    pid: int
    start_ticks: int

    @classmethod
    def of(cls, row: Row) -> Identity:
        """The identity of an entry of the process table."""
        return cls(boot_id=boot_id(), pid=row.pid, start_ticks=row.start_ticks)


@functools.cache
def boot_id() -> str:
    """A name for this boot of the machine: pids and start times mean nothing across a reboot."""
    return table().boot_id()


def start_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot, of zombies too; None when there is no such process."""
    row = table().row(pid)
    return None if row is None else row.start_ticks


def identify(pid: int) -> Identity | None:
    """Who has this pid now; None when nobody has, or a zombie."""
    row = table().row(pid)
    return None if row is None or row.dead else Identity.of(row)


def alive(identity: Identity) -> bool:
    """True while exactly that process runs: not a later one with the same pid, not a zombie."""
    return identity.boot_id == boot_id() and identify(identity.pid) == identity


def members(session_id: int, token: str) -> list[Identity]:
    """Every live process of an attempt, found in one pass over the process table.

    A process belongs to it when it carries the attempt's token in its environment; or when it is in the session or
    descends from a member, unless it carries another attempt's token. The session counts only if it is really the
    attempt's: session numbers are pids and come again once everybody in them has ended. It is foreign if
    nobody in it carries the token and somebody has an environment without it; a program that overwrote its
    environment (setproctitle) or whose environment is not readable proves nothing.

    Args:
        session_id: pid of the shim; 0 for "look at tokens only".
        token: the attempt's token.

    Returns: identities in order of pid; the shim is among them while it lives.
    """
    return [Identity.of(row) for row in member_rows(session_id, token)]


def member_rows(session_id: int, token: str, *, since: int = 0) -> list[Row]:
    """`members` with what the process table says of each.

    Args:
        since: start time of the shim in ticks, if known: who is older is no member and need not be looked into.
    """
    rows = {row.pid: row for row in _rows() if row.start_ticks >= since and not row.dead}
    marks = {pid: _mark(pid, token) for pid in rows}
    session = [pid for pid, row in rows.items() if session_id > 0 and row.session == session_id]
    mine = {pid for pid, mark in marks.items() if mark is _Mark.OURS}
    if not mine.isdisjoint(session) or not any(marks[pid] in (_Mark.OTHER, _Mark.NONE) for pid in session):
        mine.update(pid for pid in session if marks[pid] is not _Mark.OTHER)
    return [rows[pid] for pid in sorted(_with_descendants(mine, rows, marks))]


class _Mark(enum.Enum):
    """Whose attempt an environment names."""

    OURS = enum.auto()
    OTHER = enum.auto()
    NONE = enum.auto()
    UNKNOWN = enum.auto()  # it cannot be read, or has been overwritten


def _mark(pid: int, token: str) -> _Mark:
    environ = table().environment(pid)
    if environ is None:
        return _Mark.UNKNOWN
    prefix = TOKEN_VARIABLE.encode() + b"="
    named = {entry[len(prefix) :] for entry in environ.split(b"\0") if entry.startswith(prefix)}
    if token.encode() in named:
        return _Mark.OURS
    if named:
        return _Mark.OTHER
    return _Mark.NONE if _LOOKS_LIKE_ENVIRON.match(environ) else _Mark.UNKNOWN


def _rows() -> Iterator[Row]:
    """The whole table. It is listed again for those who were forked while it was read, until nobody is new."""
    seen: set[int] = set()
    for _ in range(_LISTINGS):
        fresh = [pid for pid in table().pids() if pid not in seen]
        if not fresh:
            return
        seen.update(fresh)
        for pid in fresh:
            row = table().row(pid)
            if row is not None:
                yield row


def _with_descendants(mine: set[int], rows: dict[int, Row], marks: dict[int, _Mark]) -> set[int]:
    children: dict[int, list[int]] = {}
    for row in rows.values():
        children.setdefault(row.parent, []).append(row.pid)
    known = set(mine)
    queue = list(mine)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in known and marks[child] is not _Mark.OTHER:
                known.add(child)
                queue.append(child)
    return known
