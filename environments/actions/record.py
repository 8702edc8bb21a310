"""What became of environments, written by compare-and-swap with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.utils import timezone

from environments.actions.places import ports_of
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES, EnvironmentState
from events import log
from events.models import Level
from processes.actions.nodes import ensure_node
from processes.actions.ports import check_free, lease_ports, release_ports
from projects import actions as projects
from projects.models import Project


def record_intents(
    name: str, source: str, planned: Sequence[Mapping[str, Any]], *, root: Path, base_port: int
) -> tuple[Project, list[Environment]]:
    """Rows of the project and its planned environments, their stages and port leases; what is there is kept.

    All of it or nothing: ports are leased in the same transaction, so that a port that somebody else holds leaves no
    environment without one. Whether anybody listens on them is found out before it: that takes its time, in which
    nobody else could write.

    Raises: Conflict when a port is held by somebody else, or the name belongs to another source.
    """
    node = ensure_node()
    check_free(node, ports_of(planned))
    with log.atomic():
        project = projects.register(name, source, root=root, base_port=base_port)
        environments = [_intend(project, int(plan["name"].removeprefix("dev")), plan) for plan in planned]
        stages = Stage.objects.filter(environment__in=environments).select_related("environment")
        lease_ports(node, {stage.owner: stage.port for stage in stages})
    return project, environments


def _intend(project: Project, number: int, plan: Mapping[str, Any]) -> Environment:
    known = Environment.objects.filter(project=project, name=plan["name"], state__in=ENVIRONMENT_ACTIVE).first()
    environment = known or Environment.objects.create(
        project=project, name=plan["name"], number=number, path=plan["path"], branch=plan["branch"]
    )
    have = set(environment.stages.values_list("name", flat=True)) if known else set()
    missing = [name for name in STAGE_NAMES if name not in have]
    Stage.objects.bulk_create(
        Stage(environment=environment, name=name, port=plan["ports"][name], database=f"data/{name}/{project.name}.db")
        for name in missing
    )
    if known is None:
        log.emit("environment.requested", subject=environment.key, message=f"{environment.directory} is being made")
    elif missing:
        record_repaired(environment, [f"stage {name}" for name in missing])
    if known is not None and (plan["action"] == "create" or known.state == EnvironmentState.REMOVING):
        _record_creating(environment)
    return environment


def _record_creating(environment: Environment) -> bool:
    """Its checkout is missing, or its removal was interrupted: it is made again."""
    return log.change(
        environment,
        EnvironmentState.CREATING,
        kind="environment.requested",
        message=f"{environment.directory} is being made again",
        fields={"problem": ""},
    )


def record_ready(environment: Environment, message: str = "") -> bool:
    """It is as it should be."""
    return log.change(
        environment,
        EnvironmentState.READY,
        kind="environment.ready",
        message=message or f"{environment.directory} is ready",
        fields={"problem": ""},
    )


def record_damaged(environment: Environment, problem: str, *, seen: Sequence[str] | None = None) -> bool:
    """Something of it is missing or broken; `gaia env setup` repairs it.

    Args:
        seen: the states in which what was seen means damage; None means any.
    """
    if environment.state == EnvironmentState.DAMAGED and environment.problem == problem:
        return False
    return log.change(
        environment,
        EnvironmentState.DAMAGED,
        before=seen,
        kind="environment.damaged",
        message=f"{environment.directory} is damaged: {problem}",
        level=Level.ERROR,
        fields={"problem": problem},
    )


def record_repaired(environment: Environment, what: Sequence[str]) -> None:
    """Parts of it were missing and were made again."""
    with log.atomic():
        log.emit(
            "environment.repaired",
            subject=environment.key,
            message=f"{environment.directory}: {', '.join(what)} made again",
            repaired=list(what),
        )


def record_removing(environment: Environment) -> bool:
    """Its removal has begun."""
    return log.change(
        environment,
        EnvironmentState.REMOVING,
        kind="environment.removing",
        message=f"{environment.directory} is being removed",
    )


def record_salvaged(environment: Environment, salvage: Mapping[str, Any]) -> None:
    """Its work is safe. Written before the checkout goes, so that a kill in between loses nobody the way back."""
    with log.atomic():
        Environment.objects.filter(pk=environment.pk).update(salvage=dict(salvage))
        log.emit(
            "environment.salvaged",
            subject=environment.key,
            message=f"The work in {environment.directory} is salvaged as {salvage['name']}",
            **salvage,
        )
    environment.salvage = dict(salvage)


def record_removed(environment: Environment, *, trash: Path | None, left: bool = False) -> bool:
    """It is gone; its ports are free again, its unpushed work is in the hub, its tree in the trash.

    Args:
        trash: where its tree lies.
        left: something that GAIA did not make lies at its path and was not touched.
    """
    salvage = environment.salvage
    kept = f"; its work is salvaged as {salvage['name']}" if salvage else ""
    told = f"; what lies at {environment.path} is not GAIA's and was left alone" if left else ""
    with log.atomic():
        release_ports(environment.key)
        return log.change(
            environment,
            EnvironmentState.REMOVED,
            kind="environment.removed",
            message=f"{environment.directory} was removed{kept}{told}",
            fields={"removed_at": timezone.now(), "problem": ""},
            trash=str(trash) if trash else None,
            salvage=salvage,
        )
