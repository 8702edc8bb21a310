"""The git state of checkouts, quickly and without writing into them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from environments.drivers.git import GitError, Repository, checkout

STATUS_S = 10.0
"""Seconds one checkout's status may take."""
_ORIGIN_HEAD = "refs/remotes/origin/"
_IN_PROGRESS = (
    ("MERGE_HEAD", "merge"),
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
)


@dataclass(frozen=True)
class GitStatus:
    """What git says about a checkout.

    Args:
        branch: the branch; empty when detached or unreadable.
        head: the commit; empty before the first one.
        upstream: what `ahead` and `behind` count against: always the hub's default branch (`origin/main`) when the
            checkout knows it, also when somebody gave the branch another upstream.
        ahead: commits that `upstream` lacks.
        behind: commits of `upstream` that this branch lacks.
        staged: files with changes in the index.
        unstaged: files with changes that are not in the index.
        untracked: files and directories that git does not know.
        conflicts: unmerged files.
        conflict_paths: their names.
        detached: no branch is checked out.
        in_progress: an operation that waits to be ended: merge, rebase, cherry-pick, revert or bisect.
        error: why nothing else is known; None when all is well.
    """

    branch: str = ""
    head: str = ""
    upstream: str = ""
    ahead: int = 0
    behind: int = 0
    staged: int = 0
    unstaged: int = 0
    untracked: int = 0
    conflicts: int = 0
    conflict_paths: tuple[str, ...] = ()
    detached: bool = False
    in_progress: str | None = None
    error: str | None = None

    @property
    def dirty(self) -> int:
        """Files that differ from the last commit in any way."""
        return self.staged + self.unstaged + self.untracked + self.conflicts


def status(path: Path, *, timeout: float = STATUS_S) -> GitStatus:
    """The state of one checkout; trouble is reported in `error`, not raised.

    Args:
        timeout: seconds.
    """
    if not (path / ".git").exists():
        return GitStatus(error="not a checkout" if path.exists() else "missing")
    repository = checkout(path)
    try:
        output = repository.run(
            "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z",
            timeout=timeout, env={"GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
        found = replace(parse_status(output.stdout), in_progress=_in_progress(repository.git_dir))
        return _against_default(repository, found, timeout)
    except GitError as error:
        return GitStatus(error=" ".join(part for part in (error.what, error.meaning) if part))


def status_many(paths: Iterable[Path], workers: int = 8) -> dict[Path, GitStatus]:
    """The state of many checkouts, side by side.

    Args:
        workers: how many at the same time.
    """
    wanted = list(dict.fromkeys(paths))
    if not wanted:
        return {}
    with ThreadPoolExecutor(max_workers=max(1, min(workers, len(wanted)))) as pool:
        return dict(zip(wanted, pool.map(status, wanted), strict=True))


def fill_untracked_cache(path: Path) -> None:
    """Let git remember which directories have no untracked files: the next status need not read them."""
    checkout(path).run("status", "--porcelain", "--untracked-files=normal", timeout=60, check=False)


def parse_status(text: str) -> GitStatus:
    """Read `git status --porcelain=v2 --branch -z`.

    Format: https://git-scm.com/docs/git-status#_porcelain_format_version_2
    """
    header: dict[str, str] = {}
    staged = unstaged = untracked = 0
    conflicts: list[str] = []
    records = iter(text.split("\0"))
    for record in records:
        kind = record[:2]
        if kind == "# ":
            name, _, value = record[2:].partition(" ")
            header[name] = value
        elif kind in ("1 ", "2 "):
            staged += record[2] != "."
            unstaged += record[3] != "."
            if kind == "2 ":
                next(records, None)  # a rename is followed by its old name
        elif kind == "u ":
            conflicts.append(record.split(" ", 10)[10].encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        elif kind == "? ":
            untracked += 1
    branch, head = header.get("branch.head", ""), header.get("branch.oid", "")
    ahead, behind = _counts(header.get("branch.ab", "+0 -0"))
    return GitStatus(
        branch="" if branch == "(detached)" else branch,
        head="" if head == "(initial)" else head,
        upstream=header.get("branch.upstream", "") if "branch.ab" in header else "",
        ahead=ahead,
        behind=behind,
        staged=staged,
        unstaged=unstaged,
        untracked=untracked,
        conflicts=len(conflicts),
        conflict_paths=tuple(conflicts),
        detached=branch == "(detached)",
    )


def _against_default(repository: Repository, found: GitStatus, timeout: float) -> GitStatus:
    """Count against the hub's default branch; that is the upstream already, unless somebody changed it."""
    default = ""
    with suppress(OSError):
        text = (repository.git_dir / _ORIGIN_HEAD / "HEAD").read_text(encoding="utf-8").strip()
        default = text.removeprefix("ref: refs/remotes/")
    if not default or default == found.upstream or not found.head:
        return found
    counted = repository.text(
        "rev-list", "--left-right", "--count", f"HEAD...refs/remotes/{default}", timeout=timeout, check=False
    ).split()
    if len(counted) != 2:
        return found
    return replace(found, upstream=default, ahead=int(counted[0]), behind=int(counted[1]))


def _in_progress(git_dir: Path) -> str | None:
    return next((what for name, what in _IN_PROGRESS if os.path.exists(git_dir / name)), None)


def _counts(text: str) -> tuple[int, int]:
    ahead, behind = text.split()
    return int(ahead), -int(behind)
