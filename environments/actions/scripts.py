"""Taking note of what launch.sh and stop.sh did, from the journals they share with the daemon."""

from __future__ import annotations

from pathlib import Path

from common.locks import lock_held
from environments.actions import serving, stage_services
from environments.drivers.launching import StagePaths, stage_paths
from environments.drivers.stage_env import says_yes
from environments.models import Stage
from processes.actions.harvest import harvest_if_gone
from processes.actions.processes import record_exit, record_script_start
from processes.drivers import journal, liveness
from processes.drivers.table import variable_of
from processes.models import Node, Process
from processes.states import ExitSource


def follow_journal(node: Node, stage: Stage, *, unwanted: bool = False) -> bool:
    """Take note of the newest start in a stage's journal, if it was a script's and is not known yet.

    Args:
        unwanted: its script was told to stop it since the last look, whatever was started then.

    Returns: whether nothing is left to be learned until the journal grows; False while another start of the stage is
    still on record as live, which its end has to be written down for first.
    """
    paths = stage_paths(Path(stage.environment.path), stage.name)
    records = list(journal.records(paths.journal).values())
    newest = records[-1] if records else None
    if newest is None or newest.pid is None:
        return True
    known = Process.objects.filter(token=newest.token).first()
    if known is not None:
        if unwanted or (newest.stop_asked and not known.active):
            stage_services.stopped_by_script(stage)
        return True
    identity = liveness.identify(newest.pid) if lock_held(paths.lock) else None
    if identity is None and newest.code is None:
        return True  # it was killed with its shim before anybody saw it
    if identity is not None:
        _follow_https(stage, newest.pid)
        stage_services.launched_by_script(stage)
    process = _record_start(node, stage, paths, newest.token, newest.pid, identity)
    if process is not None and newest.code is not None:
        record_exit(process, newest.code, ExitSource.JOURNAL, asked=newest.stop_asked)
    return process is not None


def _follow_https(stage: Stage, pid: int) -> None:
    """`USE_HTTPS=true ./launch.sh` is an operator's act: what the script did is what is wanted."""
    said = variable_of(pid, "USE_HTTPS")
    if said is not None:
        serving.record_https(stage, says_yes(said), "as its script was told")


def _record_start(
    node: Node, stage: Stage, paths: StagePaths, token: str, pid: int, identity: liveness.Identity | None
) -> Process | None:
    return record_script_start(
        node,
        stage.owner,
        title=stage.called,
        token=token,
        pid=pid,
        start_ticks=identity.start_ticks if identity else 0,
        boot_id=identity.boot_id if identity else liveness.boot_id(),
        argv=["sh", "launch.sh", stage.name],
        cwd=Path(stage.environment.path),
        log_file=paths.log,
        lock=paths.lock,
        journal=paths.journal,
        port=stage.port,
    )


def stops_asked(stage: Stage) -> int:
    """How often its script was told to stop a stage, by its journal."""
    paths = stage_paths(Path(stage.environment.path), stage.name)
    return sum(record.stop_asked for record in journal.records(paths.journal).values())


def look_for_ended(node: Node) -> None:
    """Write down which stages have ended since somebody looked: only for when no daemon is there to watch them."""
    for process in Process.objects.active().filter(node=node, owner__startswith="environment/"):
        harvest_if_gone(process)
