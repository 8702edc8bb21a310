"""Files written as a whole or not at all; a kill in the middle leaves one whose name ends in `UNFINISHED`."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".gaia-unfinished"


def put_if_changed(file: Path, data: bytes, mode: int = 0o600) -> bool:
    """Write a file when content or mode differ, in the place of a symlink, too; True when something was written."""
    with suppress(FileNotFoundError):
        if not file.is_symlink() and file.read_bytes() == data:
            if file.stat().st_mode & 0o777 == mode:
                return False
            file.chmod(mode)
            return True
    put(file, data, mode)
    return True


def put(file: Path, data: bytes, mode: int) -> None:
    """Write a whole file or none. Only what replaces a file is forced to disk: the rest can be made again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(data)
            if file.exists():
                new.flush()
                os.fsync(new.fileno())
        os.chmod(name, mode)
        os.replace(name, file)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
