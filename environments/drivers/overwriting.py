"""Files that git would replace without asking, and that no snapshot holds: those it ignores, and submodules.

git takes ignored files for expendable. An `.env` that somebody ignores is gone for good when a merge, a rebase or a
reset brings a commit that tracks it; so is a whole submodule where a commit has a file of its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from common.errors import Conflict
from environments.drivers.git import Repository

LOOK_S = 120.0
"""Seconds for comparing a commit with the index."""
_MANY = 500  # names in one command line


def refuse_overwriting(repository: Repository, names: Iterable[str], *, by: str) -> None:
    """Refuse before anything is done.

    Args:
        names: what would be written, from the functions below.
        by: what would do it, in a sentence.

    Raises: Conflict with the files in `detail["files"]`.
    """
    files = find_overwritten(repository, names)
    if files:
        listed = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        raise Conflict(
            f"{by} would overwrite what git ignores: {listed}",
            meaning="No commit and no snapshot has it, so nothing was done.",
            fix="Move it away, then run this again.",
            files=files,
        )


def written_by_checkout(repository: Repository, commit: str) -> set[str]:
    """What a commit has and the index has not, or has as something else: checking it out writes these anew."""
    return _names(repository, "diff-index", "--cached", "-R", "--diff-filter=AT", commit)


def written_by_merge(repository: Repository, commit: str, base: str) -> set[str]:
    """What a commit changed since the branches parted at `base`, and the index has not."""
    if not base:
        return written_by_checkout(repository, commit)
    changed = _names(repository, "diff-tree", "-r", "--diff-filter=AMT", base, commit)
    return changed & written_by_checkout(repository, commit)


def written_by_replay(repository: Repository, commit: str) -> set[str]:
    """What own commits since they parted from a commit have added, and the index has not any more."""
    listed = repository.run(
        "log", "--format=", "-z", "--name-only", "--no-renames", "--diff-filter=A", f"{commit}..HEAD", "--",
        timeout=LOOK_S,
    ).stdout  # fmt: skip
    added = {name for name in listed.split("\0") if name}
    return added - _known(repository, added)


def find_overwritten(repository: Repository, names: Iterable[str]) -> list[str]:
    """Those of the names where something lies that git ignores, and repositories inside that stand in their place."""
    top = repository.work_tree
    assert top is not None  # noqa: S101  # only checkouts have files
    there = {place for name in names if (place := _in_the_way(top, name))}
    nested = {place for place in there if _holds_repository(top / place)}
    listed: set[str] = set()
    for chunk in _chunks(sorted(there - nested)):
        wanted = (f":(literal){name}" for name in chunk)
        options = ("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--")
        listed |= set(repository.run(*options, *wanted, timeout=LOOK_S).stdout.split("\0"))
    return sorted(nested | (listed - {""}))


def _in_the_way(top: Path, name: str) -> str:
    """What lies where a file is to be written: itself, something that is no directory above it, or a repository."""
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        place = "/".join(parts[:count])
        path = top / place
        if not os.path.lexists(path):
            return ""
        last = count == len(parts)
        if last or path.is_symlink() or not path.is_dir() or os.path.lexists(path / ".git"):
            return place
    return ""


def _holds_repository(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    return any(".git" in (*names, *files) for _, names, files in os.walk(path))


def _known(repository: Repository, names: Iterable[str]) -> set[str]:
    """Those of the names that the index has."""
    known: set[str] = set()
    for chunk in _chunks(sorted(names)):
        wanted = (f":(literal){name}" for name in chunk)
        known |= set(repository.run("ls-files", "-z", "--cached", "--", *wanted, timeout=LOOK_S).stdout.split("\0"))
    return known


def _names(repository: Repository, *words: str) -> set[str]:
    listed = repository.run(*words, "--name-only", "--no-renames", "-z", "--", timeout=LOOK_S).stdout
    return {name for name in listed.split("\0") if name}


def _chunks(names: list[str]) -> Iterable[list[str]]:
    return (names[at : at + _MANY] for at in range(0, len(names), _MANY))
