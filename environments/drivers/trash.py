"""Where removed checkouts wait before they are gone for good."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import NotFound, Unavailable
from common.run import run
from environments.drivers.partial import cannot_write, partial_directory, publish

_STAMP = "%Y%m%dT%H%M%SZ"
_ENTRY = re.compile(r".+-(?P<when>\d{8}T\d{6}Z)(?:-\d+)?")
COPY_S = 3600.0
"""Seconds for moving a checkout to a trash on another file system."""


def stamp(now: datetime | None = None) -> str:
    """A moment as it stands in names: `20250131T120000Z`."""
    return (now or datetime.now(UTC)).astimezone(UTC).strftime(_STAMP)


def move_to_trash(path: Path, trash: Path, *, now: datetime | None = None) -> Path:
    """Move a directory into the trash.

    Args:
        path: what to move.
        trash: the trash; on another file system the copy is compared with the original before that is removed.

    Returns: where it lies now.
    Raises: NotFound, Refused, Unavailable; then the original is still there, whole.
    """
    if not path.is_dir() or path.is_symlink():
        raise NotFound(f"{path} is not a directory")
    try:
        trash.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = _free(trash / f"{path.name}-{stamp(now)}")
        try:
            os.rename(path, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_across(path, place)
    except OSError as error:
        raise cannot_write(trash, error) from error
    return place


def purge_trash(
    trash: Path, older_than_s: float, now: datetime, *, failed: Callable[[Path, OSError], None] | None = None
) -> tuple[Path, ...]:
    """Remove what has lain in the trash for longer; names that are not of its making are left alone.

    Args:
        older_than_s: seconds.
        failed: told what could not be removed; the rest is removed all the same. Without it, the first failure ends it.

    Returns: what was removed.
    """
    removed = []
    for place in sorted(trash.iterdir()) if trash.is_dir() else ():
        entry = _ENTRY.fullmatch(place.name)
        if entry is None or place.is_symlink() or not place.is_dir():
            continue
        when = datetime.strptime(entry["when"], _STAMP).replace(tzinfo=UTC)
        if (now - when).total_seconds() > older_than_s:
            try:
                remove_tree(place)
            except OSError as error:
                if failed is None:
                    raise
                failed(place, error)
            else:
                removed.append(place)
    return tuple(removed)


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it, directories without write permission too."""

    def allow_and_retry(function: Any, name: str, _: Any) -> None:
        for each in (os.path.dirname(name), name):
            if not os.path.islink(each):
                os.chmod(each, stat.S_IRWXU)
        function(name)

    shutil.rmtree(path, onerror=allow_and_retry)


def _free(place: Path) -> Path:
    candidates = (place if number == 1 else place.with_name(f"{place.name}-{number}") for number in range(1, 1000))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


def _move_across(path: Path, place: Path) -> None:
    with partial_directory(place) as partial:
        copy = partial / "copy"
        run(["cp", "-R", "-P", "-p", "--", path, copy], timeout=COPY_S)
        difference = next(_differences(path, copy), None)
        if difference is not None:
            raise Unavailable(
                f"{path} changed while it was moved to the trash: {difference}",
                meaning="The original was left where it is.",
                fix="End what still works in it and run this again.",
            )
        publish(copy, place)
    remove_tree(path)


def _differences(one: Path, other: Path) -> Iterator[str]:
    names = {entry.name for entry in os.scandir(one)}
    for name in sorted(names ^ {entry.name for entry in os.scandir(other)}):
        yield name
    for name in sorted(names):
        left, right = one / name, other / name
        if not os.path.lexists(right):
            continue
        facts, copied = left.lstat(), right.lstat()
        if stat.S_IFMT(facts.st_mode) != stat.S_IFMT(copied.st_mode):
            yield name
        elif stat.S_ISLNK(facts.st_mode):
            if os.readlink(left) != os.readlink(right):
                yield name
        elif stat.S_ISDIR(facts.st_mode):
            yield from (f"{name}/{inner}" for inner in _differences(left, right))
        elif stat.S_ISREG(facts.st_mode) and not filecmp.cmp(left, right, shallow=False):
            yield name
