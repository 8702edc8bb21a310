"""What would be lost with a checkout: commits, stashes and files that only it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from environments.drivers.changes import find_changes
from environments.drivers.git import GitError, Repository, bare, checkout

SALVAGE_ROOT = "refs/salvage/"
_UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")


@dataclass(frozen=True)
class Work:
    """What would be lost with a checkout.

    Args:
        unpushed: ref (`heads/env/dev1`, `detached`, `stash/0`, `tags/v1`) → commits that the hub lacks.
        uncommitted: tracked files with changes.
        untracked: files that git does not know and does not ignore.
        nested: repositories inside the checkout with work that only they have.
    """

    unpushed: Mapping[str, int] = field(default_factory=dict)
    uncommitted: int = 0
    untracked: int = 0
    nested: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        return bool(self.unpushed or self.uncommitted or self.untracked or self.nested)


def find_work(path: Path, hub: Path) -> Work:
    """Look for what would be lost if a checkout were gone; changes nothing.

    Raises: GitError when the repository cannot be read.
    """
    repository = checkout(path)
    changes = find_changes(repository)
    tips = find_tips(repository)
    return Work(
        unpushed=find_unpushed(repository, hub, tips),
        uncommitted=len(changes.uncommitted),
        untracked=len(changes.untracked),
        nested=(*changes.nested, *busy_submodules(path)),
    )


def find_tips(repository: Repository) -> dict[str, str]:
    """Everything that keeps commits alive here, remote-tracking branches aside; by its name below the prefix."""
    listed = repository.lines("for-each-ref", "--format=%(HEAD)%(refname) %(objectname)")
    tips, stashed = {}, False
    for line in listed:
        ref, sha = line[1:].rsplit(" ", 1)
        stashed |= ref == "refs/stash"
        if ref.startswith(("refs/heads/", "refs/tags/")):
            tips[ref.removeprefix("refs/")] = sha
        elif not ref.startswith(("refs/remotes/", "refs/stash", SALVAGE_ROOT)):
            tips[f"other/{ref.removeprefix('refs/')}"] = sha
    if stashed:
        for number, line in enumerate(repository.text("stash", "list", "--format=%H", check=False).split()):
            tips[f"stash/{number}"] = line
    if not any(line.startswith("*") for line in listed):  # on no branch, or on one without a commit
        tips |= _found(repository, "detached", "HEAD")
    if (repository.git_dir / "worktrees").exists():
        told = repository.text("worktree", "list", "--porcelain")
        for number, sha in enumerate(
            re.findall(r"^HEAD ([0-9a-f]+)$", told, re.MULTILINE)[1:]
        ):  # the first is this one
            tips[f"other/worktree-{number}"] = sha
    in_table = (repository.git_dir / "reftable").exists()  # there such a name is no file
    for name in _UNFINISHED:
        if in_table or (repository.git_dir / name).exists():
            tips |= _found(repository, f"other/{name}", name)
    return tips


def _found(repository: Repository, called: str, name: str) -> dict[str, str]:
    sha = repository.text("rev-parse", "-q", "--verify", name, check=False)
    return {called: sha} if sha else {}


def find_unpushed(repository: Repository, hub: Path, tips: Mapping[str, str]) -> dict[str, int]:
    """Tips that the hub does not contain, with how many commits it lacks; a tag the hub lacks counts even with none."""
    known = set(bare(hub).text("for-each-ref", "--format=%(objectname)").split())
    negative = "".join(f"^{sha}\n" for sha in known)
    objects = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(hub / "objects")}
    unpushed = {}
    for ref, sha in tips.items():
        if sha in known:
            continue
        counted = repository.run("rev-list", "--count", "--stdin", stdin=f"{sha}\n{negative}", env=objects, timeout=120)
        count = int(counted.stdout)
        if count or ref.startswith("tags/"):
            unpushed[ref] = count
    return unpushed


def busy_submodules(path: Path) -> tuple[str, ...]:
    """Initialised submodules with changes or commits that no remote of theirs has."""
    listed = checkout(path).run("ls-files", "-s", "-z", timeout=120).stdout
    links = [entry.split("\t", 1)[1] for entry in listed.split("\0") if entry.startswith("160000 ")]
    busy = []
    for link in links:
        if not (path / link / ".git").exists():
            continue
        inner = checkout(path / link)
        try:
            changes = find_changes(Repository(_git_dir(inner), path / link))
            alone = inner.text("rev-list", "--count", "--all", "HEAD", "--not", "--remotes", check=False)
        except GitError:
            busy.append(link)  # unreadable: keep all of it
            continue
        if changes.uncommitted or changes.untracked or changes.nested or alone not in ("", "0"):
            busy.append(link)
    return tuple(busy)


def _git_dir(repository: Repository) -> Path:
    return Path(repository.text("rev-parse", "--absolute-git-dir"))
