"""What every door shows of environments and stages: plain data, few queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import prefetch_related_objects

from environments.models import Environment, GitState, Stage
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES
from processes.models import Process
from processes.states import ProcessState
from services.models import Service
from services.states import ServiceKind

_TERMINATED = {143, -15}  # TERM: somebody asked it politely to end, as stop.sh does


def environments_overview(project: str | None = None) -> list[dict[str, Any]]:
    """Every live environment with git state and stages; four queries.

    Args:
        project: only this one's.
    """
    chosen = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git")
    if project:
        chosen = chosen.filter(project__name=project)
    return describe_all(chosen)


def describe_all(environments: Iterable[Environment]) -> list[dict[str, Any]]:
    """Environments as every door shows them; three queries for all of their stages, processes and services.

    Args:
        environments: with their projects and last snapshots (`select_related("project", "git")`).
    """
    rows = list(environments)
    prefetch_related_objects(rows, "stages")
    processes = processes_of(rows)
    services = services_of(stage.owner for each in rows for stage in each.stages.all())
    return [_describe(environment, processes, services) for environment in rows]


def processes_of(environments: Iterable[Environment]) -> dict[str, Process]:
    """The newest process of every stage, by the stage's key; one query.

    A directory's name is used again when an environment is removed and made anew: what ran before is not its doing.
    """
    made = {stage.owner: each.created_at for each in environments for stage in each.stages.all()}
    newest = Process.objects.newest_by_owner(made)
    return {owner: process for owner, process in newest.items() if process.created_at >= made[owner]}


def services_of(owners: Iterable[str]) -> dict[str, Service]:
    """The services of stages, by the stages' keys; one query. A stage that was never launched has none."""
    found = Service.objects.filter(owner__in=list(owners), kind=ServiceKind.STAGE)
    return {service.owner: service for service in found.defer("argv", "env", "secrets", "probes", "last_death")}


def _describe(environment: Environment, processes: dict[str, Process], services: dict[str, Service]) -> dict[str, Any]:
    git: GitState | None = getattr(environment, "git", None)
    return {
        "id": environment.pk,
        "project": environment.project.name,
        "name": environment.name,
        "directory": environment.directory,
        "path": environment.path,
        "branch": environment.branch,
        "layer": environment.layer_name,
        "state": environment.state,
        "problem": environment.problem,
        "git": _describe_git(git) if git else None,
        "stages": [
            describe_stage(stage, processes.get(stage.owner), services.get(stage.owner))
            for stage in in_order(environment.stages.all())
        ],
    }


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """dev, qa, staging, whatever ports they have moved to: tables have a column for each."""
    return sorted(stages, key=lambda stage: STAGE_NAMES.index(stage.name))


def _describe_git(git: GitState) -> dict[str, Any]:
    return {
        "branch": git.branch,
        "head": git.head,
        "ahead": git.ahead,
        "behind": git.behind,
        "staged": git.staged,
        "unstaged": git.unstaged,
        "untracked": git.untracked,
        "conflicts": git.conflicts,
        "dirty": git.dirty,
        "detached": git.detached,
        "in_progress": git.in_progress,
        "error": git.error,
        "checked_at": git.checked_at.isoformat(),
    }


def describe_one(stage: Stage, process: Process | None) -> dict[str, Any]:
    """One stage as every door shows it, with its service looked up."""
    return describe_stage(stage, process, services_of([stage.owner]).get(stage.owner))


def describe_stage(stage: Stage, process: Process | None, service: Service | None) -> dict[str, Any]:
    """One stage as every door shows it."""
    return {
        "id": stage.pk,
        "environment": stage.environment.directory,
        "project": stage.environment.project.name,
        "name": stage.name,
        "port": stage.port,
        "url": stage.url,
        "https": stage.https,
        # what it was given on the server of its layer, if that has one
        "database": stage.servers.get(stage.environment.layer_name, stage.database),
        "state": stage_state(process),
        "pid": process.pid if process and process.active else None,
        "since": _since(process),
        "origin": process.origin if process else None,
        "exit_code": process.exit_code if process else None,
        "problem": _problem(process),
        "log": process.log if process else "",
        "service": _describe_service(service) if service else None,
    }


def _describe_service(service: Service) -> dict[str, Any]:
    due = service.next_start_at
    return {
        "id": service.pk,
        "name": service.name,
        "state": service.state,
        "since": service.state_since.isoformat(),
        "problem": service.problem,
        "restarts": service.restarts,
        "failures": service.failures,
        "next_start_at": due.isoformat() if due else None,
    }


def stage_state(process: Process | None) -> str:
    """`running`, `starting`, `stopping`, `stopped` or `failed`, from the newest process of the stage."""
    if process is None:
        return "stopped"
    if process.active:
        return process.state
    asked = process.stop_requested_at is not None or process.exit_code in _TERMINATED
    clean = process.state == ProcessState.EXITED and process.exit_code == 0
    return "stopped" if asked or clean else "failed"


def _problem(process: Process | None) -> str:
    if process is None:
        return ""
    return process.problem or ("it ended by itself" if stage_state(process) == "failed" else "")


def _since(process: Process | None) -> str | None:
    if process is None:
        return None
    moment = process.started_at if process.active else process.ended_at
    return moment.isoformat() if moment else None
