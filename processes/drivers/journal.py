"""The exit journal: what the shims noted about begin and end of their commands.

One line per note, `S TOKEN PID` and `E TOKEN CODE`, each appended by a single write of a shim. A crash or a full disk
can leave a piece of a line behind, and the next note then continues on it: the reader takes the note at the end of
such a line and drops the piece.

There is no compaction. A shim opens the journal anew for each note, so one that is between open and write when the
file is renamed or rewritten would note into a file nobody reads. Begin a new journal instead (each `Spec` names its
own) and delete an old one when no process that was started with it is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

_NOTE = re.compile(rb"([SE]) ([A-Za-z0-9._:@/+=-]{1,128}) (\d{1,10})$")


@dataclass(frozen=True)
class Entry:
    """One note: `S` with the shim's pid, or `E` with the exit code.

    A code over 128 is ambiguous: the shell reports a command killed by signal n as 128 + n, and a command may exit
    with that number by itself.
    """

    kind: Literal["S", "E"]
    token: str
    number: int


@dataclass(frozen=True)
class Record:
    """What is known of one attempt: `pid` None if its start was not noted, `code` None if its end was not."""

    token: str
    pid: int | None
    code: int | None


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


def gather(entries: Iterable[Entry]) -> dict[str, Record]:
    """Notes brought together per attempt. A second `S` of a token means that it runs again."""
    found: dict[str, Record] = {}
    for entry in entries:
        if entry.kind == "S":
            found[entry.token] = Record(entry.token, pid=entry.number, code=None)
        else:
            known = found.get(entry.token)
            found[entry.token] = Record(entry.token, pid=known.pid if known else None, code=entry.number)
    return found


class Journal:
    """Reads a journal piece by piece, each note once.

    Survives that the file does not exist yet, is truncated (read again from the start), or is replaced by another
    (the rest of the old one is read first).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0

    def poll(self) -> list[Entry]:
        """The notes completed since the last call."""
        entries: list[Entry] = []
        if self._file is not None:
            entries += self._advance(self._file)
            if not self._replaced(self._file):
                return entries
            entries += self._advance(self._file)  # noted between the read and the replacement
            self.close()
        try:
            self._file = open(self._path, "rb")  # noqa: SIM115  (stays open until the file is replaced)
        except FileNotFoundError:
            return entries
        return entries + self._advance(self._file)

    def close(self) -> None:
        """Let go of the file; the next `poll` reads from the start."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._offset = 0

    def _advance(self, file: BinaryIO) -> list[Entry]:
        if os.fstat(file.fileno()).st_size < self._offset:
            self._offset = 0
        file.seek(self._offset)
        data = file.read()
        complete = data.rfind(b"\n") + 1
        self._offset += complete
        return _entries(data[:complete])

    def _replaced(self, file: BinaryIO) -> bool:
        try:
            return not os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False  # moved away; whoever did that has not put a new one there yet


def _entries(data: bytes) -> list[Entry]:
    entries = []
    for line in data.split(b"\n"):
        match = _NOTE.search(line)
        if match is not None:
            kind = cast(Literal["S", "E"], match[1].decode("ascii"))
            entries.append(Entry(kind, match[2].decode("ascii"), int(match[3])))
    return entries
