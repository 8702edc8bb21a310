"""Bringing the commits of others into a checkout's branch, and ending what waits for a decision."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import Conflict, InvalidInput
from environments.drivers.git import Output, Repository
from environments.drivers.git_locks import is_locked, run_patiently, wait_for_git
from environments.drivers.interrupted import put_back
from environments.drivers.outcome import (
    VERB_S,
    Author,
    Done,
    Keep,
    Look,
    check_outcome,
    commit_of,
    conflicted,
    default_branch,
    detached,
    identity,
    looking,
    refuse_unfinished,
)
from environments.drivers.overwriting import (
    refuse_overwriting,
    written_by_checkout,
    written_by_merge,
    written_by_replay,
)
from environments.drivers.status import status

_TRIES = 20
_REMOTES = "refs/remotes/"
_BINARY_BYTES = 8000  # git looks at as many


def pull(path: Path, keep: Keep, *, author: Author, rebase: bool = False) -> Done:
    """Bring in what others pushed to the same branch of the hub; remote-tracking branches are up to date already.

    Raises: Conflict when no branch is checked out, or ignored files are in the way; Conflicted.
    """
    with looking(path) as look:
        if not look.found.branch:
            raise detached(path)
        theirs = f"{_REMOTES}origin/{look.found.branch}"  # a branch here may be called origin/… itself
        if not look.repository.text("rev-parse", "-q", "--verify", theirs, check=False):
            return look.nothing(f"The hub has no branch {look.found.branch} yet: push makes it")
        return _bring_in(look, theirs, keep, author, rebase, verb="pull")


def integrate(path: Path, keep: Keep, *, author: Author, rebase: bool = False, onto: str = "", verb: str) -> Done:
    """Bring today's default branch into the branch that is checked out, by a merge or by a rebase onto it.

    Args:
        onto: another branch or commit.
        verb: what people asked for: sync or rebase.

    Raises: InvalidInput for an unknown `onto`; Conflict when no branch is checked out, or ignored files are in the way;
        Conflicted.
    """
    with looking(path) as look:
        if not look.found.branch:
            raise detached(path)
        theirs = onto or default_branch(look.repository)
        return _bring_in(look, theirs, keep, author, rebase, verb=verb)


def proceed(path: Path, *, author: Author) -> Done:
    """Go on with the merge, rebase, cherry-pick or revert under way: files without conflict markers count as resolved.

    A binary file has none, nor has one that the other side deleted: these have to be edited, added or removed first.

    Raises: Conflict when nothing is under way; Conflicted while something is left to decide, or when the next commit
        has conflicts.
    """
    with looking(path) as look:
        found, repository = look.found, look.repository
        if not found.in_progress or found.in_progress == "bisect":
            raise _nothing_under_way(path)
        unmerged = _unmerged(repository)
        left = [name for name, blobs in unmerged.items() if _is_left(repository, path, name, blobs)]
        if left:
            raise conflicted(found, path, "", files=left)
        if unmerged:
            names = (f":(literal){name}" for name in unmerged)
            run_patiently(repository, "add", "-A", "--", *names, timeout=VERB_S)
        env = {**identity(repository, author), "GIT_EDITOR": "true"}
        tried = run_patiently(repository, found.in_progress, "--continue", env=env, timeout=VERB_S, check=False)
        now = status(path)
        if found.in_progress == "rebase" and now.in_progress and not now.conflicts and "--skip" in tried.stdout:
            # the commit became empty
            tried = run_patiently(repository, "rebase", "--skip", env=env, timeout=VERB_S, check=False)
        check_outcome(look, tried, found.in_progress, "")
        return look.done(f"The {found.in_progress} is done", branch=status(path).branch)


def abort(path: Path, keep: Keep) -> Done:
    """Give up the merge, rebase, cherry-pick, revert or bisect under way; what was resolved so far is in a snapshot.

    Raises: Conflict when nothing is under way, or ignored files are in the way of what it goes back to.
    """
    with looking(path) as look:
        under_way = look.found.in_progress
        if not under_way:
            raise _nothing_under_way(path)
        names = written_by_checkout(look.repository, _began_at(look.repository))
        refuse_overwriting(look.repository, names, by=f"{under_way} --abort")
        snapshot = keep(f"before {under_way} --abort")
        words = ("bisect", "reset") if under_way == "bisect" else (under_way, "--abort")
        tried = run_patiently(look.repository, *words, timeout=VERB_S)
        if "conflicts" in tried.stderr:  # what had been put aside does not fit any more
            check_outcome(look, tried, under_way, snapshot)
        return look.done(f"The {under_way} is given up", branch=status(path).branch, snapshot=snapshot)


def _began_at(repository: Repository) -> str:
    """The commit that giving up goes back to."""
    for name in ("rebase-merge/orig-head", "rebase-apply/orig-head", "sequencer/head", "BISECT_START"):
        with suppress(OSError, UnicodeDecodeError, InvalidInput):
            return commit_of(repository, (repository.git_dir / name).read_text(encoding="utf-8").strip())
    return "HEAD"


def _bring_in(look: Look, theirs: str, keep: Keep, author: Author, rebase: bool, *, verb: str) -> Done:
    repository, found = look.repository, look.found
    refuse_unfinished(found)
    if not found.head:
        raise Conflict(f"{found.branch} has no commit yet", meaning="Nothing was done.", fix="Make one first: commit.")
    target, theirs = commit_of(repository, theirs), theirs.removeprefix(_REMOTES)
    base = repository.text("merge-base", found.head, target, check=False)
    if base == target:
        return look.nothing(f"{found.branch} has all of {theirs}")
    forward = base == found.head
    _refuse_overwriting(look, target, base, rebase, verb)
    snapshot = keep(f"before {verb}") if found.dirty or (rebase and not forward) else ""
    env = {**identity(repository, author), "GIT_EDITOR": "true"}
    tried = _autostash(look, ("rebase", "-q", target), env) if rebase else _merge(look, theirs, target, env)
    check_outcome(look, tried, "rebase" if rebase else "merge", snapshot)
    count = repository.text("rev-list", "--count", f"{found.head}..{target}")
    how = "rebased onto" if rebase else "has"
    new = "1 new commit" if count == "1" else f"{count} new commits"
    return look.done(f"{found.branch} {how} {theirs}: {new}", snapshot=snapshot)


def _refuse_overwriting(look: Look, target: str, base: str, rebase: bool, verb: str) -> None:
    repository = look.repository
    if rebase:
        names = written_by_checkout(repository, target) | written_by_replay(repository, target)
    else:
        names = written_by_merge(repository, target, base)
    if look.found.staged:  # putting changes aside brings back what was removed from the index
        names |= written_by_checkout(repository, "HEAD")
    refuse_overwriting(repository, names, by=verb)


def _merge(look: Look, theirs: str, target: str, env: dict[str, str]) -> Output:
    """Files with changes stay as they lie there unless the merge needs them: programs that watch them see nothing."""
    words = (
        "merge",
        "-q",
        "--ff",
        "--no-edit",
        "--no-gpg-sign",
        "-m",
        f"Merge {theirs} into {look.found.branch}",
        target,
    )
    tried = run_patiently(look.repository, *words, env=env, timeout=VERB_S, check=False)
    if not tried.ok and "local changes" in tried.stderr and not status(look.path).in_progress:
        tried = _autostash(look, words, env)
    return tried


def _autostash(look: Look, words: Sequence[str], env: dict[str, str]) -> Output:
    """Put changes aside, do it, and bring them back.

    An agent's `git status` holds the index for a moment, now and then: what stopped because of that is done again.
    """
    repository = look.repository
    tried = repository.run(words[0], "--autostash", *words[1:], env=env, timeout=VERB_S, check=False)
    for _ in range(_TRIES):
        if tried.ok or not is_locked(tried.stderr):
            break
        wait_for_git(repository.git_dir)
        if status(look.path).in_progress == "rebase":
            again: tuple[str, ...] = ("rebase", "--continue")
        else:
            put_back(repository)
            again = (words[0], "--autostash", *words[1:])
        tried = repository.run(*again, env=env, timeout=VERB_S, check=False)
    return tried


def _nothing_under_way(path: Path) -> Conflict:
    return Conflict(f"{path.name} has no merge or rebase under way", meaning="There is nothing to continue or abort.")


def _unmerged(repository: Repository) -> dict[str, dict[str, str]]:
    """The files in conflict: stage (1 base, 2 ours, 3 theirs) → blob."""
    found: dict[str, dict[str, str]] = {}
    for entry in repository.run("ls-files", "-z", "--unmerged", timeout=VERB_S).stdout.split("\0"):
        if entry:
            facts, name = entry.split("\t", 1)
            _, blob, stage = facts.split(" ")
            found.setdefault(name, {})[stage] = blob
    return found


def _is_left(repository: Repository, path: Path, name: str, blobs: dict[str, str]) -> bool:
    """Whether a file in conflict still waits: it has markers, or it cannot have any and is as git left it."""
    file = path / name
    try:
        text = b"" if file.is_symlink() else _read(file)
    except OSError:  # deleted, or no file any more: that is a decision
        return False
    if {"2", "3"} <= blobs.keys() and b"\0" not in text[:_BINARY_BYTES]:
        return _has_markers(text)
    if file.is_symlink():
        return False
    return repository.text("hash-object", "--", file) in blobs.values()


def _read(file: Path) -> bytes:
    """What is in a file. Raises: OSError, for a pipe too, which would be waited for."""
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(f"{file} is no file")
        return opened.read()


def _has_markers(text: bytes) -> bool:
    lines = text.splitlines()
    return any(line.startswith(b"<<<<<<< ") for line in lines) and any(line.startswith(b">>>>>>> ") for line in lines)
