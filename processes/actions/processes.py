"""Starting and stopping OS processes: intents are written here, the node's daemon carries them out.

Every state change is a compare-and-swap with its event in the same transaction (`log.change`).
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from common.errors import Conflict
from common.home import gaia_home
from events import log
from events.models import Level
from processes.limits import Limits, kept_by
from processes.models import Node, Process
from processes.states import PROCESS_TRANSITIONS, EnvironmentBase, ExitSource, Origin, ProcessState, StopCause

_NUMBERING_TRIES = 5
_SIGNAL_BASE = 128  # the shell's code for "killed by signal n" is 128 + n


def request_start(
    node: Node,
    owner: str,
    argv: Sequence[str],
    *,
    title: str = "",
    cwd: Path,
    env: Mapping[str, str] | None = None,
    env_base: str = EnvironmentBase.CLEAN,
    log_file: Path | None = None,
    lock: Path | None = None,
    journal: Path | None = None,
    port: int | None = None,
    stop_grace: float | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    user: str = "",
    silent: bool = False,
) -> Process:
    """Write the intent to run a command for an owner; the daemon starts it.

    Args:
        owner: key of what it runs for; at most one live process per owner and node.
        argv: the command, run without a shell.
        title: what people call it, as in "Start of … was asked for".
        cwd: where it runs.
        env: variables added to `env_base`; the row keeps them only until the start.
        log_file: where its output is appended; default a file under the home.
        lock, journal: files shared with launch scripts; default the node's own.
        port: the TCP port it will listen on, checked before the start and after the stop.
        stop_grace: seconds between TERM and KILL.
        limits: what it may use.
        user: account it runs as, where GAIA is root; empty: GAIA's own.
        silent: no event tells that it comes and goes by itself; the caller does.

    Returns: the row, in state `starting`. Raises: Conflict when one is already live, InvalidInput for a bad limit.
    """
    folder = gaia_home().processes
    name = owner.replace("/", "-")
    path = log_file or folder / f"{name}.log"
    return _create(
        node,
        owner,
        kind="process.requested",
        message=f"Start of {title or owner} was asked for",
        title=title,
        token=secrets.token_hex(12),
        argv=list(argv),
        cwd=str(cwd),
        env=dict(env or {}),
        env_base=env_base,
        log=str(path),
        log_offset=_size(path),
        lock=str(lock or folder / f"{name}.lock"),
        journal=str(journal or folder / f"journal-{timezone.now():%Y-%m-%d}"),
        port=port,
        stop_grace=settings.GAIA["processes.stop_grace"] if stop_grace is None else stop_grace,
        limits=Limits.parse(limits).as_dict(),
        user=user,
        silent=silent,
    )


def _size(log_file: Path) -> int:
    """Bytes the log holds now: nobody of this owner runs before the start that is asked for, so the rest is its own."""
    try:
        return log_file.stat().st_size
    except OSError:
        return 0


def request_stop(process: Process, *, cause: str = StopCause.ASKED) -> bool:
    """Write the intent to stop a process; the daemon carries it out. False when it is not live or already stopping.

    Args:
        cause: a `StopCause`.
    """
    return bool(request_stop_many([process], cause=cause))


def request_stop_many(processes: Iterable[Process], *, cause: str = StopCause.ASKED) -> list[Process]:
    """`request_stop` for many in one transaction. Returns: those of them that are stopped now because of it."""
    wanted = {process.pk: process for process in processes}
    with log.atomic():
        running = Process.objects.active().filter(pk__in=wanted, stop_requested_at=None)
        keys = list(running.select_for_update().values_list("pk", flat=True))
        Process.objects.filter(pk__in=keys).update(stop_requested_at=timezone.now(), cause=cause)
        for pk in keys:
            called, owner = wanted[pk].called, wanted[pk].owner
            wanted[pk].cause = cause
            if wanted[pk].untold:
                continue
            log.emit("process.stop_requested", subject=owner, message=f"Stop of {called} was asked for", cause=cause)
    return [wanted[pk] for pk in keys]


def record_started(
    process: Process,
    *,
    pid: int,
    start_ticks: int,
    boot_id: str,
    adopted: bool = False,
    controllers: Collection[str] = (),
) -> bool:
    """The shim runs.

    Args:
        controllers: those of the cgroup the command runs in.
    """
    kept = kept_by(Limits.parse(process.limits), controllers)
    verb = "was found running and adopted" if adopted else "runs"
    return _change(
        process,
        ProcessState.RUNNING,
        kind="process.adopted" if adopted else "process.started",
        message=f"{process.sentence} {verb} as pid {pid}",
        fields={
            "pid": pid,
            "start_ticks": start_ticks,
            "boot_id": boot_id,
            "started_at": timezone.now(),
            "enforcement": kept,
        },
        silent=process.silent and not adopted,
        pid=pid,
    )


def record_stopping(process: Process) -> bool:
    """It is being ended."""
    return _change(
        process,
        ProcessState.STOPPING,
        kind="process.stopping",
        message=f"{process.sentence} is being stopped",
        silent=process.untold,
    )


def record_stopping_many(processes: Iterable[Process]) -> None:
    """`record_stopping` of many, in as many statements for fifty as for one."""
    known = {process.pk: process for process in processes}
    before = [state for state, following in PROCESS_TRANSITIONS.items() if ProcessState.STOPPING in following]
    with log.atomic():
        running = Process.objects.select_for_update().filter(pk__in=known, state__in=before)
        keys = list(running.order_by("pk").values_list("pk", flat=True))
        Process.objects.filter(pk__in=keys).update(state=ProcessState.STOPPING, env={})
        for process in [known[pk] for pk in keys]:
            message = f"{process.sentence} is being stopped"
            if process.untold:
                continue
            log.emit("process.stopping", subject=process.owner, message=message, attempt=process.attempt)
    for pk in keys:
        known[pk].state, known[pk].env = ProcessState.STOPPING, {}


def record_exit(
    process: Process,
    code: int | None,
    source: str,
    *,
    swept: int = 0,
    problem: str = "",
    asked: bool = False,
    cause: str = "",
) -> bool:
    """The process ended.

    Args:
        code: as the shell has it, so that one over 128 may stand for a signal; None when nobody knows.
        source: an `ExitSource`.
        swept: how many processes it had left running, which were ended.
        problem: what is not as it should be after the end.
        asked: a person ended it with its script, so that it did not fail.
        cause: a `StopCause`, when the kernel ended it unasked.
    """
    wanted = asked or process.stop_requested_at is not None
    cause = process.cause or (StopCause.ASKED if asked else cause)
    failed = code != 0 if not wanted else cause not in ("", StopCause.ASKED)
    told = f"{process.sentence} {'was stopped' if wanted else _ending(code)}{_why(cause)}{_swept(swept)}"
    return _change(
        process,
        ProcessState.EXITED,
        kind="process.stopped" if wanted else "process.exited",
        message=f"{told}; {problem}" if problem else told,
        level=Level.WARNING if failed or problem else Level.INFO,
        fields={"exit_code": code, "exit_source": source, "problem": problem, "cause": cause, **_end(process, asked)},
        silent=process.untold and not asked and not problem,
        code=code,
        source=source,
        swept=swept,
        cause=cause,
    )


def _why(cause: str) -> str:
    if cause in ("", StopCause.ASKED):
        return ""
    why = str(StopCause(cause).label)
    return f": {why[:1].lower()}{why[1:]}"


def _end(process: Process, asked: bool) -> dict[str, Any]:
    now = timezone.now()
    # the row may know of a stop that was asked for since `process` was read
    return {"ended_at": now} | ({"stop_requested_at": process.stop_requested_at or now} if asked else {})


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ending(code: int | None) -> str:
    if code is None:
        return "ended by itself, nobody knows with which code"
    with suppress(ValueError):  # 137 may be an exit with that code, too: the shell does not tell
        if code > _SIGNAL_BASE:
            return f"ended by itself with code {code}, or by signal {signal.Signals(code - _SIGNAL_BASE).name}"
    return f"ended by itself with code {code}"


def _swept(count: int) -> str:
    if not count:
        return ""
    return f"; {count} process{'es' if count > 1 else ''} it had left running {'were' if count > 1 else 'was'} ended"


def record_lost(process: Process, problem: str, *, swept: int = 0, asked: bool = False) -> bool:
    """The shim is gone without a word: what the command did is not known. The rest is as for `record_exit`."""
    return _change(
        process,
        ProcessState.LOST,
        kind="process.lost",
        message=f"{process.sentence} was lost: {problem}{_swept(swept)}",
        level=Level.ERROR,
        fields={"exit_source": ExitSource.UNKNOWN, "problem": problem, **_end(process, asked)},
        silent=process.silent,
        swept=swept,
    )


def record_unstoppable(process: Process, problem: str, pids: Sequence[int]) -> bool:
    """Something of it is left that cannot be killed. False when that is known already."""
    with log.atomic():
        changed = Process.objects.active().filter(pk=process.pk).exclude(problem=problem).update(problem=problem)
        if changed:
            log.emit("process.unstoppable", subject=process.owner, message=problem, level=Level.ERROR, pids=list(pids))
    return bool(changed)


def record_not_started(process: Process, problem: str, *, level: str = Level.ERROR) -> bool:
    """The start failed before any command ran."""
    return _change(
        process,
        ProcessState.NOT_STARTED,
        kind="process.not_started",
        message=f"{process.sentence} did not start: {problem}",
        level=level,
        fields={"ended_at": timezone.now(), "problem": problem},
        silent=process.silent,
    )


def record_script_start(
    node: Node,
    owner: str,
    *,
    title: str,
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

    Returns: the row, or None when that start is already known, or another one is live.
    """
    try:
        return _create(
            node,
            owner,
            kind="process.adopted",
            message=f"{_sentence(title)} was started by its script as pid {pid}",
            told={"pid": pid},
            title=title,
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
    except Conflict:
        return None


def _create(
    node: Node, owner: str, *, kind: str, message: str, told: Mapping[str, Any] | None = None, **fields: Any
) -> Process:
    """A new row with the next attempt's number, and its event. Raises: Conflict when one is live."""
    for _ in range(_NUMBERING_TRIES):
        last = Process.objects.attempts_of(node.pk, owner)
        try:
            with log.atomic():
                process = Process.objects.create(node=node, owner=owner, attempt=last + 1, **fields)
                if not process.silent:
                    log.emit(kind, subject=owner, message=message, attempt=last + 1, **(told or {}))
            return process
        except IntegrityError:
            live = Process.objects.active().filter(node=node, owner=owner).first()
            if live is not None:
                break  # else somebody took that number and has ended already: the next one, then
    else:
        live = None
    raise Conflict(
        f"{fields['title'] or owner} already runs" + (f" as pid {live.pid}" if live and live.pid else ""),
        fix="Stop it first, or leave it be.",
        owner=owner,
    )


def _change(process: Process, after: str, *, fields: Mapping[str, Any] | None = None, **told: Any) -> bool:
    """`log.change` that forgets the variables of the start: they may hold secrets."""
    return log.change(process, after, fields={"env": {}, **(fields or {})}, attempt=process.attempt, **told)
