"""Files that are never half-written, blocks that leave the rest of a file alone, and locks."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import Conflict


def write_atomic(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a crash, sees the old text or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_if_changed(path: Path, text: str, *, mode: int = 0o600) -> bool:
    """Write atomically only when text or mode differ; True when something was written."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            if path.stat().st_mode & 0o777 == mode:
                return False
            path.chmod(mode)
            return True
    write_atomic(path, text, mode=mode)
    return True


def write_json(path: Path, data: Any, *, mode: int = 0o600) -> bool:
    """Write data as stable, readable JSON; True when the file changed."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n"
    return write_if_changed(path, text, mode=mode)


def managed_block(existing: str, block: str, *, name: str = "GAIA", comment: str = "#") -> str:
    """`existing` with the block between GAIA's markers replaced, or appended when there is none.

    Text outside the markers is the user's and is kept to the byte.
    """
    start, end = f"{comment} >>> {name} (managed, do not edit) >>>", f"{comment} <<< {name} <<<"
    body = f"{start}\n{block.rstrip()}\n{end}\n"
    pattern = re.compile(rf"^{re.escape(start)}\n.*?^{re.escape(end)}\n?", re.DOTALL | re.MULTILINE)
    if pattern.search(existing):
        return pattern.sub(lambda _: body, existing, count=1)
    separator = "" if not existing or existing.endswith("\n") else "\n"
    return existing + separator + body


_PROBE_S = 0.02


@contextmanager
def file_lock(path: Path, *, timeout: float = 0.0, what: str = "this") -> Iterator[None]:
    """Hold an exclusive flock on a file; the kernel drops it when the holder dies.

    Args:
        path: the lock file; it is made when missing and never removed (removing would race).
        timeout: seconds to wait for another holder.
        what: the noun for the error, as in "the set-up of project demo".

    Raises: Conflict that names the holder's pid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # who only asks whether it is held takes a shared lock for a moment: that is no holder
    deadline = time.monotonic() + max(timeout, _PROBE_S)
    with open(path, "a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.05 if timeout else _PROBE_S / 5)
                    continue
                file.seek(0)
                holder = file.read().strip() or "an unknown process"
                raise Conflict(
                    f"{what} is already being worked on by {holder}",
                    meaning="Two at once would overwrite each other, so this one did nothing.",
                    fix="Wait until it has ended and run this again.",
                    holder=holder,
                ) from None
        file.seek(0)
        file.truncate()
        file.write(f"pid {os.getpid()}")
        file.flush()
        yield
