"""What became of environments, written by compare-and-swap with its event; and the exported master configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.files import write_json
from environments.drivers.status import GitStatus
from environments.models import Environment, GitSnapshot, Stage
from environments.overview import environments_overview
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES, EnvironmentState
from events import log
from events.models import Level
from processes.actions.nodes import ensure_node
from processes.actions.ports import lease_ports, release_ports
from projects.models import Project


def record_intents(project: Project, planned: Sequence[Mapping[str, Any]]) -> list[Environment]:
    """Rows, stages and port leases for planned environments; what is there already is kept.

    Raises: Conflict when a port is held by somebody else.
    """
    environments = [_intend(project, number, plan) for number, plan in enumerate(planned, 1)]
    stages = Stage.objects.filter(environment__in=environments).select_related("environment")
    lease_ports(ensure_node(), {stage.owner: stage.port for stage in stages})
    return environments


def _intend(project: Project, number: int, plan: Mapping[str, Any]) -> Environment:
    known = Environment.objects.filter(project=project, name=plan["name"], state__in=ENVIRONMENT_ACTIVE).first()
    if known is not None:
        return known
    with log.atomic():
        environment = Environment.objects.create(
            project=project, name=plan["name"], number=number, path=plan["path"], branch=plan["branch"]
        )
        Stage.objects.bulk_create(
            Stage(
                environment=environment, name=name, port=plan["ports"][name], database=f"data/{name}/{project.name}.db"
            )
            for name in STAGE_NAMES
        )
        log.emit("environment.requested", subject=environment.key, message=f"{environment.directory} is being made")
    return environment


def record_ready(environment: Environment, message: str = "") -> bool:
    """It is as it should be."""
    return _move(
        environment,
        (EnvironmentState.CREATING, EnvironmentState.DAMAGED),
        EnvironmentState.READY,
        kind="environment.ready",
        message=message or f"{environment.directory} is ready",
        fields={"problem": ""},
    )


def record_damaged(environment: Environment, problem: str) -> bool:
    """Something of it is missing or broken; `gaia env setup` repairs it."""
    return _move(
        environment,
        (EnvironmentState.CREATING, EnvironmentState.READY, EnvironmentState.REMOVING),
        EnvironmentState.DAMAGED,
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
    return _move(
        environment,
        (EnvironmentState.CREATING, EnvironmentState.READY, EnvironmentState.DAMAGED),
        EnvironmentState.REMOVING,
        kind="environment.removing",
        message=f"{environment.directory} is being removed",
    )


def record_removed(environment: Environment, *, trash: Path | None, salvage: Mapping[str, Any] | None) -> bool:
    """It is gone; its ports are free again, its unpushed work is in the hub, its tree in the trash."""
    kept = f"; its work is salvaged as {salvage['name']}" if salvage else "; it had no work that the hub does not have"
    release_ports(environment.key)
    return _move(
        environment,
        (EnvironmentState.REMOVING,),
        EnvironmentState.REMOVED,
        kind="environment.removed",
        message=f"{environment.directory} was removed{kept}",
        fields={"removed_at": timezone.now()},
        trash=str(trash) if trash else None,
        salvage=dict(salvage) if salvage else None,
    )


def record_git(statuses: Mapping[int, GitStatus]) -> None:
    """What git says now, by environment id; when it was asked is stored too, so that every door can show the age."""
    now = timezone.now()
    rows = [
        GitSnapshot(
            environment_id=pk,
            branch=status.branch,
            head=status.head,
            ahead=status.ahead,
            behind=status.behind,
            staged=status.staged,
            unstaged=status.unstaged,
            untracked=status.untracked,
            conflicts=status.conflicts,
            detached=status.detached,
            in_progress=status.in_progress or "",
            error=status.error or "",
            checked_at=now,
        )
        for pk, status in statuses.items()
    ]
    fields = [field.name for field in GitSnapshot._meta.concrete_fields if field.name not in {"id", "environment"}]
    GitSnapshot.objects.bulk_create(rows, update_conflicts=True, unique_fields=["environment"], update_fields=fields)


def export() -> bool:
    """Write `data/environments.json`, the master configuration for tools that read files; True when it changed."""
    exported = [
        {
            "project": each["project"],
            "name": each["name"],
            "directory": each["directory"],
            "path": each["path"],
            "branch": each["branch"],
            "stages": {
                stage["name"]: {"port": stage["port"], "url": stage["url"], "database": stage["database"]}
                for stage in each["stages"]
            },
        }
        for each in environments_overview()
    ]
    return write_json(settings.GAIA.home.data / "environments.json", {"version": 1, "environments": exported})


def _move(
    environment: Environment,
    before: Sequence[str],
    after: str,
    *,
    kind: str,
    message: str,
    level: str = Level.INFO,
    fields: Mapping[str, Any] | None = None,
    **data: Any,
) -> bool:
    changes = {"state": after, **(fields or {})}
    with log.atomic():
        changed = Environment.objects.filter(pk=environment.pk, state__in=before).update(**changes)
        if changed:
            log.emit(kind, subject=environment.key, message=message, level=level, **data)
    for name, value in changes.items() if changed else ():
        setattr(environment, name, value)
    return bool(changed)
