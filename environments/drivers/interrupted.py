"""What a merge or rebase that was killed leaves behind besides locks: changes that it had put aside.

`--autostash` puts uncommitted changes aside, does its work and brings them back. Killed in between it leaves them where
nobody looks: in `MERGE_AUTOSTASH` without a merge under way, or in `rebase-merge/autostash` of a rebase that never got
to know what it rebases, and which git can neither continue nor abort.
"""

from __future__ import annotations

import time
from contextlib import suppress

from environments.drivers.git import GitError, Repository
from environments.drivers.git_locks import run_patiently, workers_in

PUT_BACK_S = 600.0
"""Seconds for bringing changes back."""
_ALONE_S = 3.0
_TOLD = "What an interrupted {what} had put aside is {where}"


def put_back(repository: Repository) -> str:
    """Bring back, or put onto the stash, what an interrupted git had put aside; the caller holds the lock.

    Returns: one sentence about it, empty when there was nothing.
    """
    what = _interrupted(repository)
    if not what or not _is_alone(repository):  # somebody's git is at it just now
        return ""
    before = _stashed(repository)
    if what == "merge":
        file = repository.git_dir / "MERGE_AUTOSTASH"
        with suppress(GitError):  # an empty or broken file: there is nothing to be had from it
            stash = repository.text("rev-parse", "--verify", f"{file.read_text(encoding='ascii').strip()}^{{commit}}")
            repository.run("stash", "store", "-m", f"put aside by an interrupted {what}", stash)
        file.unlink(missing_ok=True)
    else:
        run_patiently(repository, "rebase", "--quit", timeout=PUT_BACK_S)  # git puts it onto the stash
    if _stashed(repository) in ("", before):
        return ""
    return _TOLD.format(what=what, where="back" if _apply(repository) else "on the stash: git stash pop")


def aside(repository: Repository) -> str:
    """The commit in which a merge or rebase under way has put uncommitted changes aside; empty when there is none."""
    for name in ("MERGE_AUTOSTASH", "rebase-merge/autostash", "rebase-apply/autostash"):
        with suppress(OSError, UnicodeDecodeError):
            named = (repository.git_dir / name).read_text(encoding="ascii").strip()
            return repository.text("rev-parse", "-q", "--verify", f"{named}^{{commit}}", check=False)
    return ""


def _is_alone(repository: Repository) -> bool:
    """Whether no git works here; one that only looks has ended in a moment."""
    deadline = time.monotonic() + _ALONE_S
    while workers_in(repository.git_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _interrupted(repository: Repository) -> str:
    git_dir = repository.git_dir
    if (git_dir / "MERGE_AUTOSTASH").exists() and not (git_dir / "MERGE_HEAD").exists():
        return "merge"
    for name in ("rebase-merge", "rebase-apply"):
        place = git_dir / name
        if place.is_dir() and not (place / "applying").exists() and not (place / "head-name").exists():
            return "rebase"
    return ""


def _stashed(repository: Repository) -> str:
    return repository.text("rev-parse", "-q", "--verify", "refs/stash", check=False)


def _apply(repository: Repository) -> bool:
    """Take the newest entry off the stash into files that nobody has changed since."""
    if not repository.run("diff", "--quiet", "HEAD", "--", check=False).ok:
        return False
    return repository.run("stash", "pop", "-q", "--index", timeout=PUT_BACK_S, check=False).ok
