"""The long operations of environments, run by `manage.py operate`: set-up and removal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from common.errors import Cancelled, Conflict, GaiaError, InvalidInput, NotFound, Refused, Unavailable
from environments import reconcile
from environments.actions import health, measured, record
from environments.actions.exclusive import project_lock
from environments.actions.furnishing import layout_of
from environments.actions.removal import remove
from environments.actions.setup import chosen_environments, lay_out
from environments.drivers import gaia_yaml
from environments.drivers.build import Built, Target, build_all
from environments.drivers.follow import follow_hub
from environments.drivers.hub import HubState
from environments.drivers.source import Source, resolve_source
from environments.models import Environment
from environments.states import EnvironmentState
from environments.wording import so_many
from processes.actions.operations import Progress
from projects import actions as projects
from projects.models import Project


def set_up(
    progress: Progress,
    *,
    project: str,
    source: str,
    root: str,
    base_port: int,
    count: int,
    numbers: Collection[int] | None = None,
) -> dict[str, Any]:
    """Make what is missing of a project's environments and repair what is damaged; change nothing else.

    Args:
        numbers: only these of 1 to `count`.

    Returns: what was done, by names of environments: `{created, repaired, unchanged, others, kept, problems,
    placeholder, submodules, learned, not_fetched, …}`.
    Raises: GaiaError when the source or the hub cannot be used, or when any environment failed; Cancelled.
    """
    with project_lock(project):
        progress(0, 1, "Looking at what is there")
        origin = resolve_source(source, Path("/"))
        plan = lay_out(
            project=project, source=source, root=Path(root), base_port=base_port, count=count, numbers=numbers
        )
        registered, environments = record.record_intents(
            project, source, plan.environments, root=Path(root), base_port=base_port
        )
        state, built = _build(progress, origin, registered, environments)
        projects.record_default_branch(registered, state.default_branch)
        result, failed = _record(environments, built)
        result |= _follow(registered, state, [each for each in built if each.error is None and not each.created])
        well = [environment.pk for environment in environments if environment.name not in failed]
        reconcile.refresh_git(list(Environment.objects.filter(pk__in=well).select_related("project", "git")))
        made = [each for each in environments if each.pk in well]
        health.monitor(made, confirmations=settings.GAIA["health.confirmations"])
        result["exported"] = measured.export()
        result |= {
            "project": project,
            "others": list(plan.others),
            "hub": str(registered.hub),
            "hub_created": state.created,
            "diverged": list(state.diverged),
            "moved_tags": list(state.moved_tags),
        }
    if failed:
        raise _failure(failed, len(environments), "could not be made", "Those that could be made are ready.")
    progress(1, 1, _told(result))
    return result


def clean(progress: Progress, *, project: str, names: list[str]) -> dict[str, Any]:
    """Remove environments: stop their stages, salvage their work, move their trees to the trash.

    Returns: `{project, removed: [{name, trash, salvage, left}]}`; `salvage` has the command that brings the work back.
    Raises: GaiaError when any of them was not removed, or Cancelled; `detail["removed"]` has those that were.
    """
    removed: list[dict[str, Any]] = []
    failed: dict[str, GaiaError] = {}
    try:
        with project_lock(project):
            environments = chosen_environments(projects.find(project), names)
            for number, environment in enumerate(environments):
                progress(number, len(environments), f"Salvaging and removing {environment.directory}")
                progress.check_cancelled()
                try:
                    removed.append(remove(environment))
                except GaiaError as error:
                    failed[environment.name] = error
        if failed:
            raise _failure(failed, len(environments), "could not be removed", "They are where they were.")
        progress(1, 1, f"{so_many(len(removed))} removed")
    except GaiaError as error:
        error.detail["removed"] = removed
        raise
    finally:
        measured.export()
    return {"project": project, "removed": removed}


def _build(
    progress: Progress, origin: Source, project: Project, environments: Sequence[Environment]
) -> tuple[HubState, list[Built]]:
    try:
        return build_all(
            origin,
            project.hub,
            [_target(environment) for environment in environments],
            _from_any_thread(progress),
            timeout=settings.GAIA["environments.git_timeout"],
        )
    except BaseException as error:
        problem = error.what if isinstance(error, GaiaError) else "its set-up was interrupted"
        for environment in environments:
            if environment.state == EnvironmentState.CREATING:
                record.record_damaged(environment, problem)
        raise


def _from_any_thread(progress: Progress) -> Callable[[str, float], None]:
    """The build tells from several threads; each would keep a database connection of its own."""
    mine = threading.get_ident()

    def tell(text: str, fraction: float) -> None:
        try:
            progress(fraction, 1.02, text)  # never the end: the operation says itself when it is done
            progress.check_cancelled()
        finally:
            if threading.get_ident() != mine:
                connection.close()

    return tell


def _target(environment: Environment) -> Target:
    return Target(path=Path(environment.path), branch=environment.branch, layout=layout_of(environment))


def _record(environments: list[Environment], built: list[Built]) -> tuple[dict[str, Any], dict[str, GaiaError]]:
    """Write down what became of each. Returns: what was done, and what failed."""
    result: dict[str, Any] = {name: [] for name in ("created", "unchanged", "placeholder")}
    result |= {name: {} for name in ("repaired", "kept", "problems", "submodules")}
    failed: dict[str, GaiaError] = {}
    for environment, made in zip(environments, built, strict=True):
        if made.error is not None:
            record.record_damaged(environment, made.error.what)
            failed[environment.name] = made.error
        else:
            _record_one(environment, made, result)
    return result, failed


def _record_one(environment: Environment, made: Built, result: dict[str, Any]) -> None:
    name, report = environment.name, made.report
    again = sorted({*report.created, *report.repaired}) if report else []
    problem = environment.problem
    if record.record_ready(environment) and problem and not made.created:
        again.append(f"its record, which said: {problem}")
    if made.created:
        result["created"].append(name)
    elif again:
        record.record_repaired(environment, again)
        result["repaired"][name] = again
    else:
        result["unchanged"].append(name)
    told = {"kept": report.kept, "problems": report.problems} if report else {}
    for about, texts in (*told.items(), ("submodules", made.submodules)):
        if texts:
            result[about][name] = list(texts)
    if not any((made.target.path / file).is_file() for file in gaia_yaml.NAMES):
        result["placeholder"].append(name)


def _follow(project: Project, state: HubState, built: list[Built]) -> dict[str, Any]:
    """Let the checkouts that were there know the hub's commits; their own branches and files stay."""
    learned: list[str] = []
    not_fetched: dict[str, str] = {}
    for made in built:
        name = made.target.branch.rpartition("/")[2]
        try:
            if follow_hub(made.target.path, project.hub, default_branch=state.default_branch, head=state.head_sha):
                learned.append(name)
        except GaiaError as error:  # somebody works in it with git, or has broken it: the rest is in order
            not_fetched[name] = error.what
    return {"learned": learned, "not_fetched": not_fetched}


def _failure(failed: dict[str, GaiaError], count: int, what: str, meaning: str) -> GaiaError:
    """One error for those that failed, of the kind of the first one."""
    name, first = next(iter(failed.items()))
    kinds: tuple[type[GaiaError], ...] = (Cancelled, InvalidInput, NotFound, Conflict, Refused, Unavailable)
    kind = next((kind for kind in kinds if isinstance(first, kind)), GaiaError)
    return kind(
        f"{len(failed)} of {so_many(count)} {what}; {name}: {first.what}",
        meaning="\n".join(part for part in (first.meaning, meaning) if part),
        fix="\n".join(part for part in (first.fix, "Then run it again: only what is missing is done.") if part),
        failed={name: error.what for name, error in failed.items()},
    )


def _told(result: dict[str, Any]) -> str:
    if not result["created"] and not result["repaired"]:
        return f"Nothing to do: {so_many(len(result['unchanged']))} as wanted"
    parts = [(len(result[word]), word) for word in ("created", "repaired", "unchanged")]
    return ", ".join(f"{number} {word}" for number, word in parts if number)
