"""The logs of processes: reading the end of one, reading on from where one left off, archiving the head."""

from __future__ import annotations

import codecs
import ctypes
import errno
import gzip
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from common.errors import Conflict, Unavailable

UNFINISHED = ".unfinished"
"""What the name of an archive ends in while it is written."""

_LONGEST_CHARACTER = 4  # bytes in UTF-8
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # fallocate(2)
_COPY_BYTES = 1 << 20
_BLOCK = 4096
_LONGEST_LINE = 1 << 20  # what has no end for so many bytes is cut within the line
_LEVEL = 1  # of compression: a log that floods must not keep a core busy


def tail(path: Path, lines: int, max_bytes: int = 262_144) -> str:
    """The last lines of a file, undecodable bytes replaced; "" when there is none.

    Args:
        lines: how many; an unfinished last line counts.
        max_bytes: read no more than this from the end. A line that begins before that is left out, unless it is all
            there is.
    """
    if lines <= 0:
        return ""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - max_bytes)
            file.seek(max(0, start - 1))
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        return ""
    if start > 0 and not data.startswith(b"\0"):
        partial, newline, whole = data.partition(b"\n")  # begins one byte early: a line that starts at `start` is whole
        data = whole or (partial + newline)[1:].lstrip(_CONTINUATION_BYTES)
    data = data.lstrip(b"\0")  # the hole where an archived head was
    found = data.split(b"\n")  # not splitlines: a progress bar's \r ends no line
    unfinished = found.pop()
    wanted = [line + b"\n" for line in found] + ([unfinished] if unfinished else [])
    return b"".join(wanted[-lines:]).decode("utf-8", errors="replace")


def read_from(path: Path, offset: int, limit: int = 65_536) -> tuple[str, int]:
    """The next piece of a growing file.

    Args:
        offset: bytes read so far, as returned by the last call; 0 at first.
        limit: bytes to read at most (at least one character is).

    Returns: the text and the offset to go on from. A character whose bytes have not all arrived is left for the next
    call. A file that became shorter is read from its start; one that is missing gives ("", 0). Where the head was
    archived meanwhile, what is left is read: whoever lags behind by more than that finds the rest in the archive.
    """
    try:
        with open(path, "rb") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            start = _behind_zeros(file, _behind_hole(file.fileno(), offset))
            file.seek(start)
            data = file.read(max(limit, _LONGEST_CHARACTER))
    except FileNotFoundError:
        return "", 0
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    unfinished, _ = decoder.getstate()
    return text, start + len(data) - len(unfinished)


def read_lines(path: Path, offset: int, limit: int = 65_536) -> tuple[str, int, str]:
    """The next whole lines of a growing file, and the one that has only begun.

    Args:
        offset: bytes read so far, as returned by the last call; within a line, that line is read from its beginning.
        limit: bytes to read at most. A line that is longer comes in pieces.

    Returns: the lines, the offset to go on from, and what there is of a line whose end has not come yet: it is read
    again with the next call. The rest is as for `read_from`.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = _begin_of_line(file, offset if offset <= size else 0, limit)
            start = _behind_zeros(file, _behind_hole(file.fileno(), begin))
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        return "", 0, ""
    cut = data.rfind(b"\n") + 1
    if not cut and len(data) == limit:
        text, after = read_from(path, start, limit)
        return text, after, ""
    rest = data[cut:] if len(data) < limit else b""  # else the next call reads all of it
    return data[:cut].decode("utf-8", errors="replace"), start + cut, rest.decode("utf-8", errors="replace")


def begin_of_end(path: Path, lines: int, limit: int = 1 << 20) -> int:
    """The offset at which the last lines of a file begin; an unfinished one counts.

    Args:
        limit: look back no further than so many bytes.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - limit)
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        return 0
    place = len(data) - data.endswith(b"\n")
    for _ in range(lines):
        place = data.rfind(b"\n", 0, place)
        if place < 0:
            return 0 if start == 0 else start + data.find(b"\n") + 1
    return start + place + 1


def on_disk(path: Path) -> int:
    """The bytes a plain file takes up on its disk; 0 when there is none. Cheaper than `occupied`, and less exact."""
    try:
        facts = os.lstat(path)
    except OSError:
        return 0
    return facts.st_blocks * 512 if stat.S_ISREG(facts.st_mode) else 0


def occupied(path: Path) -> int:
    """The bytes a log holds, without an archived head; 0 when there is none, or something that is no plain file."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return 0
        with open(path, "rb") as log:
            return os.fstat(log.fileno()).st_size - _behind_hole(log.fileno(), 0)
    except FileNotFoundError:
        return 0


def size_of(path: Path) -> int:
    """The length of a log, an archived head included; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def begin_of_data(path: Path) -> int:
    """Where what a log still holds begins: behind the head that was archived, or less than a block before that."""
    try:
        with open(path, "rb") as log:
            return _behind_hole(log.fileno(), 0)
    except OSError:
        return 0


@dataclass(frozen=True)
class Moved:
    """What became of the head of a log: bytes that were archived, and bytes that were given up."""

    archived: int
    dropped: int = 0


def archive_head(path: Path, archive: Path, *, keep: int, most: int | None = None) -> Moved:
    """Move all but the end of a log into an archive while programs go on writing to it; nothing is lost.

    The head is copied and its space given back by punching a hole, so offsets stay valid: the file looks as long as
    before, but takes up no more than what is kept. (Copy and truncate, as logrotate does it, loses what is written in
    between; moving the file away needs every writer to open it anew.)

    Killed in between, the archive has the head and so has the log: then its lines are archived twice, never lost.

    Args:
        archive: a new file, compressed with gzip; made 0600, whole and on disk before anything is removed.
        keep: bytes to leave at the end, at least; the cut is made at the end of a line, within one that is longer
            than 1 MB anywhere.
        most: bytes to archive. Of a longer head the beginning is given up, and its space given back before anything
            else is done: a log that grows faster than it can be compressed must not fill the disk. On a disk that is
            full all of the head is given up.

    Returns: what was moved; nothing when there was nothing to do.
    Raises: Conflict when the archive exists, Unavailable when the file system cannot punch holes or is full.
    """
    # never through a link: a log lies where others may write, and the head of what it names would be gone
    with open(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as log:
        fd = log.fileno()
        start = _behind_hole(fd, 0)
        cut = _end_of_line(log, start, os.fstat(fd).st_size - keep)
        if cut <= start:
            return Moved(0)
        if archive.exists():
            raise Conflict(f"the archive {archive} exists already", fix="Choose another name.")
        unfinished = archive.with_name(f"{archive.name}{UNFINISHED}")
        begin = start
        try:
            if most is not None and cut - begin > most:
                start = max(begin, _end_of_line(log, begin, cut - most))
                _punch_hole(fd, start)
            try:
                _copy(log, _behind_zeros(log, start), cut, unfinished)
                os.rename(unfinished, archive)
                _sync(archive.parent)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                start = cut  # what would fill the disk for good is worth less than all else that is on it
                unfinished.unlink(missing_ok=True)
                archive.unlink(missing_ok=True)
            _punch_hole(fd, cut)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            archive.unlink(missing_ok=True)
            raise Unavailable(
                f"{path} cannot be archived: {error.strerror}",
                meaning="The log is whole and goes on growing.",
                fix="Put GAIA's home on ext4, XFS, Btrfs or tmpfs.",
            ) from error
    return Moved(cut - start, start - begin)


def _behind_hole(fd: int, offset: int) -> int:
    """`offset`, or where the data begins if there is a hole."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError:  # at the end, or a file system that knows no holes
        return offset


def _behind_zeros(log: BinaryIO, offset: int) -> int:
    """`offset`, or the end of the zeros there: a hole ends at a block, the archived head within it."""
    log.seek(offset)
    while piece := log.read(_BLOCK):
        text = piece.lstrip(b"\0")
        offset += len(piece) - len(text)
        if text:
            break
    return offset


def _begin_of_line(log: BinaryIO, offset: int, limit: int) -> int:
    """Where the line begins that `offset` lies in; `offset` itself when that is further back than `limit`."""
    begin = max(0, offset - limit)
    log.seek(begin)
    newline = log.read(offset - begin).rfind(b"\n")
    return begin + newline + 1 if newline >= 0 else 0 if offset < limit else offset


def _end_of_line(log: BinaryIO, start: int, limit: int) -> int:
    """Where to cut: the end of the last line that ends at `limit` or before it; `start` when there is nothing."""
    if limit <= start:
        return start
    begin = max(start, limit - _LONGEST_LINE)
    log.seek(begin)
    newline = log.read(limit - begin).rfind(b"\n")
    if newline >= 0:
        return begin + newline + 1
    return limit if begin > start else start


def _copy(log: BinaryIO, start: int, cut: int, archive: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(archive, flags, 0o600), "wb") as target:
        with gzip.open(target, "wb", compresslevel=_LEVEL) as compressed:
            log.seek(start)
            while start < cut:
                piece = log.read(min(_COPY_BYTES, cut - start))
                start += len(piece)
                compressed.write(piece)
        target.flush()
        os.fsync(target.fileno())


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _punch_hole(fd: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "fallocate"):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if libc.fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, 0, length) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
