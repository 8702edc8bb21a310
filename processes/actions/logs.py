"""The logs of processes and operations: for whoever shows them, and kept from growing for ever."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from common.redaction import mask_values
from processes.drivers import logs
from processes.drivers.logs import Moved
from processes.models import Operation

_END_BYTES = 1 << 21
_MOST = 2  # times the limit: what is compressed at a time, and
_AT_LEAST = 20_000_000  # bytes, which take a fraction of a second
_OF_OPERATION = re.compile(r"operation-(\d+)\.log(?:\..*)?")
_secrets_of: list[Callable[[str], Iterable[str]]] = []


def hide(secrets_of: Callable[[str], Iterable[str]]) -> None:
    """Have values masked in what `shown` gives. Rooms above know them.

    Args:
        secrets_of: gives them by an owner's key.
    """
    _secrets_of.append(secrets_of)


def shown(owner: str, text: str) -> str:
    """What processes of an owner have written, as everybody may see it."""
    return mask_values(text, [value for secrets_of in _secrets_of for value in secrets_of(owner)])


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


def read_lines(path: Path, offset: int) -> tuple[str, int, str]:
    """The next whole lines of a log that may still grow.

    Args:
        offset: bytes read so far, as returned by the last call; within a line, that line is read from its beginning.

    Returns: the lines, the offset to go on from, and what there is of a line whose end has not come yet.
    """
    return logs.read_lines(path, offset)


def read_end_lines(path: Path, lines: int) -> tuple[str, int, str]:
    """The last lines of a log, at most 1 MB of them; what is returned is as for `read_lines`."""
    return logs.read_lines(path, logs.begin_of_end(path, lines), _END_BYTES)


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


def trim(path: Path, now: datetime, *, limit: int, archives: int) -> Moved:
    """Archive the older half of a log that has become too long, while programs go on writing to it.

    The archive lies beside it, `NAME.log.20250131T120000000000Z.gz`; the oldest go. Of a log that has grown by more
    than twice what it may hold since the last look (and by more than 20 MB) the oldest lines are given up.

    Args:
        limit: bytes it may hold.
        archives: how many to keep.

    Returns: what was archived, and given up.
    Raises: Unavailable when its file system cannot do that or is full; the log is whole then, and goes on growing.
    """
    if logs.on_disk(path) <= limit or logs.occupied(path) <= limit:
        return Moved(0)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{logs.UNFINISHED}"):  # of a daemon that was killed
        left.unlink(missing_ok=True)
    archive = path.with_name(f"{path.name}.{now:%Y%m%dT%H%M%S%fZ}.gz")
    moved = logs.archive_head(path, archive, keep=limit // 2, most=max(_MOST * limit, _AT_LEAST))
    for old in sorted(path.parent.glob(f"{glob.escape(path.name)}.*.gz"))[:-archives]:
        old.unlink(missing_ok=True)
    return moved


def remove_old(folder: Path, now: datetime, *, days: int) -> int:
    """Remove the logs, and what was archived of them, of operations that ended so long ago; how many files it were."""
    before = (now - timedelta(days=days)).timestamp()
    found: dict[int, list[Path]] = {}
    for path in folder.glob("operation-*.log*"):
        match = _OF_OPERATION.fullmatch(path.name)
        with suppress(FileNotFoundError):
            if match is not None and path.stat().st_mtime < before:
                found.setdefault(int(match[1]), []).append(path)
    live = set(Operation.objects.active().filter(pk__in=found).values_list("pk", flat=True)) if found else set()
    gone = [path for pk, paths in found.items() if pk not in live for path in paths]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)
