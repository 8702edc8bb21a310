"""Reading the logs of processes: the end of one, or from where one left off."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

_LONGEST_CHARACTER = 4  # bytes in UTF-8


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
    if start > 0:
        before, newline, after = data.partition(b"\n")  # begins one byte early: a line that starts at `start` is whole
        data = after if newline and after else before[1:].lstrip(bytes(range(0x80, 0xC0)))
    data = data.lstrip(b"\0")  # the hole where an archived head was
    wanted = data.splitlines(keepends=True)[-lines:]
    return b"".join(wanted).decode("utf-8", errors="replace")


def read_from(path: Path, offset: int, limit: int = 65_536) -> tuple[str, int]:
    """The next piece of a growing file.

    Args:
        offset: bytes read so far, as returned by the last call; 0 at first.
        limit: bytes to read at most (at least one character is).

    Returns: the text and the offset to go on from. A character whose bytes have not all arrived is left for the next
    call. A file that became shorter is read from its start; one that is missing gives ("", 0).
    """
    try:
        with open(path, "rb") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            data = file.read(max(limit, _LONGEST_CHARACTER))
    except FileNotFoundError:
        return "", 0
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    unfinished, _ = decoder.getstate()
    return text, offset + len(data) - len(unfinished)
