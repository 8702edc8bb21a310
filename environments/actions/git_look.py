"""What doors show of git, asked now. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.errors import InvalidInput, NotFound
from environments.actions import git
from environments.actions.stages import find_environment
from environments.drivers.commit_diff import commit_diff, snapshot_diff
from environments.drivers.git import bare, checkout
from environments.drivers.history import Commit, Diff
from environments.drivers.snapshots import Snapshot, find_snapshot
from environments.drivers.status import GitStatus, status_many
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from projects.actions import find
from projects.models import Project


def live_environments(project: str | None = None) -> list[Environment]:
    """All of a project, or of every one. Raises: NotFound for a project that there is not."""
    live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git")
    if project:
        live = live.filter(project=find(project))
    return list(live.order_by("project__name", "number"))


def environment_meant(name: str | None, project: str | None, directory: Path) -> Environment:
    """The environment of that name; without one, that which a directory lies in.

    Raises: NotFound; Conflict when the name is not clear; InvalidInput when none was named and none is stood in.
    """
    if name:
        return find_environment(name, project)
    here = directory.resolve()
    for environment in live_environments(project):
        if here.is_relative_to(Path(environment.path).resolve()):
            return environment
    have = ", ".join(environment.directory for environment in live_environments(project))
    raise InvalidInput(
        "no environment was named, and you stand in none",
        meaning="Nothing was done.",
        fix=f"Name one of: {have}." if have else "Make some: gaia env setup.",
    )


def states(environments: Iterable[Environment]) -> dict[Environment, GitStatus]:
    """What git says of these checkouts now; trouble is in each one's `error`."""
    rows = list(environments)
    found = status_many([Path(each.path) for each in rows])
    return {each: found[Path(each.path)] for each in rows}


def state(environment: Environment) -> GitStatus:
    """What git says of one checkout now."""
    return states([environment])[environment]


def commits(environment: Environment, *, limit: int = 30, since: str = "") -> list[Commit]:
    """The newest commits. Raises: NotFound when the checkout is missing; see `history.log`."""
    _require_checkout(environment)
    return git.commits(environment, limit=limit, since=since)


def difference(environment: Environment, *, against: str = "changes") -> Diff:
    """What differs. Raises: NotFound when the checkout is missing; see `history.diff`."""
    _require_checkout(environment)
    return git.difference(environment, against=against)


def commit_difference(environment: Environment, commit: str) -> Diff:
    """What one commit changed. Raises: NotFound."""
    _require_checkout(environment)
    return commit_diff(checkout(Path(environment.path)), commit)


def snapshot_difference(project: Project, name: str) -> tuple[Snapshot, Diff]:
    """A snapshot, and what it holds that was in no commit. Raises: NotFound."""
    if not project.hub.is_dir():
        raise NotFound(f"there is no snapshot {name!r}", fix="gaia env snapshots lists them.")
    snapshot = find_snapshot(project.hub, name)
    return snapshot, snapshot_diff(bare(project.hub), snapshot.commit)


def newest_first(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Those of several projects in one list."""
    return sorted(snapshots, key=lambda snapshot: (snapshot.taken_at, snapshot.name), reverse=True)


def snapshot_owner(name: str) -> Environment:
    """The environment that a snapshot is of. Raises: NotFound."""
    directory = name.partition("/")[0]
    for environment in live_environments():
        if environment.directory == directory:
            return environment
    raise NotFound(
        f"there is no environment {directory!r} to restore {name} into",
        fix="gaia env snapshots lists what there is; gaia env setup makes a removed environment again.",
    )


def _require_checkout(environment: Environment) -> None:
    if not Path(environment.path, ".git").exists():
        raise NotFound(
            f"the checkout of {environment.directory} is missing",
            meaning=f"There is no repository at {environment.path}.",
            fix="Run gaia env setup: it makes it again.",
        )
