"""Launching and stopping stages."""

from __future__ import annotations

from pathlib import Path

from common.errors import Conflict, InvalidInput, NotFound
from common.run import run
from environments.drivers.stage_files import stage_start
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES, EnvironmentState
from processes.actions.nodes import ensure_node
from processes.actions.ports import check_listening
from processes.actions.processes import request_start, request_stop
from processes.models import Process

_LAUNCH_TIMEOUT_S = 60.0


def find_environment(name: str, project: str | None = None) -> Environment:
    """The live environment of that name (`dev1`) or directory (`architect-dev1`).

    Raises: NotFound with what there is; Conflict when several projects have one of that name.
    """
    live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project")
    if project:
        live = live.filter(project__name=project)
    found = [each for each in live if name in {each.name, each.directory}]
    if not found:
        have = ", ".join(each.directory for each in live)
        raise NotFound(
            f"there is no environment {name!r}", fix=f"There are: {have}." if have else "Make some: gaia env setup."
        )
    if len(found) > 1:
        raise Conflict(f"{name} is not clear", fix="Say " + " or ".join(each.directory for each in found) + ".")
    return found[0]


def find_stage(environment: Environment, name: str) -> Stage:
    """One of an environment's stages. Raises: InvalidInput for a name that is none."""
    stage = environment.stages.filter(name=name).select_related("environment__project").first()
    if stage is None:
        raise InvalidInput(f"there is no stage {name!r}", fix=f"Stages: {', '.join(STAGE_NAMES)}.")
    return stage


def launch(stage: Stage) -> Process:
    """Ask the daemon to start a stage, exactly as its `launch.sh` would.

    Raises: Conflict when it runs already, its port is taken, or the environment is not ready.
    """
    environment = stage.environment
    if environment.state != EnvironmentState.READY:
        raise Conflict(
            f"environment {environment.directory} is {environment.get_state_display().lower()}",
            meaning=environment.problem,
            fix="Repair it: gaia env setup.",
        )
    live = Process.objects.active().filter(owner=stage.owner).first()
    if live is None:
        check_listening(
            stage.port, fix=f"Stop that process; stage {stage.name} of {environment.directory} needs its port."
        )
    start = stage_start(Path(environment.path), stage.name)
    return request_start(
        ensure_node(),
        stage.owner,
        start.argv,
        cwd=start.cwd,
        env=start.env,
        log_file=start.log,
        lock=start.lock,
        journal=start.journal,
        port=stage.port,
    )


def stop(stage: Stage) -> bool:
    """Ask the daemon to stop a stage; False when it does not run."""
    process = Process.objects.active().filter(owner=stage.owner).first()
    return request_stop(process) if process else False


def log_file(stage: Stage) -> Path:
    """Where a stage's output goes, launched by GAIA or by its script."""
    return stage_start(Path(stage.environment.path), stage.name).log


def launch_by_script(stage: Stage) -> Process:
    """Start a stage with its own `launch.sh`, as without a daemon nobody else would.

    Raises: CommandFailed with what the script said.
    """
    script = Path(stage.environment.path, "launch.sh")
    own = Path(stage.environment.path, ".gaia", "launch.sh")
    run(["sh", own if own.exists() else script, stage.name], timeout=_LAUNCH_TIMEOUT_S, cwd=stage.environment.path)
    return notice_scripts(stage) or Process.objects.filter(owner=stage.owner).order_by("-id")[0]


def notice_scripts(stage: Stage) -> Process | None:
    """Take note of what the stage's scripts did; its newest live process, if any."""
    from environments.reconcile import follow_journal

    follow_journal(ensure_node(), stage)
    return Process.objects.active().filter(owner=stage.owner).first()
