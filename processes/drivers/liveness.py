"""Is that process still the one we started? Identity, locks, and who belongs to an attempt.

A pid alone says nothing: it is reused. Boot, pid and start time together name one process for good.
A zombie has ended and is dead here.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes.drivers.shim import TOKEN_VARIABLE

_DEAD_STATES = frozenset("ZXx")
_FIELDS = 20  # of /proc/PID/stat after the name, as far as we read them
_LOOKS_LIKE_ENVIRON = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Identity:
    """One process, never confused with another: boot of the machine, pid, start time in clock ticks since boot."""

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Row:
    """What the process table says of one process."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    threads: int
    start_ticks: int

    @property
    def dead(self) -> bool:
        """A zombie; but not one whose main thread has ended while others go on."""
        return self.state in _DEAD_STATES and self.threads <= 1

    @property
    def identity(self) -> Identity:
        return Identity(boot_id=boot_id(), pid=self.pid, start_ticks=self.start_ticks)


@functools.cache
def boot_id() -> str:
    """A name for this boot of the machine: pids and start times mean nothing across a reboot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def row(pid: int) -> Row | None:
    """The process table's entry, zombies included; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name in parentheses may itself contain spaces and parentheses: fields count from the last one.
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < _FIELDS:
        return None
    return Row(
        pid=pid,
        state=fields[0].decode("ascii"),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
    )


def start_ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot, of zombies too; None when there is no such process."""
    found = row(pid)
    return None if found is None else found.start_ticks


def identify(pid: int) -> Identity | None:
    """Who has this pid now; None when nobody has, or a zombie."""
    found = row(pid)
    return None if found is None or found.dead else found.identity


def alive(identity: Identity) -> bool:
    """True while exactly that process runs: not a later one with the same pid, not a zombie."""
    return identity.boot_id == boot_id() and identify(identity.pid) == identity


def lock_held(path: Path) -> bool:
    """True while somebody holds the file's exclusive flock; a missing file is held by nobody.

    The probe asks for a shared lock through a description of its own: it never takes a holder's lock away, and
    probes do not disturb one another. (/proc/locks would not touch the lock at all, but hides locks in a container
    once the process that made them is gone.)
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


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
    return [found.identity for found in member_rows(session_id, token)]


def member_rows(session_id: int, token: str, *, since: int = 0) -> list[Row]:
    """`members` with what the process table says of each.

    Args:
        since: start time of the shim in ticks, if known: who is older is no member and need not be looked into.
    """
    rows = {found.pid: found for found in _rows() if found.start_ticks >= since and not found.dead}
    marks = {pid: _mark(pid, token) for pid in rows}
    session = [pid for pid, found in rows.items() if session_id > 0 and found.session == session_id]
    mine = {pid for pid, mark in marks.items() if mark is _OURS}
    if not mine.isdisjoint(session) or not any(marks[pid] in (_OTHER, _NONE) for pid in session):
        mine.update(pid for pid in session if marks[pid] is not _OTHER)
    return [rows[pid] for pid in sorted(_with_descendants(mine, rows, marks))]


_OURS, _OTHER, _NONE, _UNKNOWN = "ours", "other", "none", "unknown"


def _mark(pid: int, token: str) -> str:
    """Whose attempt the environment names: ours, another's, none, or unknown when it cannot be told."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:  # ended meanwhile, or of another user
        return _UNKNOWN
    prefix = TOKEN_VARIABLE.encode() + b"="
    named = {entry[len(prefix) :] for entry in environ.split(b"\0") if entry.startswith(prefix)}
    if token.encode() in named:
        return _OURS
    if named:
        return _OTHER
    return _NONE if _LOOKS_LIKE_ENVIRON.match(environ) else _UNKNOWN


def _with_descendants(mine: set[int], rows: dict[int, Row], marks: dict[int, str]) -> set[int]:
    children: dict[int, list[int]] = {}
    for found in rows.values():
        children.setdefault(found.parent, []).append(found.pid)
    known = set(mine)
    queue = list(mine)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in known and marks[child] is not _OTHER:
                known.add(child)
                queue.append(child)
    return known


def _rows() -> Iterator[Row]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = row(int(name))
            if found is not None:
                yield found
