"""Verbs of git for all environments of a project: what is in the way in one of them stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from common.errors import GaiaError
from environments.actions.git import Told
from environments.actions.setup import chosen_environments, requested_before
from environments.drivers.verbs import Conflicted
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from environments.wording import so_many
from processes.actions.operations import request_operation
from processes.models import Operation
from projects.models import Project

SYNC, CLEAN_BRANCHES = "environments.sync", "environments.clean_branches"


def request_sync(
    project: Project,
    names: list[str] | None = None,
    *,
    merges: bool = True,
    rebase: bool = False,
    idempotency_key: str | None = None,
    detached: bool = True,
) -> Operation:
    """Ask for a sync of a project's environments, as a long operation; one at a time per project.

    Args:
        names: which of the project's (dev1, shop-dev1 …); None means all.
        merges: bring the default branch into each one's branch; off, only the hub and what the checkouts know of it
            are brought up to date, and their branches, index and files stay as they are.
        rebase: instead of a merge.

    Raises: NotFound when a name is not one of its environments; Conflict when another operation is at it.
    """
    chosen = chosen_environments(project, names)
    what = "Sync of" if merges else "Fetch for"
    return requested_before(idempotency_key) or request_operation(
        SYNC,
        f"{what} {so_many(len(chosen))} of {project.name}",
        subject=f"project/{project.name}",
        params={
            "project": project.name,
            "names": [each.name for each in chosen],
            "merges": merges,
            "rebase": rebase,
        },
        idempotency_key=idempotency_key,
        detached=detached,
    )


def request_clean_branches(project: Project, *, detached: bool = True) -> Operation:
    """Ask for merged branches to be deleted in all environments. Raises: Conflict when another operation is at it."""
    return request_operation(
        CLEAN_BRANCHES,
        f"Clean-up of merged branches of {project.name}",
        subject=f"project/{project.name}",
        params={"project": project.name},
        detached=detached,
    )


def projects_with_environments() -> list[Project]:
    """Those that have live environments."""
    return list(Project.objects.filter(environments__state__in=ENVIRONMENT_ACTIVE).distinct().order_by("name"))


def live_environments(project: Project, names: list[str] | None = None) -> list[Environment]:
    """A project's environments with what verbs need of them. Raises: NotFound for a name that it has not."""
    chosen = [each.pk for each in chosen_environments(project, names)]
    return list(Environment.objects.filter(pk__in=chosen).select_related("project", "git").order_by("number"))


def do_each(
    environments: Iterable[Environment], act: Callable[[Environment], Told]
) -> Iterator[tuple[Environment, dict[str, Any], GaiaError | None]]:
    """Do a verb in each, whatever becomes of it in the others.

    Yields: the environment; `{outcome, message, snapshot, files}`, where outcome is done, unchanged, conflicts or
        failed; and the error when it was one.
    """
    for environment in environments:
        try:
            told = act(environment)
        except GaiaError as error:
            outcome = "conflicts" if isinstance(error, Conflicted) else "failed"
            detail = {"snapshot": error.detail.get("snapshot", ""), "files": error.detail.get("files", [])}
            yield environment, {"outcome": outcome, "message": error.what, "fix": error.fix, **detail}, error
        else:
            outcome = "done" if told.changed else "unchanged"
            yield environment, {"outcome": outcome, **_told(told)}, None


def _told(told: Told) -> dict[str, Any]:
    return {"message": told.message, "snapshot": told.snapshot, "files": told.files}
