"""Whether git can be used in an environment's checkout, and what in it waits for somebody."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from environments.drivers.checks import Subject
from environments.drivers.git import GitError, bare, checkout
from environments.drivers.git_locks import left_behind
from environments.drivers.status import GitStatus, status
from environments.findings import Finding, well
from environments.states import Verdict

_DAY_S = 86_400.0
_MOST_FILES = 500  # whose times are asked: more say no more
_SHOWN_FILES = 5


def check_git(one: Subject) -> list[Finding]:
    """git works; no conflict, half-done merge, detached HEAD, lock left behind; not too far behind."""
    if not one.is_there():
        return []
    found = status(one.path)
    if found.error:
        return [_unusable(one, found.error)]
    trouble = [*_half_done(one, found), *_lock(one)]
    if found.detached and not found.in_progress:
        trouble.append(_detached(one, found))
    if found.behind > one.limits.behind:
        trouble.append(_behind(one, found))
    notes = _lying_around(one) if found.dirty else []
    return [*trouble, *notes] or [well("git", _told(found))]


def check_hub(one: Subject) -> list[Finding]:
    """The hub answers, and the checkout's `origin` is the hub."""
    if not one.is_there():
        return []
    if not one.hub.is_dir():
        return [_no_hub(one, "is missing", "It was removed or its disk is not mounted.")]
    try:
        bare(one.hub).run("for-each-ref", "--count=1")
    except GitError as error:
        return [_no_hub(one, "cannot be used", error.meaning or error.what)]
    with suppress(GitError):  # a checkout that git cannot use is `check_git`'s to tell
        origin = checkout(one.path).text("config", "--get", "remote.origin.url", check=False)
        if origin and Path(origin) != one.hub:
            return [
                Finding(
                    "hub",
                    Verdict.WARNING,
                    f"origin of {one.directory} is {origin}, not the project's hub",
                    "Pushes and fetches go elsewhere, and ahead and behind say nothing.",
                    f"git -C {one.path} remote set-url origin {one.hub}",
                    "origin",
                )
            ]
    return [well("hub", "the hub answers")]


def _unusable(one: Subject, error: str) -> Finding:
    return Finding(
        "git",
        Verdict.FAILED,
        f"git cannot be used in {one.directory}: {error.splitlines()[0]}",
        "Nothing can be committed, pushed or salvaged there. Your files are as they were.",
        f"git -C {one.path} status && git -C {one.path} fsck",
        "unusable",
    )


def _half_done(one: Subject, found: GitStatus) -> Iterator[Finding]:
    doing = found.in_progress
    if found.conflicts:
        shown = ", ".join(found.conflict_paths[:_SHOWN_FILES])
        more = f" and {found.conflicts - _SHOWN_FILES} more" if found.conflicts > _SHOWN_FILES else ""
        files = "1 file is" if found.conflicts == 1 else f"{found.conflicts} files are"
        what = f"{files} in conflict in {one.directory}: {shown}{more}"
        meaning = f"A {doing} waits for somebody who settles it." if doing else "Nothing can be committed before."
        yield _warning(what, meaning, _way_out(one, doing), "conflicts")
    elif doing:
        what = f"a {doing} is under way in {one.directory}"
        yield _warning(what, "It was begun and neither finished nor given up.", _way_out(one, doing), "under-way")


def _way_out(one: Subject, doing: str | None) -> str:
    if doing in {"merge", "rebase"}:
        return f"gaia env git continue {one.directory}, or gaia env git abort {one.directory}"
    return f"git -C {one.path} status"


def _lock(one: Subject) -> Iterator[Finding]:
    for lock in left_behind(one.path / ".git"):
        name = lock.relative_to(one.path)
        what = f"{name} of {one.directory} was left behind by a git that was killed"
        # `git commit` with an editor open looks the same for as long as somebody writes the message
        meaning = "git refuses to write while it lies there. GAIA's own git verbs put it away."
        yield _warning(what, meaning, f"rm {lock}", "lock", passing=True)


def _detached(one: Subject, found: GitStatus) -> Finding:
    return _warning(
        f"{one.directory} is on no branch: HEAD is detached at {found.head[:9]}",
        "Commits made there now belong to no branch and are easily lost.",
        f"git -C {one.path} switch {one.branch}",
        "detached",
    )


def _behind(one: Subject, found: GitStatus) -> Finding:
    return _warning(
        f"{one.directory} is {found.behind} commits behind {found.upstream or 'the default branch'}",
        "The longer it waits, the more conflicts it will have.",
        f"gaia env git sync {one.directory}",
        "behind",
    )


def _lying_around(one: Subject) -> list[Finding]:
    """A note when the youngest uncommitted change is older than the limit; trouble in finding out is no fault."""
    youngest = 0.0
    with suppress(GitError):
        repository = checkout(one.path)
        changed = repository.run("diff", "--name-only", "-z", "HEAD", "--", check=False).stdout
        untracked = repository.run("ls-files", "--others", "--exclude-standard", "-z").stdout
        for name in [name for name in f"{changed}\0{untracked}".split("\0") if name][:_MOST_FILES]:
            with suppress(OSError):
                youngest = max(youngest, os.lstat(one.path / name).st_mtime)
    days = int((time.time() - youngest) / _DAY_S)
    if not youngest or days < one.limits.uncommitted_days:
        return []
    what = f"uncommitted work lies in {one.directory} since {days} days"
    fix = f"gaia env git commit {one.directory} -m MESSAGE"
    return [Finding("git", Verdict.OK, what, "Nobody has touched it meanwhile.", fix, "uncommitted", note=True)]


def _no_hub(one: Subject, what: str, meaning: str) -> Finding:
    told = f"the hub {one.hub} {what}"
    return Finding("hub", Verdict.FAILED, told, f"{meaning} Nothing can be pushed or synced.", one.repair, "missing")


def _warning(what: str, meaning: str, fix: str, fault: str, *, passing: bool = False) -> Finding:
    return Finding("git", Verdict.WARNING, what, meaning, fix, fault, passing=passing)


def _told(found: GitStatus) -> str:
    moved = [f"{number} {word}" for number, word in ((found.ahead, "ahead"), (found.behind, "behind")) if number]
    dirty = f"{found.dirty} changed files" if found.dirty else "clean"
    return ", ".join([f"git answers: {found.branch or 'no branch'}", *moved, dirty])
