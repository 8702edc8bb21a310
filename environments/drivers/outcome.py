"""What every verb of git needs: what it looks at first, what it refuses, what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import Conflict, InvalidInput, NotFound
from environments.drivers.git import GitError, Output, Repository, checkout
from environments.drivers.git_locks import writing
from environments.drivers.interrupted import put_back
from environments.drivers.status import GitStatus, status

VERB_S = 600.0
"""Seconds for a command that may rewrite every file of a checkout."""
HOOKS_S = 1800.0
"""Seconds for a command that runs the project's own hooks."""

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


@dataclass(frozen=True)
class Look:
    """A checkout that only this verb writes in, and how it was when it began.

    Args:
        path: the checkout.
        repository: its repository.
        found: what git says of it.
        note: a sentence about what an interrupted git had left; empty when it had left nothing.
    """

    path: Path
    repository: Repository
    found: GitStatus
    note: str = ""

    def done(self, message: str, *, branch: str | None = None, snapshot: str = "", files: Sequence[str] = ()) -> Done:
        """What to return when something is different now."""
        told = f"{message}. {self.note}" if self.note else message
        now = self.found.branch if branch is None else branch
        return Done(True, told, self.found.head, head_of(self.repository), now, snapshot, tuple(files))

    def nothing(self, message: str) -> Done:
        """What to return when nothing had to be done."""
        nothing = Done(False, message, self.found.head, self.found.head, self.found.branch)
        return replace(nothing, changed=True, message=f"{message}. {self.note}") if self.note else nothing


@contextmanager
def looking(path: Path) -> Iterator[Look]:
    """Be the only verb in a checkout, and look at it.

    Raises: NotFound for what is no checkout; Conflict when others did not let go of it.
    """
    if not (path / ".git").exists():
        raise _unusable(path, "not a checkout" if path.exists() else "missing")
    repository = checkout(path)
    with writing(repository):
        note = put_back(repository)
        found = _status(path)
        yield Look(path, repository, found, note)


# -- refusing


def refuse_conflicts(found: GitStatus) -> None:
    if found.conflicts:
        listed = ", ".join(found.conflict_paths[:5])
        raise Conflicted(
            f"files have conflicts: {listed}",
            meaning="Nothing was done.",
            fix="Edit them, then continue; or abort.",
            files=list(found.conflict_paths),
            in_progress=found.in_progress,
        )


def refuse_unfinished(found: GitStatus) -> None:
    refuse_conflicts(found)
    if found.in_progress:
        raise unfinished(found)


def unfinished(found: GitStatus) -> Conflict:
    return Conflict(
        f"a {found.in_progress} is under way",
        meaning="Nothing was done.",
        fix="Continue or abort it first.",
        in_progress=found.in_progress,
    )


def detached(path: Path) -> Conflict:
    return Conflict(
        f"{path.name} has no branch checked out",
        meaning="Its HEAD is detached, so there is no branch to work with; nothing was done.",
        fix="Give its commits a branch: feature NAME --base HEAD",
    )


# -- telling what is left to decide


def check_outcome(look: Look, tried: Output, verb: str, snapshot: str) -> None:
    """Raise what a merge or rebase left to decide; one that git refused has changed nothing."""
    now = status(look.path)
    if now.conflicts:
        raise conflicted(now, look.path, snapshot, new=True)
    if tried.ok and "conflicts" not in tried.stderr:
        return
    if now.in_progress:
        raise Conflict(
            f"the {verb} in {look.path.name} stopped",
            meaning=tried.stderr.strip() or tried.stdout.strip(),
            fix=_next_steps(look.path),
            in_progress=now.in_progress,
            snapshot=snapshot,
        )
    if "untracked working tree files" in tried.stderr:
        raise Conflict(
            f"untracked files are in the way of the {verb}",
            meaning=f"{tried.stderr.strip()}\nNothing was done.",
            fix="Commit them, or move them away, then run this again.",
            snapshot=snapshot,
        )
    raise GitError(f"git {verb} failed", subcommand=verb, stderr=tried.stderr or tried.stdout, snapshot=snapshot)


def conflicted(
    found: GitStatus, path: Path, snapshot: str, *, files: Sequence[str] = (), new: bool = False
) -> Conflicted:
    """The error for files that two sides changed, with what to do next.

    Args:
        files: only these; default all.
        new: the verb has led to them; they did not wait there before.
    """
    names = list(files or found.conflict_paths)
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if found.in_progress:
        meaning, fix = f"The {found.in_progress} waits for you; nothing is lost.", _next_steps(path)
    else:
        meaning = "Uncommitted changes and new commits touch the same lines; nothing is lost."
        fix = "Edit them and `git add` each. What you had before is also on the stash and in the snapshot."
    return Conflicted(
        f"{path.name} has conflicts in {len(names)} {'file' if len(names) == 1 else 'files'}: {listed}",
        meaning=meaning,
        fix=fix,
        files=names,
        in_progress=found.in_progress,
        snapshot=snapshot,
        new=new,
    )


# -- asking git


def default_branch(repository: Repository) -> str:
    """The hub's default branch as the checkout knows it: `origin/main`."""
    named = repository.text("symbolic-ref", "-q", "--short", "refs/remotes/origin/HEAD", check=False)
    if not named:
        raise NotFound(
            "this checkout does not know the hub's default branch", fix="Run gaia env setup: it repairs the checkout."
        )
    return named


def head_of(repository: Repository) -> str:
    """The commit that is checked out; empty before the first one."""
    return repository.text("rev-parse", "-q", "--verify", "HEAD", check=False)


def branch_tip(repository: Repository, branch: str) -> str:
    """A local branch's commit; empty when there is none."""
    # no rev-parse: it takes `topic~1` for the name of a branch
    return repository.text("show-ref", "--verify", "--hash", f"refs/heads/{branch}", check=False)


def commit_of(repository: Repository, name: str) -> str:
    """The commit that a name means. Raises: InvalidInput."""
    sha = repository.text("rev-parse", "-q", "--verify", "--end-of-options", f"{name}^{{commit}}", check=False)
    if not sha or sha.startswith("^"):  # git takes ^HEAD for all that HEAD has not
        raise InvalidInput(f"there is no branch, tag or commit {name!r}", fix="gaia env git log shows what there is.")
    return sha


def elsewhere(repository: Repository) -> set[str]:
    """Branches that are checked out, or being rebased, in another work tree of this repository."""
    found, trees, prefix = set[str](), 0, "branch refs/heads/"
    for line in repository.lines("worktree", "list", "--porcelain", check=False):  # -z came with git 2.36
        trees += line.startswith("worktree ")
        if trees > 1 and line.startswith(prefix):  # the first is this one
            found.add(line.removeprefix(prefix))
    return found.union(*map(_rebased, (repository.git_dir / "worktrees").glob("*")))


def rebased(repository: Repository) -> set[str]:
    """The branch of a rebase or bisect under way here: it is not checked out, and needed to go back to."""
    return _rebased(repository.git_dir)


def _rebased(git_dir: Path) -> set[str]:
    found = set()
    for name in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        with suppress(OSError):
            text = (git_dir / name).read_text(encoding="utf-8", errors="surrogateescape")
            found.add(text.strip().removeprefix("refs/heads/"))
    return found


def identity(repository: Repository, author: Author) -> dict[str, str]:
    """Variables for a commit by somebody; git's own configuration wins."""
    known = repository.run("var", "GIT_COMMITTER_IDENT", config=("user.useConfigOnly=true",), check=False)
    return {} if known.ok else author.variables()


def _next_steps(path: Path) -> str:
    return (
        f"Edit the files in {path} (or `git add`, `git rm` those without markers), "
        f"then: gaia env git continue {path.name}\n"
        f"Or go back to how it was: gaia env git abort {path.name}"
    )


def _status(path: Path) -> GitStatus:
    found = status(path, timeout=VERB_S)
    if found.error:
        raise _unusable(path, found.error)
    return found


def _unusable(path: Path, why: str) -> NotFound:
    return NotFound(f"{path} cannot be used: {why}", fix="Run gaia env setup: it repairs checkouts.")
