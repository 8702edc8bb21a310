"""Level-triggered: what is on disk becomes what the rows say. Runs in the node daemon."""

from __future__ import annotations

import time
from pathlib import Path

from environments.actions import record
from environments.drivers.stage_files import stage_start
from environments.drivers.status import status_many
from environments.models import Environment, Stage
from environments.states import ENVIRONMENT_ACTIVE, EnvironmentState
from processes.actions.processes import record_exit, record_script_start
from processes.drivers import journal, liveness
from processes.models import Node, Process
from processes.states import ExitSource

_GIT_EVERY_S = 5.0
_GIT_SHARE = 20  # looking may take a twentieth of the time: a hundred large checkouts are looked at less often
_journals_seen: dict[str, tuple[int, int]] = {}
_next_git_look = 0.0


def look_at_stages(node: Node) -> None:
    """Notice what launch.sh and stop.sh did, with GAIA up or down, from the journals they share with the daemon."""
    stages = Stage.objects.filter(environment__state=EnvironmentState.READY).select_related("environment__project")
    for stage in stages:
        start = stage_start(Path(stage.environment.path), stage.name)
        try:
            facts = start.journal.stat()
        except FileNotFoundError:
            continue
        seen = (facts.st_mtime_ns, facts.st_size)
        if _journals_seen.get(stage.owner) != seen:
            follow_journal(node, stage)
            _journals_seen[stage.owner] = seen


def follow_journal(node: Node, stage: Stage) -> None:
    """Take note of the newest start in a stage's journal, if it was a script's and is not known yet."""
    start = stage_start(Path(stage.environment.path), stage.name)
    records = list(journal.records(start.journal).values())
    if not records:
        return
    newest, pid = records[-1], records[-1].pid
    if pid is None:
        return
    if Process.objects.filter(token=newest.token).exists():
        return
    identity = liveness.identify(pid) if liveness.lock_held(start.lock) else None
    if identity is None and newest.code is None:
        return  # it was killed with its shim before anybody saw it
    process = record_script_start(
        node,
        stage.owner,
        token=newest.token,
        pid=pid,
        start_ticks=identity.start_ticks if identity else 0,
        boot_id=identity.boot_id if identity else liveness.boot_id(),
        argv=start.argv,
        cwd=start.cwd,
        log_file=start.log,
        lock=start.lock,
        journal=start.journal,
        port=stage.port,
    )
    if process is not None and newest.code is not None:
        record_exit(process, newest.code, ExitSource.JOURNAL)


def look_at_git() -> None:
    """Ask git about every checkout; a checkout that vanished makes its environment damaged, one that is back, ready."""
    global _next_git_look
    if time.monotonic() < _next_git_look:
        return
    begun = time.monotonic()
    refresh_git(list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE)))
    _next_git_look = time.monotonic() + max(0.0, (time.monotonic() - begun) * _GIT_SHARE - _GIT_EVERY_S)


def refresh_git(environments: list[Environment]) -> None:
    """Ask git about these checkouts now."""
    there = [each for each in environments if Path(each.path, ".git").exists()]
    for environment in environments:
        if environment in there:
            if environment.state == EnvironmentState.DAMAGED and environment.problem == _MISSING:
                record.record_ready(environment, f"{environment.directory} is back")
        elif environment.state == EnvironmentState.READY:
            record.record_damaged(environment, _MISSING)
    statuses = status_many([Path(each.path) for each in there])
    record.record_git({each.pk: statuses[Path(each.path)] for each in there})


_MISSING = "its checkout is missing"
