"""Snapshots: how a checkout was before a verb that could lose work, kept in the hub and brought back on demand.

A snapshot is one ref, `refs/snapshots/NAME/TIME`, on a commit in the shape of a stash entry (see changes.py) whose
first parent is the commit that was checked out. What it was taken for stands in its message:

    before reset --hard

    Branch: env/dev1
    Actor: user:alice
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from common.errors import Conflict, GaiaError, NotFound
from environments.drivers.changes import SNAPSHOT_S, Changes, commit_changes, commit_tree, find_changes
from environments.drivers.git import GitError, Output, Repository, bare, checkout
from environments.drivers.git_locks import is_overtaken, run_patiently, writing
from environments.drivers.interrupted import aside
from environments.drivers.outcome import branch_tip, elsewhere
from environments.drivers.overwriting import refuse_overwriting, written_by_checkout
from environments.drivers.salvage import RECEIVE, keep_large_files
from environments.drivers.trash import stamp

SNAPSHOT_ROOT = "refs/snapshots/"
_MOST_A_SECOND = 1000
_FIELD = "\x1f"
_FORMAT = _FIELD.join(
    ("%(refname)", "%(objectname)", "%(creatordate:unix)", "%(parent)", "%(contents:subject)", "%(contents:body)")
)
_TRAILER = re.compile(r"^(?P<name>Branch|Actor|Files): (?P<value>.*)$", re.MULTILINE)
_NAME = re.compile(r"[\w.-]+/\d{8}T\d{6}Z(?:-\d+)?")


@dataclass(frozen=True)
class Snapshot:
    """How a checkout was.

    Args:
        name: `ENVIRONMENT/TIME`, such as `shop-dev1/20250131T120000Z`.
        commit: of the snapshot.
        head: the commit that was checked out.
        branch: the branch; empty when detached.
        reason: what it was taken for.
        actor: who did that.
        taken_at: when.
        files: how many files were in no commit.
    """

    name: str
    commit: str
    head: str
    branch: str
    reason: str
    actor: str
    taken_at: datetime
    files: int


def take_snapshot(path: Path, hub: Path, *, name: str, reason: str, actor: str, now: datetime | None = None) -> str:
    """Keep everything of a checkout that a verb could lose; nothing in it is changed.

    Args:
        path: the checkout.
        hub: the project's bare repository.
        name: the environment's directory.
        reason: the verb, as "before reset --hard".

    Returns: the snapshot's name. When it returns, the hub has it.
    Raises: GitError; then the verb must not be done.
    """
    repository = checkout(path)
    changes = find_changes(repository)
    files = len(changes.uncommitted) + len(changes.untracked)
    branch = repository.text("symbolic-ref", "-q", "--short", "HEAD", check=False)
    message = _message(reason, Branch=branch, Actor=actor, Files=str(files))
    _store_aside(repository, hub, name, f"put aside, {reason}", branch, actor, now)
    return _store(repository, hub, name, commit_changes(repository, changes, message), now)


def _store_aside(
    repository: Repository, hub: Path, name: str, reason: str, branch: str, actor: str, now: datetime | None
) -> None:
    """What a merge or rebase under way has put aside is a snapshot of its own."""
    stash = aside(repository)
    if stash:
        parents = repository.text("rev-parse", f"{stash}^@").split()
        message = _message(reason, Branch=branch, Actor=actor, Files="1")
        _store(repository, hub, name, commit_tree(repository, f"{stash}^{{tree}}", message, *parents), now)


def take_branch_snapshot(
    path: Path, hub: Path, branch: str, *, name: str, reason: str, actor: str, now: datetime | None = None
) -> str:
    """Keep the commits of a branch that is not checked out. Like `take_snapshot`."""
    repository = checkout(path)
    tip = repository.text("rev-parse", "--verify", f"refs/heads/{branch}^{{commit}}")
    message = _message(reason, Branch=branch, Actor=actor, Files="0")
    return _store(repository, hub, name, commit_tree(repository, f"{tip}^{{tree}}", message, tip, tip), now)


def list_snapshots(hub: Path, name: str = "") -> list[Snapshot]:
    """The snapshots in a hub, newest first.

    Args:
        name: only those of this environment's directory.
    """
    below = f"{SNAPSHOT_ROOT}{name}/" if name else SNAPSHOT_ROOT
    listed = bare(hub).run("for-each-ref", "--sort=-refname", f"--format={_FORMAT}%00", below).stdout
    read = (_read(record.lstrip("\n")) for record in listed.split("\0") if record.strip())
    found = [snapshot for snapshot in read if snapshot]
    return sorted(found, key=lambda snapshot: (snapshot.taken_at, len(snapshot.name), snapshot.name), reverse=True)


def find_snapshot(hub: Path, name: str) -> Snapshot:
    """One snapshot by its name. Raises: NotFound."""
    if _NAME.fullmatch(name):
        for snapshot in list_snapshots(hub, name.partition("/")[0]):
            if snapshot.name == name:
                return snapshot
    raise NotFound(f"there is no snapshot {name!r}", fix="gaia env snapshots lists them.")


def restore_snapshot(path: Path, hub: Path, snapshot: Snapshot, keep: Callable[[str], str] | None = None) -> str:
    """Make a checkout as it was: branch, commit, index, files; untracked files that were not there then stay.

    Args:
        keep: takes a snapshot of how it is now; without it, the caller has done so.

    Returns: the name of the snapshot that `keep` took.
    Raises: Conflict when the branch is checked out elsewhere, ignored files would be overwritten, or the files do not
        fit; GitError.
    """
    repository = checkout(path)
    ref = SNAPSHOT_ROOT + snapshot.name
    with writing(repository):
        repository.run("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--", hub, ref, timeout=SNAPSHOT_S)
        _refuse_restoring(repository, snapshot)
        kept = keep(f"before restoring {snapshot.name}") if keep else ""
        try:
            _put_back(repository, hub, snapshot)
        except GaiaError as error:
            if kept:
                error.detail["snapshot"] = kept
                error.fix = f"{error.fix}\nHow it was before: gaia env snapshots restore {kept}".strip()
            raise
        return kept


def _put_back(repository: Repository, hub: Path, snapshot: Snapshot) -> None:
    path = repository.work_tree
    assert path is not None  # noqa: S101  # snapshots are of checkouts
    _keep_branch(path, hub, snapshot)
    _end_unfinished(repository)
    run_patiently(repository, "reset", "-q", "--hard", timeout=SNAPSHOT_S)
    _make_way(repository, path, snapshot.commit)
    words = ("-B", snapshot.branch) if snapshot.branch else ("--detach",)
    run_patiently(repository, "checkout", "-q", *words, snapshot.head, "--", timeout=SNAPSHOT_S)
    if snapshot.files:
        _apply(repository, snapshot)


def _refuse_restoring(repository: Repository, snapshot: Snapshot) -> None:
    if snapshot.branch in elsewhere(repository):
        raise Conflict(
            f"{snapshot.branch} is checked out in another work tree of this repository",
            meaning="Nothing was done.",
            fix="git worktree list shows which; check out another branch there.",
        )
    names: set[str] = set()
    untracked = repository.text("rev-parse", "-q", "--verify", f"{snapshot.commit}^3", check=False)
    for commit in filter(None, ("HEAD", snapshot.head, snapshot.commit, untracked)):
        names |= written_by_checkout(repository, commit)
    refuse_overwriting(repository, names, by=f"restoring {snapshot.name}")


def _keep_branch(path: Path, hub: Path, snapshot: Snapshot) -> None:
    """The branch of the snapshot may have gone on since, while another one is checked out."""
    repository = checkout(path)
    tip = branch_tip(repository, snapshot.branch) if snapshot.branch else ""
    for there in ("HEAD", snapshot.head):
        if not tip or repository.run("merge-base", "--is-ancestor", tip, there, check=False).ok:
            return
    reason = f"before restoring {snapshot.name} over {snapshot.branch}"
    take_branch_snapshot(path, hub, snapshot.branch, name=path.name, reason=reason, actor=snapshot.actor)


def _apply(repository: Repository, snapshot: Snapshot) -> None:
    for options in (("--index",), ()):
        with suppress(GitError):
            run_patiently(repository, "stash", "apply", "-q", *options, snapshot.commit, timeout=SNAPSHOT_S)
            return
    raise Conflict(
        f"the files of {snapshot.name} do not fit onto what {repository.work_tree} has now",
        meaning="Branch and commit are as they were; git left conflict markers, or some files where they were.",
        fix=f"Put them on a branch of their own: git checkout -b restored {snapshot.head} && "
        f"git stash apply --index {snapshot.commit}",
    )


def drop_snapshots(hub: Path, *, keep: int, older_than: timedelta, now: datetime) -> list[str]:
    """Forget the snapshots that are old and not among the newest of their environment.

    Args:
        keep: how many of each environment stay however old they are.
        older_than: the younger ones stay, however many there are.

    Returns: the names of those that are gone.
    """
    seen: dict[str, int] = {}
    old = []
    for snapshot in list_snapshots(hub):
        environment = snapshot.name.partition("/")[0]
        seen[environment] = seen.get(environment, 0) + 1
        if seen[environment] > keep and now - snapshot.taken_at > older_than:
            old.append(snapshot)
    if old:
        lines = "".join(f"delete {SNAPSHOT_ROOT}{each.name} {each.commit}\n" for each in old)
        run_patiently(bare(hub), "update-ref", "--stdin", stdin=lines, timeout=SNAPSHOT_S)
    return [each.name for each in old]


def _message(reason: str, **trailers: str) -> str:
    return f"{reason}\n\n" + "".join(f"{name}: {value}\n" for name, value in trailers.items())


def _store(repository: Repository, hub: Path, name: str, commit: str, now: datetime | None) -> str:
    """Push it under a name that nobody has taken; no lock is needed, so that a slow fetch keeps nobody waiting."""
    if not (hub / "HEAD").is_file():
        raise GitError(
            f"the hub {hub} is missing",
            subcommand="push",
            stderr="Snapshots are kept there; without one nothing is done that could lose work.",
            fix="Run gaia env setup: it makes the hub again.",
        )
    for number in range(1, _MOST_A_SECOND):
        full_name = f"{name}/{stamp(now)}" + (f"-{number}" if number > 1 else "")
        ref = SNAPSHOT_ROOT + full_name
        options = ("-q", "--porcelain", "--no-verify", f"--receive-pack={RECEIVE}", f"--force-with-lease={ref}:")
        wanted = ("push", *options, "--", hub, f"{commit}:{ref}")
        tried = run_patiently(repository, *wanted, timeout=SNAPSHOT_S, check=False)
        if tried.ok:
            keep_large_files(repository.git_dir, hub)
            return full_name
        if not _is_taken(tried) and not is_overtaken(tried.stdout + tried.stderr):
            break
    raise GitError("the snapshot could not be stored", subcommand="push", stderr=tried.stderr or tried.stdout)


def _is_taken(tried: Output) -> bool:
    """Whether the name is another snapshot's already; the very same one twice within a second is one."""
    return "stale info" in tried.stdout


def _read(record: str) -> Snapshot | None:
    """None for what is none: anybody can push something else to such a name."""
    with suppress(ValueError, OverflowError, OSError):
        return _understood(record)
    return None


def _understood(record: str) -> Snapshot:
    ref, commit, created, parents, subject, body = record.split(_FIELD, 5)
    told: Mapping[str, str] = {found["name"]: found["value"] for found in _TRAILER.finditer(body)}
    return Snapshot(
        name=ref.removeprefix(SNAPSHOT_ROOT),
        commit=commit,
        head=parents.split(" ")[0],
        branch=told.get("Branch", ""),
        reason=subject,
        actor=told.get("Actor", ""),
        taken_at=datetime.fromtimestamp(int(created)).astimezone(),
        files=int(told.get("Files", "0")),
    )


def _end_unfinished(repository: Repository) -> None:
    """A merge or rebase under way belongs to how it is now, and that is in a snapshot already."""
    for name, verb in (("rebase-merge", "rebase"), ("rebase-apply", "rebase")):
        if (repository.git_dir / name).is_dir():
            repository.run(verb, "--quit", check=False)
    for verb, name in (("merge", "MERGE_HEAD"), ("cherry-pick", "CHERRY_PICK_HEAD"), ("revert", "REVERT_HEAD")):
        if (repository.git_dir / name).exists():
            repository.run(verb, "--quit", check=False)


def _make_way(repository: Repository, path: Path, commit: str) -> None:
    """Untracked files would keep git from writing what the snapshot has in their place; a snapshot has them, too."""
    wanted: set[str] = set()
    for tree in (f"{commit}^1", commit, f"{commit}^3"):  # the last one is there when there were untracked files
        wanted |= set(repository.run("ls-tree", "-r", "-z", "--name-only", tree, check=False).stdout.split("\0"))
    above = {str(parent) for name in wanted for parent in Path(name).parents}
    changes: Changes = find_changes(repository)
    for name in changes.untracked:
        parents = [str(parent) for parent in Path(name).parents[:-1]]
        if name in wanted or name in above or not wanted.isdisjoint(parents):
            (path / name).unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                for parent in parents:
                    os.rmdir(path / parent)
