"""The exit journal: what the shims noted about begin and end of their commands, and stop.sh about being called.

One line per note, `S TOKEN PID` and `E TOKEN CODE` by a shim and `T TOKEN PID` by a script that is about to end what
was started, each appended by a single write. A crash or a full disk can leave a piece of a line behind, and the next
note then continues on it: the reader takes the note at the end of such a line and drops the piece.

There is no compaction. A shim opens the journal anew for each note, so one that is between open and write when the
file is renamed or rewritten would note into a file nobody reads. Begin a new journal instead (each `Spec` names its
own) and delete an old one when no process that was started with it is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast

_NOTE = re.compile(rb"([SET]) ([A-Za-z0-9._:@/+=-]{1,128}) (\d{1,10})$")
_LAST = 256  # bytes by which a journal is known again: more than one note, and no two notes are the same


@dataclass(frozen=True)
class Entry:
    """One note: `S` with the shim's pid, `E` with the exit code, or `T` when somebody asked for the end.

    A code over 128 is ambiguous: the shell reports a command killed by signal n as 128 + n, and a command may exit
    with that number by itself.
    """

    kind: Literal["S", "E", "T"]
    token: str
    number: int


@dataclass(frozen=True)
class Record:
    """What is known of one attempt: `pid` None if its start was not noted, `code` None if its end was not.

    stop_asked: a person ended it with its script.
    """

    token: str
    pid: int | None
    code: int | None
    stop_asked: bool = False


def read(path: Path) -> list[Entry]:
    """All complete notes in order; an unfinished last line and lines that are none are left out; missing file: none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return _entries(data[: data.rfind(b"\n") + 1])


def records(path: Path) -> dict[str, Record]:
    """The latest state of each attempt, in the order in which they first appear."""
    return gather(read(path))


class Journal:
    """A journal that is asked again and again: only what was noted since is read.

    Not for several threads at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._last = b""
        self._found: dict[str, Record] = {}

    def record(self, token: str) -> Record | None:
        """The latest state of an attempt; None when nothing was noted of it."""
        try:
            with open(self._path, "rb") as file:
                if not self._is_same(file):
                    self._forget()
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            self._forget()
            return None
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            self._offset += len(whole)
            self._last = (self._last + whole)[-_LAST:]
            gather(_entries(whole), self._found)
        return self._found.get(token)

    def _is_same(self, file: BinaryIO) -> bool:
        """Whether it ends, as far as it was read, as it did: another one may have come in its place, and its inode."""
        file.seek(self._offset - len(self._last))
        last: bytes = file.read(len(self._last))
        return last == self._last

    def _forget(self) -> None:
        self._offset, self._last, self._found = 0, b"", {}


def gather(entries: Iterable[Entry], known: dict[str, Record] | None = None) -> dict[str, Record]:
    """Notes brought together per attempt. A second `S` of a token means that it runs again.

    Args:
        known: what earlier notes said; it is brought up to date.
    """
    found = {} if known is None else known
    for entry in entries:
        if entry.kind == "S":
            found[entry.token] = Record(entry.token, pid=entry.number, code=None)
            continue
        record = found.get(entry.token, Record(entry.token, pid=None, code=None))
        asked = entry.kind == "T"
        found[entry.token] = replace(record, stop_asked=True) if asked else replace(record, code=entry.number)
    return found


def _entries(data: bytes) -> list[Entry]:
    entries = []
    for line in data.split(b"\n"):
        match = _NOTE.search(line)
        if match is not None:
            kind = cast(Literal["S", "E", "T"], match[1].decode("ascii"))
            entries.append(Entry(kind, match[2].decode("ascii"), int(match[3])))
    return entries
