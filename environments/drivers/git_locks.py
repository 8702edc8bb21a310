"""Locks in a repository: GAIA's own flock, and the lock files that git leaves behind when it is killed.

git makes `index.lock`, `HEAD.lock`, `refs/heads/NAME.lock` and the like with O_EXCL, keeps them open while it writes,
and renames them. A killed git leaves them, and every later command fails. They carry no pid, so a lock file is taken
for left behind when no process of this machine has it open and it has not changed for a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from common.errors import Conflict
from environments.drivers.git import GitError, Repository

Result = TypeVar("Result")

PATIENCE_S = 60.0
"""Seconds to wait for another writer of the same repository."""
_LEFT_BEHIND_S = 2.0  # between creating a lock and being seen with it open, and between closing it and renaming
_LEFT_BEHIND_UNSEEN_S = 600.0  # where the kernel does not tell who has a file open
_LOOK_AGAIN_S = 0.05
_LOCKED = (".lock': File exists", "cannot lock ref", "could not lock", "Unable to create")


@contextmanager
def writing(repository: Repository, *, timeout: float = PATIENCE_S) -> Iterator[None]:
    """Be the only verb of GAIA that writes in a repository, after what a killed git has left behind is put away.

    Raises: Conflict that names the holder when others did not let go within `timeout` seconds.
    """
    with repository.lock(timeout=timeout):
        wait_for_git(repository.git_dir, timeout=timeout)
        yield


def patiently(act: Callable[[], Result], git_dir: Path, *, timeout: float = PATIENCE_S) -> Result:
    """Do something that git refuses as a whole while an agent's git holds a lock; again until `timeout` seconds passed.

    Raises: whatever `act` raises for another reason; Conflict when the lock was never free.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return act()
        except GitError as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            wait_for_git(git_dir, timeout=max(0.1, deadline - time.monotonic()))
            time.sleep(_LOOK_AGAIN_S)


def is_locked(error: GitError) -> bool:
    """Whether git failed only because somebody else was writing."""
    return any(sign in error.stderr for sign in _LOCKED) and ".lock" in error.stderr


def wait_for_git(git_dir: Path, *, timeout: float = PATIENCE_S) -> None:
    """Wait until no git writes in a repository; what a killed one has left behind is removed.

    Raises: Conflict that names the lock file when it stayed held.
    """
    deadline = time.monotonic() + timeout
    while locks := find_locks(git_dir):
        left = [lock for lock in locks if _is_left_behind(lock)]
        for lock in left:
            with suppress(FileNotFoundError):
                lock.unlink()
        if left:
            continue
        if time.monotonic() > deadline:
            raise Conflict(
                f"another git is writing in {git_dir.parent if git_dir.name == '.git' else git_dir}",
                meaning=f"It holds {locks[0].name}; nothing was done.",
                fix="Wait until it has ended and run this again.",
                lock=str(locks[0]),
            )
        time.sleep(_LOOK_AGAIN_S)


def find_locks(git_dir: Path) -> list[Path]:
    """git's lock files: those beside the index and HEAD, and those among the refs."""
    found = [Path(entry.path) for entry in os.scandir(git_dir) if entry.name.endswith(".lock")]
    for directory, _, names in os.walk(git_dir / "refs"):
        found += [Path(directory) / name for name in names if name.endswith(".lock")]
    return [lock for lock in found if lock.name != "gaia.lock"]


def _is_left_behind(lock: Path) -> bool:
    try:
        age = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return False
    if not os.path.isdir("/proc/self/fd"):
        return age > _LEFT_BEHIND_UNSEEN_S
    return not 0 <= age < _LEFT_BEHIND_S and not _is_open(lock)


def _is_open(file: Path) -> bool:
    """Whether any process has it open; those of other users cannot be seen and count as none."""
    try:
        wanted = file.stat()
    except FileNotFoundError:
        return False
    for process in os.scandir("/proc"):
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            for descriptor in os.scandir(f"{process.path}/fd"):
                with suppress(OSError):
                    seen = descriptor.stat()
                    if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    return False
