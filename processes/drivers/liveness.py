"""Is that process still the one we started? Identity, and who belongs to an attempt.

A pid alone says nothing: it is reused. Boot, pid and start time together name one process for good.
A zombie has ended and is dead here.
"""

from __future__ import annotations

import enum
import functools
import os
import re
from dataclasses import dataclass
from typing import ClassVar

from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.table import Row, table

_LISTINGS = 5  # at most: a machine that forks all the time must not keep us for ever
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PREFIX = TOKEN_VARIABLE.encode() + b"="
_LOOKS_LIKE_ENVIRON = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*=")


class _Unread(enum.Enum):
    """An environment that nobody has asked for yet."""

    UNREAD = enum.auto()


_UNREAD = _Unread.UNREAD
_Tokens = frozenset[bytes] | None | _Unread


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
    return Census(since).members(session_id, token, since=since)


class Census:
    """One pass over the process table, for all who want to know the members of an attempt.

    Args:
        since: start time in ticks; who is older is not looked into.
    """

    def __init__(self, since: int = 0) -> None:
        found = _look(since)
        self._rows = {row.pid: row for row, _ in found}
        self._tokens = {row.pid: tokens for row, tokens in found}
        self._bearers: dict[bytes, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        for pid, row in self._rows.items():
            for token in self._tokens[pid] or ():
                self._bearers.setdefault(token, []).append(pid)
            self._sessions.setdefault(row.session, []).append(pid)
            self._children.setdefault(row.parent, []).append(pid)

    def members(self, session_id: int, token: str, *, since: int = 0) -> list[Row]:
        """As `member_rows`."""
        mark = token.encode()
        young = [pid for pid in self._sessions.get(session_id, ()) if self._rows[pid].start_ticks >= since]
        session = young if session_id > 0 else []
        mine = {pid for pid in self._bearers.get(mark, ()) if self._rows[pid].start_ticks >= since}
        foreign = any(tokens is not None and mark not in tokens for tokens in map(self._tokens.__getitem__, session))
        if not mine.isdisjoint(session) or not foreign:
            mine.update(pid for pid in session if not self._is_others(pid, mark))
        found = sorted(self._with_descendants(mine, mark, since))
        rows = [table().row(pid) for pid in found]  # as they are now: what was remembered may have changed, or ended
        return [
            row
            for pid, row in zip(found, rows, strict=True)
            if row is not None and not row.dead and row.start_ticks == self._rows[pid].start_ticks
        ]

    def _is_others(self, pid: int, mark: bytes) -> bool:
        tokens = self._tokens[pid]
        return tokens is not None and len(tokens) > 0 and mark not in tokens

    def _with_descendants(self, mine: set[int], mark: bytes, since: int) -> set[int]:
        known = set(mine)
        queue = list(mine)
        while queue:
            parent = queue.pop()
            born = max(since, self._rows[parent].start_ticks)  # no child of whoever had the number before
            for child in self._children.get(parent, ()):
                if child not in known and self._rows[child].start_ticks >= born and not self._is_others(child, mark):
                    known.add(child)
                    queue.append(child)
        return known


def tokens_of(pid: int) -> frozenset[bytes] | None:
    """The attempts that an environment names; None when it cannot be read, or has been overwritten."""
    environ = table().environment(pid)
    if environ is None:
        return None
    named = [entry[len(_PREFIX) :] for entry in environ.split(b"\0") if entry.startswith(_PREFIX)]
    return frozenset(named) if named or _LOOKS_LIKE_ENVIRON.match(environ) else None


class _Memory:
    """What the last look saw of processes that were settled then, by pid and the number of their directory in /proc.

    The number is another one for the next process with that pid, and a listing tells it for nothing; so who is known is
    not read again. Settled: a second old, so that what it was forked for has been executed and its environment is its
    own. Its state, parent and session may be others by now: whoever is found is looked at once more.
    """

    rows: ClassVar[dict[tuple[int, int], tuple[Row, _Tokens]]] = {}


def _look(since: int) -> list[tuple[Row, frozenset[bytes] | None]]:
    """Who was started then or later, and is no zombie, with the attempts that he names.

    The table is listed again for those who were forked while it was read, until nobody was, or nobody is new.
    """
    remembered, kept = _Memory.rows, dict[tuple[int, int], tuple[Row, _Tokens]]()
    settled = table().now_ticks() - _TICKS_PER_S
    found: list[tuple[Row, frozenset[bytes] | None]] = []
    seen: set[int] = set()
    for _ in range(_LISTINGS):
        newest = table().newest_pid()
        fresh = [entry for entry in table().entries() if entry[0] not in seen]
        if not fresh:
            break
        seen.update(pid for pid, _ in fresh)
        for entry in fresh:
            row, tokens = remembered.get(entry) or (table().row(entry[0]), _UNREAD)
            if row is None or row.dead:
                continue
            if row.start_ticks >= since:
                tokens = tokens_of(row.pid) if isinstance(tokens, _Unread) else tokens
                found.append((row, tokens))
            if entry[1] and row.start_ticks < settled:
                kept[entry] = (row, tokens)
        if newest is not None and newest == table().newest_pid():
            break
    _Memory.rows = kept
    return found
