"""Asking the log: whether a line of this start has what is looked for. Read by offset, so no line is read twice, and
none is missed because the log's head was archived meanwhile.
"""

from __future__ import annotations

import glob
import gzip
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from common.patterns import LinePattern
from services.drivers.probes import Result, bad, good

_PIECE = 262_144
MOST_AT_ONCE = 32 * _PIECE
"""Bytes that one look reads at most, where it may take its time; the next one goes on from there."""
LITTLE_AT_ONCE = _PIECE
"""The same, where others wait for the end of the look."""
_LONGEST_LINE = 16_384  # bytes of a line that are kept until its end arrives


class LogWatch:
    """Looks for a line, from where it left off.

    Args:
        path: the log; it may not be there yet.
        offset: bytes it held before the start that is watched.
        pattern: what a line must have.
        most: bytes that one look reads, about.
    """

    def __init__(self, path: Path, offset: int, pattern: LinePattern, *, most: int = MOST_AT_ONCE) -> None:
        self._path = path
        self._offset = offset
        self._pattern = pattern
        self._most = most
        self._archives: Iterator[bytes] = iter(())  # what is still to be read of an archived head
        self._unfinished = b""
        self._found = ""

    def look(self) -> Result:
        """Read what is new. Once a line was found, it stays found. Blocks for as long as the disk does."""
        if not self._found:
            try:
                self._read_on()
            except FileNotFoundError:
                return bad("there is no log yet")
            except OSError as error:
                return bad(f"the log cannot be read: {error.strerror}")
        if self._found:
            return good(self._found)
        return bad(f"no line has {self._pattern.pattern.pattern!r} yet")

    def _read_on(self) -> None:
        with open(self._path, "rb") as log:
            if os.fstat(log.fileno()).st_size < self._offset:  # somebody made it anew
                self._offset, self._unfinished = 0, b""
            left = self._most
            for piece in self._pieces(log):
                self._search(piece)
                left -= _PIECE
                if self._found or left <= 0:
                    return

    def _pieces(self, log: BinaryIO) -> Iterator[bytes]:
        """What comes after the offset, which goes along. What was archived meanwhile is read in the archives; a look
        that ends within those is gone on with there.
        """
        while True:
            for piece in self._archives:  # not `yield from`, which would close it with the look
                yield piece
            log.seek(self._offset)
            piece = log.read(_PIECE)
            if piece.startswith(b"\0"):
                begin = _begin_of_data(log, self._offset)
                self._archives = _archived(self._path, begin - self._offset)
                self._offset = begin
                continue
            piece = piece.partition(b"\0")[0]  # a head that is being archived now is read there
            if not piece:
                return
            self._offset += len(piece)
            yield piece

    def _search(self, piece: bytes) -> None:
        lines = (self._unfinished + piece).replace(b"\r", b"\n").split(b"\n")
        self._unfinished = lines[-1][:_LONGEST_LINE]
        for line in lines:  # the unfinished one, too: a prompt has no end
            text = line[:_LONGEST_LINE].decode("utf-8", errors="replace")
            if text and self._pattern.is_in(text):
                self._found = text
                return


def _begin_of_data(log: BinaryIO, offset: int) -> int:
    """Where the zeros end that stand for an archived head."""
    with suppress(OSError):  # nothing comes after, or a file system that knows no holes
        offset = os.lseek(log.fileno(), offset, os.SEEK_DATA)
    log.seek(offset)
    while piece := log.read(_PIECE):
        text = piece.lstrip(b"\0")
        offset += len(piece) - len(text)
        if text:
            break
    return offset


def _archived(path: Path, length: int) -> Iterator[bytes]:
    """The last `length` bytes that were archived of a log, as far as they are kept; nothing, in empty pieces, for what
    comes before them: that has to be unpacked, too.
    """
    chosen: list[Path] = []
    for archive in sorted(path.parent.glob(f"{glob.escape(path.name)}.*.gz"), reverse=True):
        if length <= 0:
            break
        chosen.insert(0, archive)
        length -= _unpacked(archive)
    skipped = max(0, -length)
    for archive in chosen:
        with gzip.open(archive, "rb") as packed:
            while piece := packed.read(_PIECE):
                yield piece[skipped:]
                skipped = max(0, skipped - len(piece))


def _unpacked(archive: Path) -> int:
    """Bytes it has when unpacked: the last four of a gzip file (RFC 1952)."""
    with open(archive, "rb") as file:
        file.seek(-4, os.SEEK_END)
        return int(struct.unpack("<I", file.read(4))[0])
