"""The git verbs of an environment, each with its event; what could be lost is in a snapshot before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.errors import Conflict, GaiaError, InvalidInput, NotFound
from common.text import decodable
from environments import reconcile
from environments.drivers import history, snapshots, verbs
from environments.drivers.follow import follow_hub
from environments.drivers.git import bare, checkout
from environments.drivers.hub import HubState, create_or_update_hub
from environments.drivers.publish import publish, says_publish
from environments.drivers.snapshots import Snapshot
from environments.drivers.source import resolve_source
from environments.drivers.verbs import Author, Conflicted, Done, Keep
from environments.models import Environment
from environments.states import EnvironmentState
from events import log
from events.actor import current_actor
from events.models import Level
from projects.models import Project

PROTECTED = ("main", "master", "dev", "qa", "prod")
"""Branches that no push from an environment moves, whatever the default branch is called (invariant 9)."""


@dataclass(frozen=True)
class Told:
    """What a verb did, for every door."""

    environment: str
    verb: str
    changed: bool
    message: str
    branch: str
    before: str
    after: str
    snapshot: str
    files: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def commit(environment: Environment, message: str, *, only_staged: bool = False) -> Told:
    """Commit what was changed. Raises: see `verbs.commit`."""
    return _do(
        environment, "commit", lambda path: verbs.commit(path, message, author=author(), only_staged=only_staged)
    )


def feature(environment: Environment, name: str, *, base: str = "") -> Told:
    """Start a branch from today's default branch, or check out the one there is. Raises: see `verbs.feature`."""
    return _do(environment, "feature", lambda path: verbs.feature(path, name, base=base, keep=_keeper(environment)))


def delete_branch(environment: Environment, branch: str) -> Told:
    """Delete a local branch; its commits are in a snapshot. Raises: see `verbs.delete_branch`."""

    def keep(reason: str) -> str:
        return snapshots.take_branch_snapshot(
            Path(environment.path), environment.project.hub, branch,
            name=environment.directory, reason=reason, actor=current_actor(),
        )  # fmt: skip

    return _do(environment, "branch --delete", lambda path: verbs.delete_branch(path, branch, keep))


def clean_branches(environment: Environment) -> Told:
    """Delete the local branches that the hub's default branch has all commits of. Raises: see `verbs.clean_branches`.

    The one checked out, the environment's own, other environments' and protected ones stay.
    """
    project = environment.project
    spare = (*PROTECTED, project.default_branch, environment.branch)
    _require_hub(project)
    return _do(environment, "clean --branches", lambda path: verbs.clean_branches(path, project.hub, spare=spare))


def pull(environment: Environment, *, rebase: bool = False) -> Told:
    """Bring in what others pushed to the same branch of the hub. Raises: see `verbs.pull`."""

    def act(path: Path) -> Done:
        _learn(environment)
        return verbs.pull(path, _keeper(environment), author=author(), rebase=rebase)

    return _do(environment, "pull", act)


def rebase(environment: Environment, *, onto: str = "") -> Told:
    """Put the branch's commits on top of today's default branch, or of another one. Raises: see `verbs.integrate`."""

    def act(path: Path) -> Done:
        _learn(environment)
        keep = _keeper(environment)
        return verbs.integrate(path, keep, author=author(), rebase=True, onto=onto, verb="rebase")

    return _do(environment, "rebase", act)


def sync(environment: Environment, *, rebase: bool = False, fetch: bool = True) -> Told:
    """Fetch the source into the hub and bring its default branch into the environment's.

    Args:
        fetch: off when the caller has fetched the source just now.

    Raises: see `verbs.integrate`; GitError when the source cannot be reached.
    """

    def act(path: Path) -> Done:
        if fetch:
            fetch_source(environment.project)
        _learn(environment)
        return verbs.integrate(path, _keeper(environment), author=author(), rebase=rebase, verb="sync")

    return _do(environment, "sync", act)


def proceed(environment: Environment) -> Told:
    """Go on with the merge or rebase under way. Raises: see `verbs.proceed`."""
    return _do(environment, "continue", lambda path: verbs.proceed(path, author=author()))


def abort(environment: Environment) -> Told:
    """Give up the merge or rebase under way. Raises: see `verbs.abort`."""
    return _do(environment, "abort", lambda path: verbs.abort(path, _keeper(environment)))


def reset(environment: Environment, *, to: str = "HEAD", mode: str = "mixed") -> Told:
    """Move the branch to a commit; how it was is in a snapshot. Raises: see `verbs.reset`."""
    return _do(environment, "reset", lambda path: verbs.reset(path, _keeper(environment), to=to, mode=mode))


def clean(environment: Environment) -> Told:
    """Remove files that git neither knows nor ignores; they are in a snapshot."""
    return _do(environment, "clean", lambda path: verbs.clean(path, _keeper(environment)))


def push(environment: Environment, *, force: bool = False) -> Told:
    """Push the branch to the hub, and on to the source when the project's gaia.yaml says so.

    Raises: see `verbs.push`; GitError when the source does not take it, which then is in the hub all the same.
    """
    project = environment.project
    protected = {*PROTECTED, project.default_branch}

    def act(path: Path) -> Done:
        _require_hub(project)
        done = verbs.push(path, protected=sorted(protected), force=force, hub=project.hub)
        try:
            if not says_publish(project.hub, project.default_branch):
                return done
        except InvalidInput as error:  # the commit that mends it must be possible to push
            return replace(done, message=f"{done.message}; not published: {error.what}")
        try:
            published = publish(
                project.hub, resolve_source(project.source, Path("/")), done.branch, force=force,
                timeout=settings.GAIA["environments.git_timeout"],
            )  # fmt: skip
        except GaiaError:
            _tell(environment, "push", done)  # the hub has it all the same
            raise
        if not published:
            return done
        return replace(done, changed=True, message=f"{done.message}; published to {project.source}")

    return _do(environment, "push", act)


def restore(environment: Environment, name: str) -> Told:
    """Make an environment as it was in a snapshot; how it is now is in another one. Raises: NotFound, Conflict."""
    hub = environment.project.hub
    snapshot = snapshots.find_snapshot(hub, name)

    def act(path: Path) -> Done:
        head = checkout(path).text("rev-parse", "-q", "--verify", "HEAD", check=False)
        before = snapshots.restore_snapshot(path, hub, snapshot, _keeper(environment))
        told = f"{environment.directory} is as it was in {name}"
        return Done(True, told, head, snapshot.head, snapshot.branch, before)

    return _do(environment, "restore", act)


def snapshot_of_now(environment: Environment, reason: str) -> str:
    """Keep an environment's work as it is now. Returns: the snapshot's name."""
    return _keeper(environment)(reason)


def list_snapshots(project: Project, environment: Environment | None = None) -> list[Snapshot]:
    """A project's snapshots, newest first, or those of one of its environments."""
    if not project.hub.is_dir():
        return []
    return snapshots.list_snapshots(project.hub, environment.directory if environment else "")


def drop_old_snapshots(project: Project) -> list[str]:
    """Forget snapshots older than the settings allow; the newest of each environment stay. Returns: their names."""
    if not project.hub.is_dir():
        return []
    gone = snapshots.drop_snapshots(
        project.hub,
        keep=settings.GAIA["environments.snapshots_kept"],
        older_than=timedelta(days=settings.GAIA["environments.snapshot_days"]),
        now=timezone.now(),
    )
    if gone:
        with log.atomic():
            log.emit(
                "snapshots.dropped",
                subject=f"project/{project.name}",
                message=f"{len(gone)} old snapshots of {project.name} were dropped",
                names=gone,
            )
    return gone


def fetch_source(project: Project) -> HubState:
    """Fetch a project's source into its hub. Raises: NotFound, GitError, Refused, Unavailable; the hub is as it was."""
    _require_hub(project)
    source = resolve_source(project.source, Path("/"))
    return create_or_update_hub(source, project.hub, timeout=settings.GAIA["environments.git_timeout"])


def commits(environment: Environment, *, limit: int = 30, since: str = "") -> list[history.Commit]:
    """The newest commits. Raises: see `history.log`."""
    return history.log(Path(environment.path), limit=limit, since=since)


def difference(environment: Environment, *, against: str = "changes") -> history.Diff:
    """What differs. Raises: see `history.diff`."""
    return history.diff(Path(environment.path), against=against)


def author() -> Author:
    """Who a commit is by where git is not told: whoever acts."""
    kind, _, name = current_actor().partition(":")
    return Author(name or kind, f"{name or kind}@localhost")


def _keeper(environment: Environment) -> Keep:
    return functools.partial(_take, environment)


def _take(environment: Environment, reason: str) -> str:
    return snapshots.take_snapshot(
        Path(environment.path),
        environment.project.hub,
        name=environment.directory,
        reason=reason,
        actor=current_actor(),
    )


def _learn(environment: Environment) -> bool:
    """The checkout knows what the hub has now. Raises: NotFound, GitError."""
    project = environment.project
    _require_hub(project)
    head = bare(project.hub).text("rev-parse", "--verify", f"refs/heads/{project.default_branch}")
    return follow_hub(
        Path(environment.path), project.hub, default_branch=project.default_branch, head=head, always=True
    )


def learn(environment: Environment) -> Told:
    """Let the checkout know what the hub has; its branch, index and files stay. Raises: NotFound, GitError."""

    def act(path: Path) -> Done:
        new = _learn(environment)
        head = checkout(path).text("rev-parse", "-q", "--verify", "HEAD", check=False)
        told = "knows what is new in the hub" if new else "knew all of the hub"
        return Done(False, f"{environment.directory} {told}", head, head, "")

    return _do(environment, "fetch", act)


def _require_hub(project: Project) -> None:
    if not (project.hub / "HEAD").is_file():
        raise NotFound(
            f"the hub of {project.name} is missing",
            meaning=f"There is no repository at {project.hub}; nothing was done.",
            fix="Put it back from a backup, or run gaia env setup: it makes a new one from the source.",
        )


def _do(environment: Environment, verb: str, act: Callable[[Path], Done]) -> Told:
    """Do it, tell it, and look at git again, so that every door shows how it is now."""
    if environment.state in (EnvironmentState.CREATING, EnvironmentState.REMOVING, EnvironmentState.REMOVED):
        raise Conflict(
            f"{environment.directory} is {environment.get_state_display().lower()}", meaning="Nothing was done."
        )
    try:
        done = act(Path(environment.path))
    except GaiaError as error:
        _tell_trouble(environment, verb, error)
        raise
    finally:
        reconcile.refresh_git([environment])
    _tell(environment, verb, done)
    return Told(
        environment.directory, verb, done.changed, decodable(done.message), decodable(done.branch), done.before,
        done.after, done.snapshot, [decodable(name) for name in done.files],
    )  # fmt: skip


def _tell(environment: Environment, verb: str, done: Done) -> None:
    """The event of a verb that changed something."""
    if not done.changed:
        return
    with log.atomic():
        log.emit(
            "environment.git",
            subject=environment.key,
            message=f"{environment.directory}: {decodable(done.message)}",
            verb=verb,
            before=done.before,
            after=done.after,
            branch=decodable(done.branch),
            snapshot=done.snapshot,
        )


def _tell_trouble(environment: Environment, verb: str, error: GaiaError) -> None:
    """New conflicts need a person, whoever asked for the verb; a refusal is only for who asked."""
    if not isinstance(error, Conflicted) or not error.detail.get("new"):
        return
    with log.atomic():
        log.emit(
            "environment.conflicts",
            subject=environment.key,
            message=f"{decodable(error.what)} ({verb})",
            level=Level.WARNING,
            verb=verb,
            files=[decodable(name) for name in error.detail["files"]],
            snapshot=error.detail.get("snapshot", ""),
        )
