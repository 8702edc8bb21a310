"""Launching and stopping stages."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

from django.conf import settings

from common.errors import Conflict, GaiaError, NotFound, Unavailable
from common.files import file_lock
from common.locks import lock_held
from common.names import slugify
from common.run import CommandFailed, run
from environments.actions import layer_servers, serving, stage_services
from environments.actions.furnishing import furnish
from environments.actions.scripts import follow_journal
from environments.drivers.launching import StageStart, stage_paths, stage_start
from environments.models import Environment, Stage
from environments.overview import in_order
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES, EnvironmentState
from processes.actions.logs import shown
from processes.actions.nodes import daemon_runs, ensure_node
from processes.actions.ports import check_listening
from processes.actions.processes import request_stop
from processes.actions.stopping import stop_process
from processes.actions.traces import trace
from processes.drivers.logs import tail
from processes.models import Process
from processes.starting import environment_of
from processes.states import ProcessState
from services.models import Service

_LAUNCH_TIMEOUT_S = 60.0
_TURN_S = 30.0  # for one launch to be written down before the next one is looked at
_SHOWN_LINES = 20
# exit codes of launch.sh
_SCRIPT_ERRORS: dict[int, type[GaiaError]] = {2: NotFound, 4: Conflict, 6: Unavailable}


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
    """One of an environment's stages. Raises: NotFound for a name that is none."""
    stage = environment.stages.filter(name=name).select_related("environment__project").first()
    if stage is None:
        raise NotFound(f"there is no stage {name!r}", fix=f"Stages: {', '.join(STAGE_NAMES)}.")
    return stage


def chosen_stages(environment: Environment, name: str | None) -> list[Stage]:
    """One of an environment's stages, or without a name all of them, in their order. Raises: NotFound."""
    if name:
        return [find_stage(environment, name)]
    return in_order(environment.stages.select_related("environment__project"))


def launch(stage: Stage) -> Process:
    """Ask the daemon to start a stage, exactly as its `launch.sh` would. Once it has been ready, it is kept up.

    Raises: Conflict when it runs already, its port is taken, or the environment is not ready; InvalidInput for a bad
    gaia.yaml.
    """
    with _turn(stage):
        process = stage_services.start(stage, _checked_start(stage))
    if process is None:
        raise Unavailable(f"{stage.called} was not started", fix="Is the daemon well? Look at gaia status.")
    return process


def prepare(service: Service) -> None:
    """Before somebody starts or restarts a stage as a service: what a launch checks, and what its checkout says now.

    Raises: as `launch`.
    """
    directory, _, name = service.owner.removeprefix("environment/").rpartition("/")
    stage = find_stage(find_environment(directory), name)
    with _turn(stage):
        if _live(stage) is None:
            start = _checked_start(stage)
        else:
            _require_ready(stage.environment)
            start = _start_as_recorded(stage)
        stage_services.prepare(stage, start)


def launch_by_script(stage: Stage) -> Process:
    """Start a stage with its own `launch.sh`, as without a daemon nobody else would, and wait until it answers.

    Raises: as `launch`; GaiaError with what the script said.
    """
    _checked_start(stage)
    folder = Path(stage.environment.path)
    own = folder / ".gaia/launch.sh"
    try:
        run(
            ["sh", own if own.exists() else folder / "launch.sh", stage.name],
            timeout=_LAUNCH_TIMEOUT_S,
            cwd=folder,
            env=environment_of(Process()),  # what the daemon would give it: nothing of GAIA's own
        )
    except CommandFailed as error:
        kind = _SCRIPT_ERRORS.get(error.completed.code, GaiaError)
        raise kind(f"{stage.called} did not start", meaning=error.meaning) from error
    process = notice_scripts(stage) or Process.objects.newest_by_owner([stage.owner]).get(stage.owner)
    if process is None:
        raise Unavailable(f"{stage.called} ended at once", fix=f"Look at {log_file(stage)}.")
    return process


def wait_until_up(stage: Stage, process: Process, *, timeout: float) -> None:
    """Block until a launched stage answers 200 on its health path, as its `launch.sh` does.

    Args:
        timeout: seconds.

    Raises: GaiaError with its exit code and the end of its log when it ended; Unavailable when it does not answer yet.
    """
    path = stage_start(Path(stage.environment.path), stage.name).health_path
    url = stage.url + path
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        process.refresh_from_db()
        if not process.active:
            raise _ended(stage, process)
        if process.state == ProcessState.RUNNING and serving.answers_on(stage, path):
            return
        time.sleep(0.1)
    if process.pid is None:
        raise Unavailable(f"{stage.called} was not started yet", fix="Is the daemon well? Look at gaia status.")
    raise Unavailable(
        f"{stage.called} runs (pid {process.pid}) but {url} does not answer 200 yet",
        fix=(serving.HINT if stage.https else "")
        + f"Look at {process.log}, or stop it: gaia env stop {stage.environment.directory} {stage.name}.",
    )


def bring_down(stage: Stage, *, timeout: float) -> bool:
    """Stop a stage, whoever launched it, by the daemon or without one, and wait until it has ended.

    Args:
        timeout: seconds to wait beyond its grace period.

    Returns: whether it ran, or was about to be started again. Raises: Unavailable when it does not end.
    """
    process = notice_scripts(stage)
    if process is None and not daemon_runs():
        return False
    kept = stop(stage)
    if process is None:
        return kept
    if not daemon_runs():
        stop_process(process)
        stage_services.settle(stage)
        return True
    deadline = time.monotonic() + timeout + process.stop_grace
    while time.monotonic() < deadline:
        if _live(stage) is None:
            return True
        time.sleep(0.05)
    raise Unavailable(f"{stage.called} does not end", fix="gaia env list shows when it changes.")


def bring_up(stage: Stage, *, timeout: float) -> Process:
    """Launch a stage, by the daemon or without one by its script, and wait until it answers.

    Args:
        timeout: seconds to wait for its answer.

    Raises: as `launch`, `launch_by_script` and `wait_until_up`.
    """
    if not daemon_runs():
        return launch_by_script(stage)
    process = launch(stage)
    wait_until_up(stage, process, timeout=timeout)
    return process


def stop(stage: Stage) -> bool:
    """Ask the daemon to stop a stage, and to leave it so; False when it does not run and is not about to."""
    process = _live(stage)
    kept = stage_services.stop(stage)
    return (request_stop(process) or kept) if process else kept


def is_kept_up(stage: Stage) -> bool:
    """Whether the daemon runs a stage, or is about to start it again after it has died."""
    service = stage_services.service_of(stage) if daemon_runs() else None
    return service is not None and stage_services.is_kept(service)


def log_file(stage: Stage) -> Path:
    """Where a stage's output goes, launched by GAIA or by its script."""
    return stage_paths(Path(stage.environment.path), stage.name).log


def notice_scripts(stage: Stage) -> Process | None:
    """Take note of what the stage's scripts did; its newest live process, if any."""
    follow_journal(ensure_node(), stage)
    return _live(stage)


def _live(stage: Stage) -> Process | None:
    return Process.objects.active().filter(owner=stage.owner).first()


def _turn(stage: Stage) -> AbstractContextManager[object]:
    lock = settings.GAIA.home.locks / f"launch-{slugify(stage.owner)}.lock"
    return file_lock(lock, timeout=_TURN_S, what=stage.called)


def _require_ready(environment: Environment) -> None:
    if environment.state != EnvironmentState.READY:
        raise Conflict(
            f"environment {environment.directory} is {environment.get_state_display().lower()}",
            meaning=environment.problem,
            fix="Repair it: gaia env setup.",
        )


def _checked_start(stage: Stage) -> StageStart:
    environment = stage.environment
    _require_ready(environment)
    start = _start_as_recorded(stage)
    live = _live(stage)
    if live is not None or lock_held(start.lock):
        pid = f" (pid {live.pid})" if live and live.pid else ""
        raise Conflict(
            f"{stage.called} already runs{pid}",
            meaning="" if live else "Its script launched it a moment ago.",
            fix=f"Leave it be, or stop it first: gaia env stop {environment.directory} {stage.name}.",
            pid=live.pid if live else None,
        )
    _check_port(stage)
    return start


def _check_port(stage: Stage) -> None:
    """Raise Conflict that names who listens on a stage's port, and the command that gives it another one."""
    other = f"gaia ports move {stage.environment.directory} {stage.name}"
    check_listening(
        stage.port, fix=f"Stop that process; {stage.called} needs its port. Or give it another one: {other}"
    )


def _start_as_recorded(stage: Stage) -> StageStart:
    """How it is started, once what lies in the checkout says what the row does: port, and HTTPS with its certificate.

    They differ when somebody edited the one, or GAIA was killed between writing the one and the other.
    """
    path = Path(stage.environment.path)
    layer_servers.require_server(stage.environment.layer)  # or its URL would be taken out of the checkout
    start = stage_start(path, stage.name)
    differs = start.port != stage.port or (stage.https and not start.https)
    if differs or not layer_servers.agrees(stage, start.env):
        furnish(stage.environment)
        start = stage_start(path, stage.name)
    layer_servers.require_apart(stage, start.env)
    serving.record_https(stage, start.https, "as its .env.local says")
    if start.https:
        serving.certify(stage.environment)
    return start


def _ended(stage: Stage, process: Process) -> GaiaError:
    if process.state == ProcessState.NOT_STARTED:
        _check_port(stage)  # somebody took it between the launch and the start
    how = process.problem or f"it ended with exit code {process.exit_code}"
    said = shown(process.owner, tail(trace(process, process.log), _SHOWN_LINES)).rstrip()
    return GaiaError(
        f"{stage.called} did not start: {how}",
        meaning=f"The last lines of its log:\n{said}" if said else "Its log is empty.",
        fix=f"Mend its command in gaia.yaml, or look at {process.log}.",
        exit_code=process.exit_code,
    )
