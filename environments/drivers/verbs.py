"""What an operator does with git in a checkout, one function each.

A verb that could lose work is given a `keep` that takes a snapshot first. Each runs under the repository's lock (see
git_locks.py), so that verbs of GAIA come one after the other, and waits for an agent's git that is writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import Conflict, InvalidInput, NotFound
from environments.drivers.git import GitError, Output, Repository, checkout
from environments.drivers.git_locks import patiently, writing
from environments.drivers.status import GitStatus, status

VERB_S = 600.0
"""Seconds for a command that may rewrite every file of a checkout."""
HOOKS_S = 1800.0
"""Seconds for a command that runs the project's own hooks."""
MODES = ("soft", "mixed", "hard")

Keep = Callable[[str], str]
"""Takes a snapshot for a reason and returns its name."""


@dataclass(frozen=True)
class Done:
    """What a verb did.

    Args:
        changed: whether anything is different now.
        message: one sentence for people.
        before: the commit that was checked out.
        after: the one that is.
        branch: the branch checked out now; empty when detached.
        snapshot: name of the snapshot taken before; empty when nothing could be lost.
        files: what it concerned.
    """

    changed: bool
    message: str
    before: str
    after: str
    branch: str
    snapshot: str = ""
    files: tuple[str, ...] = ()


class Conflicted(Conflict):
    """Two sides changed the same lines: somebody has to decide. `detail` has `files` and `in_progress`."""

    code = "git_conflicts"


@dataclass(frozen=True)
class Author:
    """Who a commit is by, where git's own configuration does not say."""

    name: str
    email: str

    def variables(self) -> dict[str, str]:
        return {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", self.name), ("EMAIL", self.email))
        }


# -- commit


def commit(path: Path, message: str, *, author: Author, only_staged: bool = False) -> Done:
    """Commit what was changed, new files too; during a merge this ends it.

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
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        _refuse_conflicts(found)
        if found.in_progress not in (None, "merge"):
            raise _unfinished(found)
        if not only_staged:
            patiently(lambda: repository.run("add", "-A", "--", ".", timeout=VERB_S), repository.git_dir)
        if not found.in_progress and repository.run("diff", "--cached", "--quiet", check=False).ok:
            return _nothing(found, "There is nothing to commit")
        env = _identity(repository, author)
        words = ("commit", "-q", "--no-gpg-sign", "-F", "-", "--cleanup=strip")
        repository.run(*words, stdin=message, env=env, timeout=HOOKS_S, own_hooks=True)
        after = _head(repository)
        listed = repository.run("diff-tree", "-r", "-z", "--name-only", "--no-commit-id", "--root", "-m", after).stdout
        files = tuple(sorted({name for name in listed.split("\0") if name}))
        subject = message.splitlines()[0]
        return Done(True, f"Committed {after[:10]}: {subject}", found.head, after, found.branch, files=files)


# -- branches


def feature(path: Path, name: str, *, base: str = "") -> Done:
    """Start a branch from today's default branch and check it out, or check out the one there is.

    Args:
        name: `caching` makes `feature/caching`; a name with a slash is taken as it is.
        base: where it starts; empty means the hub's default branch.

    Raises: InvalidInput for a name git does not take or an unknown base; Conflict when uncommitted changes would be
    overwritten, which are then as they were.
    """
    branch = name if "/" in name else f"feature/{name}"
    repository = checkout(path)
    if not repository.run("check-ref-format", "--branch", branch, check=False).ok:
        raise InvalidInput(f"{branch!r} is no name for a branch", fix="Use letters, digits, dots, dashes and slashes.")
    with writing(repository):
        found = _look(path)
        _refuse_unfinished(found)
        if _branch_tip(repository, branch):
            if found.branch == branch:
                return _nothing(found, f"{branch} is checked out already")
            words: tuple[str, ...] = ("checkout", "-q", branch, "--")
            told = f"{branch} is checked out"
        else:
            start = _commit_of(repository, base or default_branch(repository))
            words = ("checkout", "-q", "--no-track", "-b", branch, start)
            told = f"{branch} starts from {base or default_branch(repository)}"
        _switch(repository, words)
        return Done(True, told, found.head, _head(repository), branch)


def delete_branch(path: Path, branch: str, keep: Keep) -> Done:
    """Delete a local branch after its commits are in a snapshot.

    Raises: NotFound; Conflict when it is checked out.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not _branch_tip(repository, branch):
            raise NotFound(f"there is no branch {branch!r} in {path.name}")
        if found.branch == branch:
            raise Conflict(
                f"{branch} is checked out in {path.name}", fix="Check out another branch first.", branch=branch
            )
        snapshot = keep(f"before branch --delete {branch}")
        patiently(lambda: repository.run("branch", "-q", "-D", "--", branch), repository.git_dir)
        return Done(True, f"{branch} is deleted", found.head, found.head, found.branch, snapshot)


# -- bringing changes in


def pull(path: Path, keep: Keep, *, author: Author, rebase: bool = False) -> Done:
    """Bring in what others pushed to the same branch of the hub; remote-tracking branches are up to date already.

    Raises: Conflict when no branch is checked out; Conflicted.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not found.branch:
            raise _detached(path)
        theirs = f"refs/remotes/origin/{found.branch}"
        if not repository.text("rev-parse", "-q", "--verify", theirs, check=False):
            return _nothing(found, f"The hub has no branch {found.branch} yet: push makes it")
        return _bring_in(repository, path, found, f"origin/{found.branch}", keep, author, rebase, verb="pull")


def integrate(path: Path, keep: Keep, *, author: Author, rebase: bool = False, onto: str = "", verb: str) -> Done:
    """Bring today's default branch into the branch that is checked out, by a merge or by a rebase onto it.

    Args:
        onto: another branch or commit.
        verb: what people asked for: sync or rebase.

    Raises: InvalidInput for an unknown `onto`; Conflict when no branch is checked out; Conflicted.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not found.branch:
            raise _detached(path)
        theirs = onto or default_branch(repository)
        _commit_of(repository, theirs)
        return _bring_in(repository, path, found, theirs, keep, author, rebase, verb=verb)


def _bring_in(
    repository: Repository, path: Path, found: GitStatus, theirs: str, keep: Keep, author: Author, rebase: bool,
    *, verb: str,
) -> Done:  # fmt: skip
    _refuse_unfinished(found)
    target = _commit_of(repository, theirs)
    if repository.run("merge-base", "--is-ancestor", target, "HEAD", check=False).ok:
        return _nothing(found, f"{found.branch} has all of {theirs}")
    forward = repository.run("merge-base", "--is-ancestor", "HEAD", target, check=False).ok
    snapshot = keep(f"before {verb}") if found.dirty or (rebase and not forward) else ""
    env = {**_identity(repository, author), "GIT_EDITOR": "true"}
    words = ("rebase", "-q", "--autostash", target) if rebase else (
        "merge", "-q", "--autostash", "--no-edit", "--no-gpg-sign", "-m", f"Merge {theirs} into {found.branch}", target,
    )  # fmt: skip
    tried = repository.run(*words, env=env, timeout=VERB_S, check=False)
    _check_outcome(repository, path, tried, words[0], snapshot)
    after = _head(repository)
    count = repository.text("rev-list", "--count", f"{found.head}..{target}")
    how = "rebased onto" if rebase else "has"
    new = "1 new commit" if count == "1" else f"{count} new commits"
    return Done(True, f"{found.branch} {how} {theirs}: {new}", found.head, after, found.branch, snapshot)


def _check_outcome(repository: Repository, path: Path, tried: Output, verb: str, snapshot: str) -> None:
    """Raise what a merge or rebase left to decide; one that git refused has changed nothing."""
    now = status(path)
    if now.conflicts:
        raise conflicted(now, path, snapshot)
    if tried.ok and "conflicts" not in tried.stderr:
        return
    if now.in_progress:
        raise Conflict(
            f"the {verb} in {path.name} stopped",
            meaning=tried.stderr.strip() or tried.stdout.strip(),
            fix=_next_steps(path),
            in_progress=now.in_progress,
            snapshot=snapshot,
        )
    raise GitError(f"git {verb} failed", subcommand=verb, stderr=tried.stderr or tried.stdout, snapshot=snapshot)


# -- what a merge or rebase left to decide


def proceed(path: Path, *, author: Author) -> Done:
    """Go on with the merge, rebase, cherry-pick or revert under way: files without conflict markers count as resolved.

    Raises: Conflict when nothing is under way; Conflicted while markers are left, or when the next commit has some.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not found.in_progress or found.in_progress == "bisect":
            raise _nothing_under_way(path)
        left = [name for name in found.conflict_paths if _has_markers(path / name)]
        if left:
            raise conflicted(found, path, "", files=left)
        if found.conflict_paths:
            repository.run("add", "-A", "--", *(f":(literal){name}" for name in found.conflict_paths), timeout=VERB_S)
        env = {**_identity(repository, author), "GIT_EDITOR": "true"}
        tried = repository.run(found.in_progress, "--continue", env=env, timeout=VERB_S, check=False)
        now = status(path)
        if found.in_progress == "rebase" and now.in_progress and not now.conflicts and "--skip" in tried.stdout:
            tried = repository.run("rebase", "--skip", env=env, timeout=VERB_S, check=False)  # the commit became empty
        _check_outcome(repository, path, tried, found.in_progress, "")
        now = status(path)
        return Done(True, f"The {found.in_progress} is done", found.head, now.head, now.branch)


def abort(path: Path, keep: Keep) -> Done:
    """Give up the merge, rebase, cherry-pick, revert or bisect under way; what was resolved so far is in a snapshot.

    Raises: Conflict when nothing is under way.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not found.in_progress:
            raise _nothing_under_way(path)
        snapshot = keep(f"before {found.in_progress} --abort")
        words = ("bisect", "reset") if found.in_progress == "bisect" else (found.in_progress, "--abort")
        patiently(lambda: repository.run(*words, timeout=VERB_S), repository.git_dir)
        now = status(path)
        return Done(True, f"The {found.in_progress} is given up", found.head, now.head, now.branch, snapshot)


# -- taking back


def reset(path: Path, keep: Keep, *, to: str = "HEAD", mode: str = "mixed") -> Done:
    """Move the branch, and with `mixed` the index, and with `hard` the files; how it was is in a snapshot.

    Raises: InvalidInput for an unknown mode or commit; Conflict while a rebase is under way.
    """
    if mode not in MODES:
        raise InvalidInput(f"there is no mode {mode!r}", fix=f"Modes: {', '.join(MODES)}.")
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if found.in_progress and not (found.in_progress == "merge" and mode == "hard"):
            raise _unfinished(found)
        target = _commit_of(repository, to)
        if target == found.head and (not found.dirty or (mode == "soft")):
            return _nothing(found, f"{path.name} is at {to} already")
        snapshot = keep(f"before reset --{mode} {to}")
        patiently(lambda: repository.run("reset", "-q", f"--{mode}", target, timeout=VERB_S), repository.git_dir)
        return Done(True, f"{path.name} is reset to {target[:10]} ({mode})", found.head, target, found.branch, snapshot)


def clean(path: Path, keep: Keep) -> Done:
    """Remove files that git neither knows nor ignores; they are in a snapshot. Ignored files stay."""
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        listed = repository.run("ls-files", "-z", "--others", "--exclude-standard", timeout=VERB_S).stdout
        names = tuple(name for name in listed.split("\0") if name and not name.endswith("/"))
        if not names:
            return _nothing(found, "There is nothing to clean")
        snapshot = keep("before clean")
        repository.run("clean", "-q", "-f", "-d", timeout=VERB_S)
        word = "file" if len(names) == 1 else "files"
        told = f"{len(names)} untracked {word} removed"
        return Done(True, told, found.head, found.head, found.branch, snapshot, names)


# -- push


def push(path: Path, *, protected: Sequence[str], force: bool = False) -> Done:
    """Push the branch that is checked out to the hub.

    Args:
        protected: branches that nobody pushes to from an environment.
        force: replace what the hub has, if that is what this checkout last saw there.

    Raises: Conflict when no branch is checked out, the branch is protected, or the hub has commits this one lacks.
    """
    repository = checkout(path)
    with writing(repository):
        found = _look(path)
        if not found.branch:
            raise _detached(path)
        if found.branch in protected:
            raise Conflict(
                f"{found.branch} is protected",
                meaning="It does not move by a push from an environment; nothing was pushed.",
                fix="Put the commits on a branch of their own: feature NAME, then push.",
            )
        tracked = f"refs/remotes/origin/{found.branch}"
        seen = repository.text("rev-parse", "-q", "--verify", tracked, check=False)
        if seen == found.head:
            return _nothing(found, f"The hub has all of {found.branch}")
        lease = [f"--force-with-lease={found.branch}:{seen}"] if force else []
        words = ("push", "-q", "--porcelain", *lease, "origin", f"HEAD:refs/heads/{found.branch}")
        tried = patiently(
            lambda: repository.run(*words, timeout=HOOKS_S, check=False, own_hooks=True), repository.git_dir
        )
        if not tried.ok:
            raise _not_pushed(tried, found.branch)
        return Done(True, f"{found.branch} is pushed: {found.head[:10]}", seen, found.head, found.branch)


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


# -- shared


def conflicted(found: GitStatus, path: Path, snapshot: str, *, files: Sequence[str] = ()) -> Conflicted:
    """The error for files that two sides changed, with what to do next."""
    names = list(files or found.conflict_paths)
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if found.in_progress:
        fix = _next_steps(path)
    else:
        fix = "Edit them and `git add` each. What you had before is also on the stash and in the snapshot."
    return Conflicted(
        f"{path.name} has conflicts in {len(names)} {'file' if len(names) == 1 else 'files'}: {listed}",
        meaning=f"The {found.in_progress} waits for you; nothing is lost."
        if found.in_progress
        else "Uncommitted changes and new commits touch the same lines; nothing is lost.",
        fix=fix,
        files=names,
        in_progress=found.in_progress,
        snapshot=snapshot,
    )


def default_branch(repository: Repository) -> str:
    """The hub's default branch as the checkout knows it: `origin/main`."""
    named = repository.text("symbolic-ref", "-q", "--short", "refs/remotes/origin/HEAD", check=False)
    if not named:
        raise NotFound(
            "this checkout does not know the hub's default branch", fix="Run gaia env setup: it repairs the checkout."
        )
    return named


def _next_steps(path: Path) -> str:
    return (
        f"Edit the files in {path}, then: gaia env git continue {path.name}\n"
        f"Or go back to how it was: gaia env git abort {path.name}"
    )


def _look(path: Path) -> GitStatus:
    found = status(path, timeout=VERB_S)
    if found.error:
        raise NotFound(f"{path} cannot be used: {found.error}", fix="Run gaia env setup: it repairs checkouts.")
    return found


def _refuse_conflicts(found: GitStatus) -> None:
    if found.conflicts:
        listed = ", ".join(found.conflict_paths[:5])
        raise Conflicted(
            f"files have conflicts: {listed}",
            meaning="Nothing was done.",
            fix="Edit them, then continue; or abort.",
            files=list(found.conflict_paths),
            in_progress=found.in_progress,
        )


def _refuse_unfinished(found: GitStatus) -> None:
    _refuse_conflicts(found)
    if found.in_progress:
        raise _unfinished(found)


def _unfinished(found: GitStatus) -> Conflict:
    return Conflict(
        f"a {found.in_progress} is under way",
        meaning="Nothing was done.",
        fix="Continue or abort it first.",
        in_progress=found.in_progress,
    )


def _nothing_under_way(path: Path) -> Conflict:
    return Conflict(f"{path.name} has no merge or rebase under way", meaning="There is nothing to continue or abort.")


def _detached(path: Path) -> Conflict:
    return Conflict(
        f"{path.name} has no branch checked out",
        meaning="Its HEAD is detached, so there is no branch to work with; nothing was done.",
        fix="Give its commits a branch: feature NAME --base HEAD",
    )


def _nothing(found: GitStatus, message: str) -> Done:
    return Done(False, message, found.head, found.head, found.branch)


def _head(repository: Repository) -> str:
    return repository.text("rev-parse", "--verify", "HEAD")


def _branch_tip(repository: Repository, branch: str) -> str:
    return repository.text("rev-parse", "-q", "--verify", f"refs/heads/{branch}", check=False)


def _commit_of(repository: Repository, name: str) -> str:
    sha = repository.text("rev-parse", "-q", "--verify", "--end-of-options", f"{name}^{{commit}}", check=False)
    if not sha:
        raise InvalidInput(f"there is no branch, tag or commit {name!r}", fix="gaia env git log shows what there is.")
    return sha


def _switch(repository: Repository, words: Sequence[str]) -> None:
    try:
        patiently(lambda: repository.run(*words, timeout=VERB_S), repository.git_dir)
    except GitError as error:
        if "would be overwritten" not in error.stderr:
            raise
        raise Conflict(
            "uncommitted changes are in the way of the other branch",
            meaning=error.stderr,
            fix="Commit them first, or put them aside with: git stash -u",
        ) from error


def _identity(repository: Repository, author: Author) -> dict[str, str]:
    """Variables for a commit by somebody; git's own configuration wins."""
    known = repository.run("var", "GIT_COMMITTER_IDENT", config=("user.useConfigOnly=true",), check=False)
    return {} if known.ok else author.variables()


def _has_markers(file: Path) -> bool:
    try:
        text = file.read_bytes()
    except OSError:  # deleted: that is a decision
        return False
    lines = text.splitlines()
    return any(line.startswith(b"<<<<<<< ") for line in lines) and any(line.startswith(b">>>>>>> ") for line in lines)
