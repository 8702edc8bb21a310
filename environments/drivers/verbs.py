"""What an operator does with git in a checkout, one function each; see integrate.py for merges and rebases.

A verb that could lose work is given a `keep` that takes a snapshot first. Each runs under the repository's lock (see
git_locks.py), so that verbs of GAIA come one after the other, and waits for an agent's git that is writing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import Conflict, InvalidInput, NotFound
from common.redaction import mask_url
from environments.drivers.git import GitError, Output, Repository, bare
from environments.drivers.git_locks import again_when_overtaken, run_patiently
from environments.drivers.integrate import abort, integrate, proceed, pull
from environments.drivers.outcome import (
    HOOKS_S,
    VERB_S,
    Author,
    Conflicted,
    Done,
    Keep,
    Look,
    branch_tip,
    check_outcome,
    commit_of,
    conflicted,
    default_branch,
    detached,
    elsewhere,
    head_of,
    identity,
    looking,
    rebased,
    refuse_conflicts,
    refuse_unfinished,
    unfinished,
)
from environments.drivers.overwriting import refuse_overwriting, written_by_checkout

__all__ = [
    "HOOKS_S",
    "MODES",
    "VERB_S",
    "Author",
    "Conflicted",
    "Done",
    "Keep",
    "abort",
    "clean",
    "clean_branches",
    "commit",
    "conflicted",
    "default_branch",
    "delete_branch",
    "feature",
    "integrate",
    "proceed",
    "pull",
    "push",
    "reset",
]
MODES = ("soft", "mixed", "hard")
_ENVIRONMENTS = "env/"


# -- commit


def commit(path: Path, message: str, *, author: Author, only_staged: bool = False) -> Done:
    """Commit what was changed, new files too; during a merge this ends it. Repositories inside stay out.

    Args:
        message: of the commit.
        author: used where git's configuration names none.
        only_staged: leave out what is not in the index.

    Returns: with `changed` False when there was nothing to commit.
    Raises: InvalidInput for an empty message; Conflicted while files are unmerged; GitError when a hook says no.
    """
    message = message.strip()
    if not message:
        raise InvalidInput("a commit needs a message", fix='Say what was done: -m "Fix the cache"')
    with looking(path) as look:
        found, repository = look.found, look.repository
        refuse_conflicts(found)
        if found.in_progress not in (None, "merge"):
            raise unfinished(found)
        if not only_staged:
            _stage(repository)
        if not found.in_progress and repository.run("diff", "--cached", "--quiet", check=False).ok:
            return look.nothing("There is nothing to commit")
        env = identity(repository, author)
        words = ("commit", "-q", "--no-gpg-sign", "-F", "-", "--cleanup=whitespace")
        made = run_patiently(repository, *words, stdin=message, env=env, timeout=HOOKS_S, own_hooks=True)
        if found.in_progress:  # what the merge had put aside is back now
            check_outcome(look, made, "merge", "")
        after = head_of(repository)
        listed = repository.run("diff-tree", "-r", "-z", "--name-only", "--no-commit-id", "--root", "-m", after).stdout
        files = sorted({name for name in listed.split("\0") if name})
        return look.done(f"Committed {after[:10]}: {message.splitlines()[0]}", files=files)


def _stage(repository: Repository) -> None:
    """Everything but repositories inside: git would note the commit they are at, and none of their files."""
    nested = [name.rstrip("/") for name in _untracked(repository) if name.endswith("/")]
    excluded = (f":(exclude,literal){name}" for name in nested)
    run_patiently(repository, "add", "-A", "--", ".", *excluded, timeout=VERB_S)


def _untracked(repository: Repository) -> list[str]:
    """Files that git neither knows nor ignores, and repositories inside, with a slash at their end."""
    listed = repository.run("ls-files", "-z", "--others", "--exclude-standard", timeout=VERB_S).stdout
    return [name for name in listed.split("\0") if name]


# -- branches


def feature(path: Path, name: str, *, base: str = "", keep: Keep | None = None) -> Done:
    """Start a branch from today's default branch and check it out, or check out the one there is.

    Args:
        name: `caching` makes `feature/caching`; a name with a slash is taken as it is.
        base: where it starts; empty means the hub's default branch.
        keep: takes a snapshot when commits without a branch are left.

    Raises: InvalidInput for a name git does not take or an unknown base; Conflict when uncommitted or ignored files
        would be overwritten, which are then as they were.
    """
    branch = name if "/" in name else f"feature/{name}"
    with looking(path) as look:
        found, repository = look.found, look.repository
        if not repository.run("check-ref-format", "--branch", branch, check=False).ok:
            fix = "Use letters, digits, dots, dashes and slashes."
            raise InvalidInput(f"{branch!r} is no name for a branch", fix=fix)
        refuse_unfinished(found)
        tip = branch_tip(repository, branch)
        if tip and found.branch == branch:
            return look.nothing(f"{branch} is checked out already")
        start = base or default_branch(repository)
        target = tip or commit_of(repository, start)
        words = (branch, "--") if tip else ("--no-track", "-b", branch, target)
        snapshot = keep(f"before feature {name}") if keep and _is_left(look, target) else ""
        _switch(repository, words)
        told = f"{branch} is checked out" if tip else f"{branch} starts from {start}"
        return look.done(told, branch=branch, snapshot=snapshot)


def _is_left(look: Look, target: str) -> bool:
    """Whether the commit that is checked out is on no branch, nor in the one that will be."""
    head, repository = look.found.head, look.repository
    if not look.found.detached or repository.run("merge-base", "--is-ancestor", head, target, check=False).ok:
        return False
    return not repository.text("for-each-ref", "--count=1", f"--contains={head}", "refs/heads", "refs/remotes")


def _switch(repository: Repository, words: Sequence[str]) -> None:
    try:
        run_patiently(repository, "checkout", "-q", "--no-overwrite-ignore", *words, timeout=VERB_S)
    except GitError as error:
        if "would be overwritten" not in error.stderr and "would lose untracked" not in error.stderr:
            raise
        raise Conflict(
            "uncommitted or ignored files are in the way of the other branch",
            meaning=error.stderr,
            fix="Commit them first, or put them aside with: git stash -u. Ignored ones have to be moved away.",
        ) from error


def delete_branch(path: Path, branch: str, keep: Keep) -> Done:
    """Delete a local branch after its commits are in a snapshot.

    Raises: NotFound; Conflict when it is checked out, or got new commits meanwhile.
    """
    with looking(path) as look:
        tip = branch_tip(look.repository, branch)
        if not tip:
            raise NotFound(f"there is no branch {branch!r} in {path.name}")
        if branch in {look.found.branch, *elsewhere(look.repository), *rebased(look.repository)}:
            raise Conflict(
                f"{branch} is checked out in {path.name}", fix="Check out another branch first.", branch=branch
            )
        snapshot = keep(f"before branch --delete {branch}")
        if not _delete(look.repository, branch, tip):
            raise Conflict(
                f"{branch} has got new commits meanwhile", meaning="It was not deleted.", fix="Run it again."
            )
        return look.done(f"{branch} is deleted", snapshot=snapshot)


def clean_branches(path: Path, hub: Path, *, spare: Collection[str]) -> Done:
    """Delete the local branches whose commits the hub's default branch has, all of them.

    Args:
        hub: the project's bare repository; it is asked, not what the checkout remembers of it.
        spare: branches to leave alone; the one checked out and those of environments are left alone anyway.

    Returns: the deleted branches as `files`.
    Raises: GitError when the hub cannot be read.
    """
    with looking(path) as look:
        repository = look.repository
        merged = _merged_branches(repository, hub)
        for branch in {look.found.branch, *spare, *elsewhere(repository), *rebased(repository)}:
            merged.pop(branch, None)
        gone = [
            branch
            for branch, tip in sorted(merged.items())
            if not branch.startswith(_ENVIRONMENTS) and _delete(repository, branch, tip)
        ]
        if not gone:
            return look.nothing("No branch is merged and can go")
        word = "branch" if len(gone) == 1 else "branches"
        return look.done(f"{len(gone)} merged {word} deleted: {', '.join(gone)}", files=gone)


def _merged_branches(repository: Repository, hub: Path) -> dict[str, str]:
    tip = bare(hub).text("rev-parse", "--verify", "HEAD^{commit}")
    listed = repository.lines("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")
    tips = [line.split(" refs/heads/", 1) for line in listed]
    return {
        branch: commit
        for commit, branch in tips
        if bare(hub).run("merge-base", "--is-ancestor", commit, tip, check=False).ok
    }


def _delete(repository: Repository, branch: str, tip: str) -> bool:
    """Delete a branch that is still at that commit; whether it was."""
    # a branch may be only another name of one, which stays
    words = ("update-ref", "--no-deref", "-d", f"refs/heads/{branch}", tip)
    if not run_patiently(repository, *words, timeout=VERB_S, check=False).ok:
        return False
    run_patiently(repository, "config", "--remove-section", f"branch.{branch}", timeout=VERB_S, check=False)
    return True


# -- taking back


def reset(path: Path, keep: Keep, *, to: str = "HEAD", mode: str = "mixed") -> Done:
    """Move the branch, and with `mixed` the index, and with `hard` the files; how it was is in a snapshot.

    Raises: InvalidInput for an unknown mode or commit; Conflict while a rebase is under way, or when ignored files or
        repositories inside would be overwritten.
    """
    if mode not in MODES:
        raise InvalidInput(f"there is no mode {mode!r}", fix=f"Modes: {', '.join(MODES)}.")
    with looking(path) as look:
        found, repository = look.found, look.repository
        if found.in_progress and not (found.in_progress == "merge" and mode == "hard"):
            raise unfinished(found)
        target = commit_of(repository, to)
        if target == found.head and (not found.dirty or (mode == "soft")):
            return look.nothing(f"{path.name} is at {to} already")
        if mode == "hard":
            refuse_overwriting(repository, written_by_checkout(repository, target), by="reset --hard")
        snapshot = keep(f"before reset --{mode} {to}")
        run_patiently(repository, "reset", "-q", f"--{mode}", target, timeout=VERB_S)
        kept = _keep_overtaken(repository, found.head, target)
        return look.done(f"{path.name} is reset to {target[:10]} ({mode}){kept}", snapshot=snapshot)


def _keep_overtaken(repository: Repository, expected: str, target: str) -> str:
    """A branch for what somebody committed after the snapshot and before the reset; a few words about it."""
    left = repository.text("rev-parse", "-q", "--verify", "ORIG_HEAD", check=False)  # written by the reset itself
    if left in ("", expected) or repository.run("merge-base", "--is-ancestor", left, target, check=False).ok:
        return ""
    branch = f"kept/{left[:10]}"
    run_patiently(repository, "update-ref", f"refs/heads/{branch}", left, timeout=VERB_S)
    return f"; what was committed meanwhile is on branch {branch}"


def clean(path: Path, keep: Keep) -> Done:
    """Remove files that git neither knows nor ignores; they are in a snapshot. Ignored files stay."""
    with looking(path) as look:
        names = [name for name in _untracked(look.repository) if not name.endswith("/")]
        before = {name: _facts(path / name) for name in names}
        if not names:
            return look.nothing("There is nothing to clean")
        snapshot = keep("before clean")
        # `git clean` would also take what somebody has written since the snapshot
        gone = [name for name in names if before[name] and _facts(path / name) == before[name]]
        for name in gone:
            _remove(path, name)
        told = f"{len(gone)} untracked {'file' if len(gone) == 1 else 'files'} removed"
        return look.done(told, snapshot=snapshot, files=gone)


def _facts(file: Path) -> tuple[int, ...]:
    try:
        facts = file.lstat()
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _remove(top: Path, name: str) -> None:
    """Remove a file and the directories that are empty then."""
    with suppress(FileNotFoundError):
        (top / name).unlink()
    with suppress(OSError):  # not empty
        for parent in Path(name).parents[:-1]:
            os.rmdir(top / parent)


# -- push


def push(path: Path, *, protected: Sequence[str], force: bool = False, hub: Path | None = None) -> Done:
    """Push the branch that is checked out to the hub.

    Args:
        protected: branches that nobody pushes to from an environment.
        force: replace what the hub has, if that is what this checkout last saw there.
        hub: what `origin` has to be.

    Raises: Conflict when no branch is checked out, the branch is protected, `origin` is another repository, or the hub
        has commits this one lacks; GitError when the hub cannot be reached.
    """
    with looking(path) as look:
        branch, repository = look.found.branch, look.repository
        if not branch:
            raise detached(path)
        if branch in protected:
            raise Conflict(
                f"{branch} is protected",
                meaning="It does not move by a push from an environment; nothing was pushed.",
                fix="Put the commits on a branch of their own: feature NAME, then push.",
            )
        if hub is not None:
            _refuse_another_origin(path, repository, hub)
        # asked, not remembered: somebody may have deleted it there
        listed = repository.run("ls-remote", "origin", f"refs/heads/{branch}", timeout=VERB_S).stdout.split()
        if listed[:1] == [look.found.head]:
            return look.nothing(f"The hub has all of {branch}")
        seen = repository.text("rev-parse", "-q", "--verify", f"refs/remotes/origin/{branch}", check=False)
        lease = [f"--force-with-lease={branch}:{seen if listed else ''}"] if force else []
        tried = again_when_overtaken(lambda: _push(repository, branch, lease))
        if not tried.ok:
            raise _not_pushed(tried, branch)
        return Done(True, f"{branch} is pushed: {look.found.head[:10]}", seen, look.found.head, branch)


def _push(repository: Repository, branch: str, lease: Sequence[str]) -> Output:
    words = ("push", "-q", "--porcelain", *lease, "origin", f"refs/heads/{branch}:refs/heads/{branch}")
    return run_patiently(repository, *words, timeout=HOOKS_S, check=False, own_hooks=True)


def _refuse_another_origin(path: Path, repository: Repository, hub: Path) -> None:
    """An agent may have pointed it at the source: what is pushed there has not reached the hub."""
    places = repository.lines("remote", "get-url", "--push", "--all", "origin", check=False)
    if [Path(place).resolve() for place in places] != [hub.resolve()]:
        raise Conflict(
            f"origin of {path.name} is not the project's hub",
            meaning=f"It is {' and '.join(map(mask_url, places)) or 'missing'}; nothing was pushed.",
            fix=f"Point it there: git -C {shlex.quote(str(path))} remote set-url origin {shlex.quote(str(hub))}",
        )


def _not_pushed(tried: Output, branch: str) -> Conflict | GitError:
    said = tried.stdout + tried.stderr
    if "[rejected]" in said or "stale info" in said:
        return Conflict(
            f"the hub has commits of {branch} that this checkout lacks",
            meaning="Nothing was pushed and nothing overwritten.",
            fix="Pull first, then push again. After a rebase of your own: push --force-with-lease.",
            branch=branch,
        )
    return GitError("git push failed", subcommand="push", stderr=tried.stderr or tried.stdout)
