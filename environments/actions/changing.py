"""Changing how a stage is reached, port or scheme: while it does not run, or with a restart around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from common.errors import Conflict, NotFound
from environments.actions import stages
from environments.actions.exclusive import project_lock
from environments.drivers.launching import kept_from_starting
from environments.models import Environment, Stage
from environments.overview import describe_stage, processes_of, services_of
from environments.states import EnvironmentState
from processes.actions.operations import Progress
from processes.models import Process

PATIENCE_S = 20.0
"""Seconds that a stage has to end beyond its grace period, and to answer once it is started again."""


@contextmanager
def while_stopped(environment: Environment, changed: Sequence[Stage], *, verb: str) -> Iterator[None]:
    """Keep stages of one environment from being started, by whomever, for as long as they are changed.

    Args:
        verb: the command that would change them, for the error's advice.

    Raises: Conflict when one of them runs, the environment is not ready, or a set-up or removal is at it.
    """
    if environment.state != EnvironmentState.READY:
        raise Conflict(
            f"environment {environment.directory} is {environment.get_state_display().lower()}",
            meaning=environment.problem,
            fix="Repair it: gaia env setup.",
        )
    with project_lock(environment.project.name), ExitStack() as kept:
        for stage in changed:
            running = _running(stage)
            stop = f"gaia env stop {environment.directory} {stage.name}"
            fix = f"Have it restarted ({verb} --restart), or stop it first: {stop}"
            kept.enter_context(kept_from_starting(Path(environment.path), stage.name, what=running, fix=fix))
            if Process.objects.active().filter(owner=stage.owner).exists():  # asked for, and about to start
                raise Conflict(running, meaning="Nothing was changed.", fix=fix)
            if stages.is_kept_up(stage):
                again = f"{stage.called} has died and is about to be started again"
                raise Conflict(again, meaning="Nothing was changed.", fix=fix)
        yield


def _running(stage: Stage) -> str:
    return f"{stage.called} runs on port {stage.port}"


def restarted(progress: Progress, pks: Sequence[int], change: Callable[[list[Stage]], None]) -> dict[str, Any]:
    """Stop what runs of these stages, change them, and start again what was stopped, also when the change failed.

    Returns: `{stages: […]}` as every door shows them. Raises: what stopping, the change or starting raises.
    """
    chosen = list(Stage.objects.filter(pk__in=pks).select_related("environment__project"))
    if not chosen:
        raise NotFound("the stages are gone", meaning="Their environment was removed.")
    stopped: list[Stage] = []
    try:
        for number, stage in enumerate(chosen):
            progress(number, 2 * len(chosen), f"Stopping {stage.called}")
            if stages.bring_down(stage, timeout=PATIENCE_S):
                stopped.append(stage)
        progress(1, 2, f"Changing and starting stages of {chosen[0].environment.directory}")
        change(chosen)
    finally:  # whoever cancels wants them to run as before, so nobody is asked here
        with ExitStack() as each:  # one that does not come up does not keep the others down, and is told all the same
            for stage in reversed(stopped):
                each.callback(_start_again, stage)
    return {"stages": described(chosen)}


def _start_again(stage: Stage) -> None:
    stage.refresh_from_db()
    stages.bring_up(stage, timeout=PATIENCE_S)


def described(chosen: Sequence[Stage]) -> list[dict[str, Any]]:
    """Stages as every door shows them."""
    newest = processes_of({stage.environment for stage in chosen})
    rows = Stage.objects.filter(pk__in=[stage.pk for stage in chosen]).select_related("environment__project")
    known = services_of(stage.owner for stage in rows)
    return [describe_stage(stage, newest.get(stage.owner), known.get(stage.owner)) for stage in rows]
