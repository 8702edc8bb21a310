"""Uncommitted and untracked work as one commit, without touching the index, the files or the stash of its owner.

The commit has the shape of a stash entry, so `git stash apply --index` brings everything back, staged as it was:

    W  tree: the tracked files as they lie there    parents: HEAD, I, U
    I  tree: the index                              parent: HEAD
    U  tree: the untracked files (not ignored)      no parent
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from environments.drivers.git import Repository
from environments.drivers.git_locks import INDEX_COPY

SNAPSHOT_S = 600.0
"""Seconds for reading all files of a checkout."""
_TRIES = 20
"""How often a file is asked for that comes and goes while it is read."""
# Contents as they lie there: with git-lfs's filter only the pointer would get into the commit.
_RAW = ("filter.lfs.clean=", "filter.lfs.process=", "filter.lfs.required=false", "core.safecrlf=false")
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "GAIA"), ("EMAIL", "gaia@localhost"))
}


@dataclass(frozen=True)
class Changes:
    """Files that are in no commit; names relative to the checkout.

    Args:
        uncommitted: tracked files with changes, staged or not, conflicts and hidden ones (`assume-unchanged`) included.
        untracked: files that git neither knows nor ignores.
        nested: directories with a repository of their own that git does not look into.
    """

    uncommitted: tuple[str, ...]
    untracked: tuple[str, ...]
    nested: tuple[str, ...]


def find_changes(repository: Repository) -> Changes:
    """What a checkout holds that no commit does."""
    with _index_copy(repository) as index:
        _unhide(repository, index)
        listed = repository.run(
            "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=none",
            env=index, config=_RAW, timeout=SNAPSHOT_S,
        )  # fmt: skip
    uncommitted, untracked, nested = [], [], []
    for record in filter(None, listed.stdout.split("\0")):
        kind, name = record[:2], record[3:]
        if kind != "??":
            uncommitted.append(name)
        elif name.endswith("/"):  # with all files listed, only a repository shows as a directory
            nested.append(name.rstrip("/"))
        else:
            untracked.append(name)
    return Changes(tuple(uncommitted), tuple(untracked), tuple(nested))


def commit_changes(repository: Repository, changes: Changes, message: str) -> str:
    """Write the snapshot into the repository's objects; no ref points to it yet.

    Args:
        changes: from `find_changes`.
        message: the commit's.

    Returns: its id.
    """
    head = repository.text("rev-parse", "-q", "--verify", "HEAD", check=False)
    if not head:  # before the first commit a snapshot still needs something to stand on
        head = commit_tree(repository, _empty_tree(repository), "before the first commit")
    with _index_copy(repository) as index:
        staged = repository.text("write-tree", env=index, check=False)
        _unhide(repository, index)
        _add_tracked(repository, index)
        worktree = repository.text("write-tree", env=index)
    # an index with conflicts cannot be written as a tree; the files have both sides in them
    parents = [head, commit_tree(repository, staged or worktree, f"index: {message}", head)]
    if changes.untracked:
        tree = _untracked_tree(repository, changes)
        parents.append(commit_tree(repository, tree, f"untracked: {message}"))
    return commit_tree(repository, worktree, message, *parents)


def write_patch(repository: Repository, snapshot: str, file: Path) -> None:
    """Write the snapshot as one patch against its first parent, binaries and untracked files included."""
    has_untracked = repository.text("rev-parse", "-q", "--verify", f"{snapshot}^3", check=False)
    with tempfile.TemporaryDirectory(prefix="gaia-patch-") as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory) / "index")}
        repository.run("read-tree", snapshot, env=index)
        if has_untracked:
            listed = repository.run("ls-tree", "-r", "-z", "--full-tree", has_untracked)
            repository.run("update-index", "-z", "--index-info", env=index, stdin=listed.stdout)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        repository.run(
            "diff", "--cached", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color",
            "--src-prefix=a/", "--dst-prefix=b/", f"--output={file}", f"{snapshot}^1", env=index, timeout=SNAPSHOT_S,
        )  # fmt: skip
    file.chmod(0o600)


@contextmanager
def _index_copy(repository: Repository) -> Iterator[dict[str, str]]:
    """Variables that make git use a copy of the index."""
    with tempfile.TemporaryDirectory(prefix=INDEX_COPY, dir=repository.git_dir) as directory:
        copy = Path(directory) / "index"
        with suppress(FileNotFoundError):  # nothing was ever added
            shutil.copy2(repository.git_dir / "index", copy)
        yield {"GIT_INDEX_FILE": str(copy), "GIT_OPTIONAL_LOCKS": "0"}


def _unhide(repository: Repository, index: dict[str, str]) -> None:
    """Look at files marked `assume-unchanged` or `skip-worktree` too; those that a sparse checkout left out stay so."""
    listed = repository.run("ls-files", "-v", "-z", env=index, timeout=SNAPSHOT_S).stdout
    marked = [entry[2:] for entry in listed.split("\0") if entry and (entry[0].islower() or entry[0] == "S")]
    work_tree = repository.work_tree
    assert work_tree is not None  # noqa: S101  # snapshots are of checkouts
    present = [name for name in marked if (work_tree / name).is_symlink() or (work_tree / name).exists()]
    if present:
        names = "".join(f"{name}\0" for name in present)
        for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
            repository.run("update-index", flag, "-z", "--stdin", env=index, stdin=names)


def _add_tracked(repository: Repository, index: dict[str, str]) -> None:
    """Stage what changed in tracked files. One that vanishes while git reads it fails alone, and is asked for again."""
    for tries_left in reversed(range(_TRIES)):
        added = repository.run(
            "add", "-u", "--ignore-errors", "--", ".", env=index, config=_RAW, timeout=SNAPSHOT_S, check=not tries_left
        )
        if added.ok:
            return


def _untracked_tree(repository: Repository, changes: Changes) -> str:
    with tempfile.TemporaryDirectory(prefix=INDEX_COPY, dir=repository.git_dir) as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory) / "index")}
        _add_untracked(repository, index, changes.untracked)
        return repository.text("write-tree", env=index)


def _add_untracked(repository: Repository, index: dict[str, str], names: tuple[str, ...]) -> None:
    """Stage files by name; those that are gone are passed over.

    Git gives up on all names when one vanishes or shrinks while it is read. Halving finds that one without asking for
    each by itself, so that a build that is running does not keep a snapshot from being taken.
    """
    listed = "".join(f"{name}\0" for name in names)
    alone = len(names) == 1
    for tries_left in reversed(range(_TRIES if alone else 1)):
        added = repository.run(
            "update-index", "--add", "--remove", "-z", "--stdin", env=index, stdin=listed,
            config=_RAW, timeout=SNAPSHOT_S, check=alone and not tries_left,
        )  # fmt: skip
        if added.ok:
            return
    middle = len(names) // 2
    _add_untracked(repository, index, names[:middle])
    _add_untracked(repository, index, names[middle:])


def _empty_tree(repository: Repository) -> str:
    return repository.text("mktree", stdin="")


def commit_tree(repository: Repository, tree: str, message: str, *parents: str) -> str:
    options = [item for parent in parents for item in ("-p", parent)]
    return repository.text("commit-tree", "--no-gpg-sign", tree, *options, "-m", message, env=_AUTHOR)
