"""The long operations of environments, run by `manage.py operate`: set-up and removal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from common.errors import GaiaError
from common.files import file_lock
from environments import reconcile
from environments.actions import record
from environments.actions.salvages import describe
from environments.actions.setup import plan_setup
from environments.drivers.build import Built, Target, build_all
from environments.drivers.salvage import salvage
from environments.drivers.source import resolve_source
from environments.drivers.stage_files import Layout
from environments.drivers.trash import move_to_trash
from environments.models import Environment
from environments.signals import environment_removing
from environments.states import ENVIRONMENT_ACTIVE
from processes.actions.operations import Progress
from processes.actions.stopping import stop_process
from processes.models import Process
from projects import actions as projects
from projects.models import Project


def set_up(progress: Progress, *, project: str, source: str, root: str, base_port: int, count: int) -> dict[str, Any]:
    """Make what is missing of a project's environments and repair what is damaged; change nothing else.

    Returns: `{created, repaired, unchanged, kept, failed, …}`, names of environments and what was done to them.
    Raises: GaiaError when the source or the hub cannot be used, or when any environment failed.
    """
    with _project_lock(project):
        progress(0, 1, "Looking at what is there")
        found = resolve_source(source, Path.cwd())
        plan = plan_setup(source=source, project=project, count=count, root=root, base_port=base_port)
        registered = projects.register(project, source, root=Path(root), base_port=base_port)
        environments = record.record_intents(registered, plan.environments)
        state, built = build_all(
            found,
            registered.hub,
            [_target(registered, environment) for environment in environments],
            lambda text, fraction: progress(fraction, 1.02, text),
            timeout=settings.GAIA["environments.git_timeout"],
        )
        projects.record_default_branch(registered, state.default_branch)
        result = _record(environments, built)
        reconcile.refresh_git([each for each in environments if each.name not in result["failed"]])
        result["exported"] = record.export()
        result |= {
            "project": project,
            "hub": str(registered.hub),
            "hub_created": state.created,
            "diverged": list(state.diverged),
            "moved_tags": list(state.moved_tags),
        }
    if result["failed"]:
        name, error = next(iter(result["failed"].items()))
        raise GaiaError(
            f"{len(result['failed'])} of {count} environments could not be made; {name}: {error}",
            meaning="The others are ready.",
            fix="Mend the cause and run it again: only what is missing is made.",
            failed=result["failed"],
        )
    progress(1, 1, _told(result))
    return result


def clean(progress: Progress, *, project: str, names: list[str]) -> dict[str, Any]:
    """Remove environments: stop their stages, salvage their work, move their trees to the trash.

    Returns: `{removed: [{name, trash, salvage}]}`; `salvage` has the command that brings the work back.
    """
    with _project_lock(project):
        registered = projects.find(project)
        chosen = Environment.objects.filter(project=registered, name__in=names, state__in=ENVIRONMENT_ACTIVE)
        environments = list(chosen.order_by("number"))
        removed = []
        for number, environment in enumerate(environments):
            progress(number, len(environments) or 1, f"Salvaging and removing {environment.directory}")
            removed.append(_remove(environment))
        record.export()
    progress(1, 1, f"{len(removed)} environments removed")
    return {"project": project, "removed": removed}


def _remove(environment: Environment) -> dict[str, Any]:
    for stage in environment.stages.select_related("environment"):
        live = Process.objects.active().filter(owner=stage.owner).first()
        if live is not None and live.pid:
            stop_process(live)
    environment_removing.send(Environment, environment=environment)
    record.record_removing(environment)
    path, home = Path(environment.path), settings.GAIA.home
    saved, trash = None, None
    if path.exists():
        try:
            saved = salvage(path, environment.project.hub, name=environment.directory, directory=home.salvage)
        except GaiaError as error:
            record.record_damaged(environment, f"its work could not be salvaged, so it was not removed: {error.what}")
            raise
        trash = move_to_trash(path, home.trash)
    told = describe(saved) if saved else None
    record.record_removed(environment, trash=trash, salvage=told)
    return {"name": environment.directory, "trash": str(trash) if trash else None, "salvage": told}


def _record(environments: list[Environment], built: list[Built]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "created": [],
        "repaired": {},
        "unchanged": [],
        "kept": {},
        "submodules": {},
        "failed": {},
    }
    for environment, made in zip(environments, built, strict=True):
        name = environment.name
        if made.error is not None:
            record.record_damaged(environment, made.error.what)
            result["failed"][name] = f"{made.error.what}. {made.error.fix}".strip()
            continue
        record.record_ready(environment)
        report = made.report
        again = sorted({*report.created, *report.repaired}) if report else []
        if made.created:
            result["created"].append(name)
        elif again:
            record.record_repaired(environment, again)
            result["repaired"][name] = again
        else:
            result["unchanged"].append(name)
        if report and report.kept:
            result["kept"][name] = list(report.kept)
        if made.submodules:
            result["submodules"][name] = list(made.submodules)
    return result


def _told(result: dict[str, Any]) -> str:
    if not result["created"] and not result["repaired"]:
        return f"Nothing to do: {len(result['unchanged'])} environments are as they should be"
    parts = [
        (len(result["created"]), "created"),
        (len(result["repaired"]), "repaired"),
        (len(result["unchanged"]), "unchanged"),
    ]
    return ", ".join(f"{number} {what}" for number, what in parts if number)


def _target(project: Project, environment: Environment) -> Target:
    return Target(
        path=Path(environment.path),
        branch=environment.branch,
        layout=Layout(
            project=project.name,
            environment=environment.directory,
            path=Path(environment.path),
            stages={stage.name: (stage.port, stage.database) for stage in environment.stages.all()},
        ),
    )


def _project_lock(project: str) -> Any:
    return file_lock(settings.GAIA.home.locks / f"project-{project}.lock", what=f"project {project}")
