"""Locks in a repository: GAIA's own flock, and the lock files that git leaves behind when it is killed.

git makes `index.lock`, `HEAD.lock`, `refs/heads/NAME.lock` and the like with O_EXCL and renames them when it is done. A
killed git leaves them, and every later command fails. They carry no pid. `git commit -a` even closes `index.lock` and
then runs hooks or an editor, so that nobody has it open. A lock file is taken for left behind when it has not changed
for a moment, no process has it open, and no git works in the repository that was there when it was made.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from common.errors import Conflict
from environments.drivers.git import GitError, Output, Repository
from environments.drivers.git_processes import GitProcess, can_look, opened, places_of, running_git
from environments.drivers.partial import cannot_write

Result = TypeVar("Result")

PATIENCE_S = 60.0
"""Seconds to wait for another writer of the same repository."""
_LEFT_BEHIND_S = 1.0  # between creating a lock and being seen with it open
_LEFT_BEHIND_UNSEEN_S = 600.0  # where nobody tells who holds it
_LOOK_AGAIN_S = 0.05
_LOCKED = re.compile(r"\.lock': File exists|could not lock config file")
_LOCK_FILE = re.compile(r"Unable to create '(?P<lock>/[^']+\.lock)': File exists")
_OVERTAKEN = re.compile(r"cannot lock ref .*(?:but expected|reference already exists)|failed to update ref")
_OVERTAKEN_TIMES = 5
INDEX_COPY = "gaia-index-"
"""What directories with a copy of the index begin with, beside the index."""
_COPY_S = 3600.0
_OWN = ("gaia.lock", "gaia.writing")


@contextmanager
def writing(repository: Repository, *, timeout: float = PATIENCE_S) -> Iterator[None]:
    """Be the only verb of GAIA that writes in a repository, after what a killed one has left behind is put away.

    Raises: Conflict that names the holder when others did not let go within `timeout` seconds; Refused or Unavailable
        when nothing can be written there.
    """
    try:
        with _written(repository, timeout):
            yield
    except OSError as error:
        raise cannot_write(_shown(repository.git_dir), error) from error


@contextmanager
def _written(repository: Repository, timeout: float) -> Iterator[None]:
    with repository.lock(timeout=timeout):
        deadline = time.monotonic() + timeout
        mark = repository.git_dir / "gaia.writing"
        if mark.exists():  # whoever wrote before was killed, and its git may still be at it
            _wait_for_orphans(repository.git_dir, deadline)
            _remove_copies(repository.git_dir)
        wait_for_git(repository.git_dir, timeout=max(0.0, deadline - time.monotonic()))
        mark.touch()
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def run_patiently(repository: Repository, *args: str | Path, timeout: float, **options: Any) -> Output:
    """Run a git command that refuses as a whole while another git holds a lock; again until that lets go.

    Args:
        timeout: seconds for one run of the command.
        options: as of `Repository.run`; without `check` the last failure is returned.

    Raises: GitError; Conflict when the lock was never free.
    """
    check = options.pop("check", True)
    output: list[Output] = []

    def act() -> None:
        output[:] = [repository.run(*args, timeout=timeout, check=False, **options)]
        if not output[0].ok and (check or is_locked(output[0].stderr)):
            word = str(args[0])
            raise GitError(
                f"git {word} failed", subcommand=word, stderr=output[0].stderr or output[0].stdout,
                exit_code=output[0].code,
            )  # fmt: skip

    patiently(act, repository.git_dir)
    return output[0]


def patiently(act: Callable[[], Result], git_dir: Path, *, timeout: float = PATIENCE_S) -> Result:
    """Do something that git refuses as a whole while another git holds a lock; again until `timeout` seconds passed.

    Raises: whatever `act` raises for another reason; Conflict when the lock was never free.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return act()
        except GitError as error:
            if not is_locked(error.stderr):
                raise
            wait_for_git(_locked_place(error.stderr) or git_dir, timeout=max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_AGAIN_S)


def is_locked(stderr: str) -> bool:
    """Whether git failed only because somebody else was writing."""
    return _LOCKED.search(stderr) is not None


def is_overtaken(said: str) -> bool:
    """Whether somebody else moved a ref between git's look at it and its writing."""
    return _OVERTAKEN.search(said) is not None


def again_when_overtaken(act: Callable[[], Output]) -> Output:
    """Do something anew that compares refs with what they were, as often as somebody else was quicker; a few times."""
    for _ in range(_OVERTAKEN_TIMES):
        output = act()
        if output.ok or not is_overtaken(output.stdout + output.stderr):
            break
    return output


def wait_for_git(git_dir: Path, *, timeout: float = PATIENCE_S) -> None:
    """Wait until no git writes in a repository; what a killed one has left behind is removed.

    Raises: Conflict that names the lock file when it stayed held.
    """
    deadline = time.monotonic() + timeout
    while locks := find_locks(git_dir):
        left = _left_behind(git_dir)
        for lock, facts in left.items():
            with suppress(FileNotFoundError):
                if _same(lock.stat(), facts):  # else somebody has removed it, and a git has made its own
                    lock.unlink()
        if left:
            continue
        if time.monotonic() > deadline:
            raise _held(git_dir, locks[0])
        time.sleep(_LOOK_AGAIN_S)


def find_locks(git_dir: Path) -> list[Path]:
    """git's lock files: those beside the index and HEAD, and those among the refs."""
    found = [Path(entry.path) for entry in os.scandir(git_dir) if entry.name.endswith(".lock")]
    for directory, _, names in os.walk(git_dir / "refs"):
        found += [Path(directory) / name for name in names if name.endswith(".lock")]
    return [lock for lock in found if lock.name not in _OWN]


def left_behind(git_dir: Path) -> list[Path]:
    """git's lock files that nobody holds any more; nothing is removed."""
    return list(_left_behind(git_dir))


def _left_behind(git_dir: Path) -> dict[Path, os.stat_result]:
    old: dict[Path, os.stat_result] = {}
    for lock in find_locks(git_dir):
        with suppress(FileNotFoundError):
            facts = lock.stat()
            # a time in the future is no sign of youth
            if not 0 <= time.time() - facts.st_mtime < _patience_with(facts):
                old[lock] = facts
    if not old or not can_look():
        return old
    held, running, places = opened(list(old.values())), running_git(), places_of(git_dir)
    return {
        lock: facts
        for lock, facts in old.items()
        if (facts.st_dev, facts.st_ino) not in held and not any(each.may_hold(facts, places) for each in running)
    }


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_ctime_ns) == (other.st_ino, other.st_ctime_ns)


def workers_in(git_dir: Path) -> list[GitProcess]:
    """Every git that works in a repository now."""
    places = places_of(git_dir)
    return [each for each in running_git() if each.works_in(places)] if can_look() else []


def _locked_place(stderr: str) -> Path | None:
    """The repository in which git found a lock: a push finds those of the other side."""
    found = _LOCK_FILE.search(stderr)
    parents = Path(found["lock"]).parents if found else ()
    return next((each for each in parents if (each / "HEAD").is_file() and (each / "objects").is_dir()), None)


def _patience_with(facts: os.stat_result) -> float:
    """Processes of another user are not to be seen everywhere."""
    visible = can_look() and os.geteuid() in (0, facts.st_uid)
    return _LEFT_BEHIND_S if visible else _LEFT_BEHIND_UNSEEN_S


def _wait_for_orphans(git_dir: Path, deadline: float) -> None:
    """Wait for what a GAIA that is gone has started here; only GAIA names the git directory like this."""
    sign = f"--git-dir={git_dir}"
    while orphans := [each for each in running_git() if sign in each.words] if can_look() else []:
        if time.monotonic() > deadline:
            raise Conflict(
                f"{orphans[0]} is still writing in {_shown(git_dir)}",
                meaning="A GAIA that was killed has started it; nothing was done.",
                fix=f"Wait until it has ended, or end it (kill {orphans[0].pid}), and run this again.",
                pid=orphans[0].pid,
            )
        time.sleep(_LOOK_AGAIN_S)


def _remove_copies(git_dir: Path) -> None:
    """Copies of the index that a killed snapshot has left (see changes.py); a young one may be somebody's."""
    for copy in git_dir.glob(f"{INDEX_COPY}*"):
        with suppress(OSError):
            if time.time() - copy.stat().st_mtime > _COPY_S:
                shutil.rmtree(copy)


def _held(git_dir: Path, lock: Path) -> Conflict:
    workers = workers_in(git_dir)
    who = ", ".join(map(str, workers)) or "another git"
    return Conflict(
        f"another git is writing in {_shown(git_dir)}",
        meaning=f"{who[:1].upper()}{who[1:]} holds {lock.name}; nothing was done.",
        fix="Wait until it has ended and run this again.",
        lock=str(lock),
        pids=[each.pid for each in workers],
    )


def _shown(git_dir: Path) -> Path:
    return git_dir.parent if git_dir.name == ".git" else git_dir
