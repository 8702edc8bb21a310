"""Building a directory beside its place, so that nobody ever sees half of it.

A partial directory is called `.NAME.gaia-partial-XXXX` and holds a marker on which its maker has a lock: when the
maker dies the kernel drops the lock, and the next run removes what it left. Directories without the marker are
somebody else's and stay.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import Conflict, Refused, Unavailable
from common.locks import lock_held

_MARKER = "gaia-partial.json"


@contextmanager
def partial_directory(target: Path) -> Iterator[Path]:
    """A directory beside `target` to build in; it is gone when the block ends, `publish` what should stay.

    Raises: Refused or Unavailable when nothing can be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_partials(target)
        directory = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    try:
        with open(directory / _MARKER, "w", encoding="utf-8") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            json.dump({"target": str(target), "pid": os.getpid()}, marker)
            marker.flush()
            yield directory
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    finally:
        _remove(directory)


def publish(built: Path, target: Path) -> None:
    """Move what was built to its place in one step.

    Raises: Conflict when something has appeared there in the meantime; it is not touched.
    """
    try:
        if target.is_symlink() or target.exists():
            raise FileExistsError(target)
        os.rename(built, target)
    except OSError as error:
        if not (target.is_symlink() or target.exists()):
            raise
        raise Conflict(f"{target} has appeared in the meantime", meaning="It was not touched.") from error


def remove_dead_partials(target: Path) -> tuple[Path, ...]:
    """Remove the partial directories for `target` whose makers have died; returns them."""
    removed = []
    for directory in target.parent.glob(f"{_glob_safe(_prefix(target))}*"):
        if not directory.is_symlink() and _is_dead(directory):
            _remove(directory)
            removed.append(directory)
    return tuple(removed)


def cannot_write(directory: Path, error: OSError) -> Unavailable | Refused:
    """The error for a directory in which nothing can be written."""
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return Refused(
            f"{directory} may not be written", meaning=reason, fix="Give your user the right, or choose another place."
        )
    return Unavailable(
        f"{directory} cannot be written: {reason}",
        fix="Free some space there or choose another place, and run this again.",
        path=str(directory),
    )


def _remove(directory: Path) -> None:
    """The marker goes last: a git that outlived its dead parent may write behind our back, and then the rest has to
    be recognised by the next run."""
    with suppress(OSError):
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != _MARKER:
                entry.unlink()
        if os.listdir(directory) in ([], [_MARKER]):
            shutil.rmtree(directory, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".{target.name}.gaia-partial-"


def _glob_safe(text: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _is_dead(directory: Path) -> bool:
    try:
        with open(directory / _MARKER, encoding="utf-8") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:  # killed before the marker was there: empty, or not ours
        with suppress(OSError):
            os.rmdir(directory)
        return False
    except OSError:
        return False


def dead_partials(parent: Path) -> list[Path]:
    """Partial directories of whatever target in a directory whose makers have died; nothing is removed."""
    try:
        found = [each for each in parent.glob(".*.gaia-partial-*") if each.is_dir() and not each.is_symlink()]
    except OSError:
        return []
    return [each for each in found if (each / _MARKER).is_file() and not lock_held(each / _MARKER)]


def remove_dead_partial(directory: Path) -> bool:
    """Remove one of these; False when somebody works in it after all, or it is not there any more."""
    if not _is_dead(directory):
        return False
    _remove(directory)
    return not directory.exists()
