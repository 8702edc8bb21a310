"""Checkouts: isolated clones of the hub, each with a `.git` of its own, made in one step or not at all.

The first checkout of a commit is written by git. Further ones are copied from it before anybody works there, files and
index both, which takes a third of the processor time of inflating every file again (measured: 0.10 s against 0.28 s for
5,000 files of 96 MB). No file is shared: only git's own immutable objects are hard links, as in any local clone.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import Conflict, InvalidInput
from common.run import run
from environments.drivers.git import Repository, bare, checkout, run_git
from environments.drivers.git_index import Index, UnknownIndex, read_index, settle
from environments.drivers.partial import partial_directory, publish

MARKER = "gaia.json"
_CONFIG = (
    "index.version=4",
    "core.untrackedCache=true",
    "push.default=current",  # the upstream is the default branch, for ahead and behind; pushes go to the own branch
)
# Pointers stay pointers whether or not git-lfs is installed; `git lfs pull` fetches the files.
_NO_LFS = ("filter.lfs.smudge=", "filter.lfs.process=", "filter.lfs.required=false")


@dataclass(frozen=True)
class CheckoutFacts:
    """What lies at a checkout's path.

    Args:
        exists: something is there.
        environment: the environment it was made for; empty when it is not ours.
        hub: the hub it was made from; empty when it is not ours.
    """

    path: Path
    exists: bool
    environment: str = ""
    hub: str = ""

    @property
    def is_ours(self) -> bool:
        """GAIA made it."""
        return bool(self.environment)

    @property
    def branch(self) -> str:
        """The branch checked out, asked of git; empty when detached. Raises: GitError."""
        return checkout(self.path).text("symbolic-ref", "-q", "--short", "HEAD", check=False)

    @property
    def head(self) -> str:
        """The commit checked out, asked of git; empty when there is none. Raises: GitError."""
        return checkout(self.path).text("rev-parse", "-q", "--verify", "HEAD", check=False)


@dataclass(frozen=True)
class Prepared:
    """A checkout that is built and not yet at its place."""

    path: Path
    branch: str
    sha: str
    partial: Path
    hash_name: str = "sha1"

    @property
    def tree(self) -> Path:
        return self.partial / "tree"

    @property
    def git_dir(self) -> Path:
        return self.partial / "clone" / ".git"

    @property
    def repository(self) -> Repository:
        return Repository(self.git_dir, self.tree)


def check_place(hub: Path, path: Path) -> CheckoutFacts | None:
    """The checkout that is already there, None when the place is free.

    Raises: Conflict when what is there is not ours, or belongs to another project or another GAIA; it is not touched.
    """
    facts = inspect(path)
    if not facts.exists:
        return None
    if not facts.is_ours:
        raise _taken(path, "was not made by GAIA")
    known = Path(facts.hub)
    if known != hub and (known.name != hub.name or known.exists()):
        raise _taken(path, f"belongs to the hub {known}")
    return facts


def _taken(path: Path, why: str) -> Conflict:
    return Conflict(
        f"{path} exists and {why}",
        meaning="It was not touched.",
        fix="Move it away, or choose another root with --root.",
        path=str(path),
    )


def adopt(path: Path, hub: Path) -> bool:
    """Point a checkout whose hub is gone to the project's hub of today; False when it knows that one already."""
    facts = inspect(path)
    if Path(facts.hub) == hub:
        return False
    checkout(path).run("remote", "set-url", "origin", str(hub))
    _write_marker(path / ".git", facts.environment, facts.branch, hub)
    return True


def start_commit(hub: Path, branch: str, base: str) -> str:
    """The commit a checkout starts from: the hub's branch of that name, so that pushed work comes back, else the base.

    Raises: InvalidInput when the hub knows no such base.
    """
    for name in (f"refs/heads/{branch}", f"refs/heads/{base}", base):
        sha = bare(hub).text("rev-parse", "--verify", "-q", "--end-of-options", f"{name}^{{commit}}", check=False)
        if sha:
            return sha
    raise InvalidInput(f"there is no branch, tag or commit {base!r} to start from", fix="Name one that the source has.")


@contextmanager
def prepare_checkout(
    hub: Path, path: Path, *, branch: str, sha: str, default: str, timeout: float
) -> Iterator[Prepared]:
    """Everything but the files, in a partial directory beside the place: clone, branch, upstream."""
    with partial_directory(path) as partial:
        settings = [
            *_CONFIG,
            f"branch.{branch}.remote=origin",
            f"branch.{branch}.merge=refs/heads/{default}",
        ]
        options = [item for value in settings for item in ("-c", value)]
        run_git(
            "clone",
            "-q",
            "--no-checkout",
            "--origin",
            "origin",
            *options,
            "--",
            hub,
            partial / "clone",
            timeout=timeout,
        )
        prepared = Prepared(path, branch, sha, partial, _hash_name(sha))
        _choose_branch(prepared, default)
        yield prepared


def write_tree(prepared: Prepared, *, timeout: float, workers: int = 1) -> Index | None:
    """Have git write the files.

    Args:
        workers: processes that write, for a checkout that nothing else runs beside.

    Returns: the index, for copies; None when it is of a kind that GAIA does not know.
    """
    prepared.tree.mkdir()
    config = (*_NO_LFS, f"checkout.workers={workers}")
    prepared.repository.run("reset", "-q", "--hard", timeout=timeout, config=config)
    try:
        index = read_index(prepared.git_dir / "index", prepared.hash_name)
    except UnknownIndex:  # the first status takes longer, that is all
        return None
    settle(prepared.tree, index)
    index.write(prepared.git_dir / "index", prepared.tree)
    return index


def copy_tree(original: Prepared, index: Index | None, prepared: Prepared, *, timeout: float) -> None:
    """Copy the files, with their times, of a checkout of the same commit that nobody has worked in yet."""
    run(["cp", *_copy_options(), "--", original.tree, prepared.tree], timeout=timeout)
    if index is not None:
        index.write(prepared.git_dir / "index", prepared.tree)
    else:
        prepared.repository.run("reset", "-q", "--hard", timeout=timeout, config=_NO_LFS)


@functools.cache
def _copy_options() -> tuple[str, ...]:
    is_gnu = "GNU" in run(["cp", "--version"], timeout=10, check=False).stdout
    # on btrfs and xfs the copies then share their blocks until somebody writes
    return ("-R", "-P", "--preserve=timestamps", "--reflink=auto") if is_gnu else ("-R", "-P", "-p")


def publish_checkout(prepared: Prepared, hub: Path) -> None:
    """Mark a built checkout as ours and put it at its place."""
    _write_marker(prepared.git_dir, prepared.path.name, prepared.branch, hub)
    os.rename(prepared.git_dir, prepared.tree / ".git")
    publish(prepared.tree, prepared.path)


def inspect(path: Path) -> CheckoutFacts:
    """Look at what lies at a checkout's path without changing it."""
    if not path.is_symlink() and not path.exists():
        return CheckoutFacts(path, False)
    marker: dict[str, str] = {}
    with suppress(OSError, ValueError):
        read = json.loads((path / ".git" / MARKER).read_text(encoding="utf-8"))
        marker = read if isinstance(read, dict) else {}
    return CheckoutFacts(path, True, marker.get("environment", ""), marker.get("hub", ""))


def submodules(path: Path) -> tuple[str, ...]:
    """The paths of a checkout's submodules. GAIA does not initialise them: `git submodule update --init` does."""
    if not (path / ".gitmodules").is_file():
        return ()
    pattern = r"^submodule\..*\.path$"
    listed = checkout(path).text("config", "-z", "-f", path / ".gitmodules", "--get-regexp", pattern, check=False)
    return tuple(entry.split("\n", 1)[1] for entry in listed.split("\0") if "\n" in entry)


def has_large_files(path: Path) -> bool:
    """Whether git-lfs keeps files of this repository: they are left as pointers, `git lfs pull` fetches them."""
    try:
        return "filter=lfs" in (path / ".gitattributes").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _write_marker(git_dir: Path, environment: str, branch: str, hub: Path) -> None:
    marker = {"environment": environment, "branch": branch, "hub": str(hub)}
    (git_dir / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _choose_branch(prepared: Prepared, default: str) -> None:
    """HEAD on the environment's branch; a local copy of the default branch would only grow old."""
    heads = prepared.git_dir / "refs/heads"
    if (heads / default).is_file():  # refs are plain files in a clone made this moment: two git processes fewer
        (heads / default).unlink()
        (heads / prepared.branch).parent.mkdir(parents=True, exist_ok=True)
        (heads / prepared.branch).write_text(f"{prepared.sha}\n", encoding="ascii")
        (prepared.git_dir / "HEAD").write_text(f"ref: refs/heads/{prepared.branch}\n", encoding="utf-8")
        return
    repository = Repository(prepared.git_dir)
    repository.run("update-ref", f"refs/heads/{prepared.branch}", prepared.sha)
    repository.run("symbolic-ref", "HEAD", f"refs/heads/{prepared.branch}")
    if default != prepared.branch:
        repository.run("update-ref", "-d", f"refs/heads/{default}")


def _hash_name(sha: str) -> str:
    return "sha256" if len(sha) == 64 else "sha1"
