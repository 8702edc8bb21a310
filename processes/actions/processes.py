"""Starting and stopping OS processes: intents are written here, the node's daemon carries them out.

Every state change is a compare-and-swap with its event in the same transaction (invariants 2 and 3).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from common.errors import Conflict
from common.home import gaia_home
from events import log
from events.models import Level
from processes.models import Node, Process
from processes.states import EnvironmentBase, ExitSource, Origin, ProcessState


def request_start(
    node: Node,
    owner: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    env_base: str = EnvironmentBase.CLEAN,
    log_file: Path | None = None,
    lock: Path | None = None,
    journal: Path | None = None,
    port: int | None = None,
    stop_grace: float | None = None,
) -> Process:
    """Write the intent to run a command for an owner; the daemon starts it.

    Args:
        owner: key of what it runs for; at most one live process per owner and node.
        argv: the command, run without a shell.
        cwd: where it runs.
        env: variables added to `env_base`.
        log_file: where its output is appended; default a file under the home.
        lock, journal: files shared with launch scripts; default the node's own.
        port: the TCP port it will listen on, checked before the start and after the stop.
        stop_grace: seconds between TERM and KILL.

    Returns: the row, in state `starting`. Raises: Conflict when one is already live.
    """
    folder = gaia_home().processes
    token = secrets.token_hex(12)
    name = owner.replace("/", "-")
    try:
        with log.atomic():
            attempt = Process.objects.filter(owner=owner).count() + 1
            process = Process.objects.create(
                node=node,
                owner=owner,
                attempt=attempt,
                token=token,
                argv=list(argv),
                cwd=str(cwd),
                env=dict(env or {}),
                env_base=env_base,
                log=str(log_file or folder / f"{name}.log"),
                lock=str(lock or folder / f"{name}.lock"),
                journal=str(journal or folder / "journal"),
                port=port,
                stop_grace=settings.GAIA["processes.stop_grace"] if stop_grace is None else stop_grace,
            )
            log.emit("process.requested", subject=owner, message=f"Start of {owner} was asked for", attempt=attempt)
    except IntegrityError as error:
        live = Process.objects.active().filter(node=node, owner=owner).first()
        raise Conflict(
            f"{owner} already runs" + (f" as pid {live.pid}" if live and live.pid else ""),
            fix="Stop it first, or leave it be.",
            owner=owner,
        ) from error
    return process


def request_stop(process: Process) -> bool:
    """Write the intent to stop a process; the daemon carries it out. False when it is not live or already stopping."""
    with log.atomic():
        changed = (
            Process.objects.active()
            .filter(pk=process.pk, stop_requested_at=None)
            .update(stop_requested_at=timezone.now())
        )
        if changed:
            log.emit("process.stop_requested", subject=process.owner, message=f"Stop of {process.owner} was asked for")
    return bool(changed)


def record_started(process: Process, *, pid: int, start_ticks: int, boot_id: str, adopted: bool = False) -> bool:
    """`starting` → `running`."""
    verb = "was found running and adopted" if adopted else "runs"
    return _move(
        process,
        (ProcessState.STARTING,),
        ProcessState.RUNNING,
        kind="process.adopted" if adopted else "process.started",
        message=f"{process.owner} {verb} as pid {pid}",
        fields={"pid": pid, "start_ticks": start_ticks, "boot_id": boot_id, "started_at": timezone.now()},
        pid=pid,
    )


def record_stopping(process: Process) -> bool:
    """`running` → `stopping`."""
    return _move(
        process,
        (ProcessState.RUNNING,),
        ProcessState.STOPPING,
        kind="process.stopping",
        message=f"{process.owner} is being stopped",
    )


def record_exit(process: Process, code: int | None, source: str) -> bool:
    """The process ended; `code` is negative for a signal, as subprocess has it, or None when nobody knows."""
    wanted = process.stop_requested_at is not None
    failed = not wanted and code != 0
    return _move(
        process,
        (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING),
        ProcessState.EXITED,
        kind="process.stopped" if wanted else "process.exited",
        message=f"{process.owner} {'was stopped' if wanted else f'ended by itself with code {code}'}",
        level=Level.WARNING if failed else Level.INFO,
        fields={"exit_code": code, "exit_source": source, "ended_at": timezone.now()},
        code=code,
        source=source,
    )


def record_lost(process: Process, problem: str) -> bool:
    """The shim is gone without a word: what the command did is not known."""
    return _move(
        process,
        (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING),
        ProcessState.LOST,
        kind="process.lost",
        message=f"{process.owner} was lost: {problem}",
        level=Level.ERROR,
        fields={"exit_source": ExitSource.UNKNOWN, "ended_at": timezone.now(), "problem": problem},
    )


def record_not_started(process: Process, problem: str, *, level: str = Level.ERROR) -> bool:
    """The start failed before any command ran."""
    return _move(
        process,
        (ProcessState.STARTING,),
        ProcessState.NOT_STARTED,
        kind="process.not_started",
        message=f"{process.owner} did not start: {problem}",
        level=level,
        fields={"ended_at": timezone.now(), "problem": problem},
    )


def record_script_start(
    node: Node,
    owner: str,
    *,
    token: str,
    pid: int,
    start_ticks: int,
    boot_id: str,
    argv: Sequence[str],
    cwd: Path,
    log_file: Path,
    lock: Path,
    journal: Path,
    port: int | None,
) -> Process | None:
    """A launch script started this while nobody asked GAIA: from now on it is watched like any other.

    Returns: the row, or None when that start is already known.
    """
    try:
        with log.atomic():
            process = Process.objects.create(
                node=node,
                owner=owner,
                attempt=Process.objects.filter(owner=owner).count() + 1,
                token=token,
                origin=Origin.SCRIPT,
                argv=list(argv),
                cwd=str(cwd),
                log=str(log_file),
                lock=str(lock),
                journal=str(journal),
                port=port,
                stop_grace=settings.GAIA["processes.stop_grace"],
                state=ProcessState.RUNNING,
                pid=pid,
                start_ticks=start_ticks,
                boot_id=boot_id,
                started_at=timezone.now(),
            )
            log.emit(
                "process.adopted", subject=owner, message=f"{owner} was started by its script as pid {pid}", pid=pid
            )
    except IntegrityError:
        return None
    return process


def _move(
    process: Process,
    before: Sequence[str],
    after: str,
    *,
    kind: str,
    message: str,
    level: str = Level.INFO,
    fields: Mapping[str, Any] | None = None,
    **data: Any,
) -> bool:
    with log.atomic():
        changes = {"state": after, **(fields or {})}
        changed = Process.objects.filter(pk=process.pk, state__in=before).update(**changes)
        if changed:
            log.emit(kind, subject=process.owner, message=message, level=level, attempt=process.attempt, **data)
    if changed:
        for name, value in changes.items():
            setattr(process, name, value)
    return bool(changed)
