"""Whether somebody holds a lock file. It imports next to nothing: the CLI asks this before it prints a picture."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_held(path: Path) -> bool:
    """True while somebody holds the file's exclusive flock; a missing file is held by nobody.

    The probe asks for a shared lock through a description of its own: it never takes a holder's lock away, and
    probes do not disturb one another. (/proc/locks would not touch the lock at all, but hides locks in a container
    once the process that made them is gone.)
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
