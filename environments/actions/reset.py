"""Asking for environments to be put back to a fresh state: the same numbers, ports and branches, nothing lost."""

from __future__ import annotations

from typing import Any

from common.errors import Conflict, NotFound
from environments.actions.setup import chosen_environments, requested_before
from environments.models import Environment, Layer, Stage
from environments.wording import so_many
from processes.actions.operations import request_operation
from processes.models import Operation
from processes.states import OperationState
from projects.models import Project

KIND = "environment.reset"
_BROKEN_OFF = (OperationState.FAILED, OperationState.CANCELLED)


def plan_reset(project: Project, names: list[str] | None = None) -> list[str]:
    """Which environments a reset would make anew; touches nothing.

    Args:
        names: which of the project's (dev1, demo-dev1 …); None means all, and those that a reset which was broken off
            has removed and not made again.

    Raises: NotFound when a name is none of its environments.
    """
    lost = _left_by_the_last(project)
    wanted = None if names is None else [name for name in names if name not in lost]
    live = [] if wanted == [] else [each.name for each in chosen_environments(project, wanted)]
    again = [name for name in lost if names is None or name in names]
    return sorted({*live, *again}, key=number_of)


def request_reset(
    project: Project, names: list[str] | None = None, *, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for environments to be made anew: work is salvaged, databases are backed up, then all is made again.

    Raises: NotFound when a name is none of its environments, or there are none; Conflict when another operation is at
    the project, or one of them is in the making.
    """
    known = requested_before(idempotency_key)
    if known is not None:
        return known
    chosen = plan_reset(project, names)
    if not chosen:
        raise NotFound(f"{project.name} has no environments", fix="Make some: gaia env setup.")
    return request_operation(
        KIND,
        f"Reset of {so_many(len(chosen))} of {project.name}",
        subject=f"project/{project.name}",
        params={"project": project.name, "names": chosen},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def number_of(name: str) -> int:
    """The number of an environment by its name: 3 of `dev3`. Raises: Conflict for a name that GAIA did not give."""
    number = name.removeprefix("dev")
    if not number.isdigit():
        raise Conflict(f"{name} is not an environment that GAIA has numbered", fix="Remove it: gaia env clean.")
    return int(number)


def removed_ones(project: Project, names: list[str]) -> list[str]:
    """Those of the names that are not there."""
    live = {environment.name for environment in chosen_environments(project)}
    return [name for name in names if name not in live]


def had_https(environment: Environment) -> list[Stage]:
    """The stages of an environment that served HTTPS in its life before."""
    lives = Environment.objects.filter(project=environment.project_id, name=environment.name)
    before = lives.exclude(pk=environment.pk).order_by("-id").first()
    names = before.stages.filter(https=True).values_list("name", flat=True) if before else ()
    return list(environment.stages.filter(name__in=list(names)).select_related("environment__project"))


def had_layer(environment: Environment) -> Layer | None:
    """The layer of an environment's life before; None when it is in that one."""
    lives = Environment.objects.filter(project=environment.project_id, name=environment.name)
    before = lives.exclude(pk=environment.pk).select_related("layer").order_by("-id").first()
    return before.layer if before is not None and before.layer_name != environment.layer_name else None


def _left_by_the_last(project: Project) -> list[str]:
    """What the last reset was to make again and did not, when it was broken off and nothing was set up since."""
    subject = f"project/{project.name}"
    last: Any = Operation.objects.filter(subject=subject, kind__startswith="environment").order_by("-id").first()
    if last is None or last.kind != KIND or last.state not in _BROKEN_OFF:
        return []
    missing = removed_ones(project, list(last.params["names"]))
    return [name for name in missing if Environment.objects.filter(project=project, name=name).exists()]
