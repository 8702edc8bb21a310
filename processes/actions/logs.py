"""The logs of processes and operations, for whoever shows them."""

from __future__ import annotations

from pathlib import Path

from processes.drivers import logs


def read_end(path: Path, lines: int) -> str:
    """The last lines of a log; "" when there is none."""
    return logs.tail(path, lines)


def read_on(path: Path, offset: int = 0) -> tuple[str, int]:
    """The next piece of a log that may still grow.

    Args:
        offset: bytes read so far, as returned by the last call; 0 at first.

    Returns: the text, and the offset to go on from.
    """
    return logs.read_from(path, offset)


def read_all(path: Path) -> str:
    """All that a log holds now; "" when there is none. What was archived is not in it."""
    parts: list[str] = []
    offset = 0
    while True:
        text, after = logs.read_from(path, offset)
        if after == offset:
            return "".join(parts)
        parts.append(text)
        offset = after
