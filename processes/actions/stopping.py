"""Ending a process for good: nothing of it is left, and the row says how it ended.

Three steps, so that nobody holds a database connection while he waits: `begin` and `finish` write, `end` waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from common.errors import GaiaError, Unavailable
from events.models import Level
from processes.actions import harvest
from processes.actions import processes as actions
from processes.actions.nodes import daemon_runs
from processes.drivers import ports, stop
from processes.drivers.stop import StopReport
from processes.models import Process
from processes.states import ExitSource

_DAEMON_PATIENCE_S = 10.0
_SHIM_PATIENCE_S = 1.0
_LOOK_S = 0.05


def stop_process(process: Process) -> None:
    """TERM, grace, KILL, verified; then the row is `exited`. Blocks for up to the grace period and a few seconds.

    Works with or without a daemon: `gaia down` calls it after the daemon has ended.
    Raises: Unavailable when something of it cannot be killed (uninterruptible sleep).
    """
    actions.request_stop(process)
    if _await_pid(process):
        begin(process)
        finish(process, end(process))


def begin(*processes: Process) -> None:
    """Say that they are being stopped, in one transaction."""
    actions.record_stopping_many(processes)


def end(process: Process) -> StopReport:
    """End all of it; touches no row."""
    return stop.stop(harvest.identity_of(process), token=process.token, grace=process.stop_grace)


def finish(process: Process, report: StopReport, told: int | None = None, source: str = ExitSource.WAIT) -> None:
    """Write down how it ended; as `outcome`."""
    outcome(process, report, told, source)()


def outcome(
    process: Process, report: StopReport, told: int | None = None, source: str = ExitSource.WAIT
) -> Callable[[], bool]:
    """Find out how a stop went.

    Args:
        told: the exit code, if the daemon was told of the shim's end.
        source: where from: an `ExitSource`.

    Returns: what writes it down; False when somebody else has.
    Raises: Unavailable when something of it is left.
    """
    check_ended(process, report)
    code = told
    if code is None or code < 0:
        code = harvest.noted_code(process)
        source = ExitSource.JOURNAL if code is not None else ExitSource.UNKNOWN
    cause = harvest.cause_of(process)
    return partial(actions.record_exit, process, code, source, problem=_port_problem(process), cause=cause)


def check_ended(process: Process, report: StopReport) -> None:
    """Raise Unavailable, and have the row say so, when something of it cannot be killed."""
    if not report.survivors:
        return
    what = f"{process.called} could not be ended: pids {', '.join(map(str, report.survivors))} ignore KILL"
    actions.record_unstoppable(process, what, report.survivors)
    raise Unavailable(
        what,
        meaning="They hang inside the kernel, often on a disk or a network file system, or are another user's.",
        fix="Mend the device they wait for; GAIA tries again, less and less often.",
    )


def _await_pid(process: Process) -> bool:
    """Whether there is something to end: a start that is under way is waited for, one that never was is called off."""
    deadline = time.monotonic() + _DAEMON_PATIENCE_S
    unclear_until = time.monotonic() + _SHIM_PATIENCE_S
    while True:
        process.refresh_from_db()
        if process.pid is not None:
            return process.active
        if not process.active:
            return False
        if not daemon_runs():
            found = harvest.find_started(process)
            if found == harvest.Found.RUNNING:
                return True
            if found == harvest.Found.ENDED:
                harvest.harvest_if_gone(process)
                return False
            if found == harvest.Found.NOTHING or time.monotonic() >= unclear_until:
                actions.record_not_started(process, "it was stopped before it started", level=Level.INFO)
                return False
        elif time.monotonic() >= deadline:
            raise Unavailable(
                f"{process.called} is about to start and the daemon does not say whether it has",
                fix="Look into its log; the stop is noted and carried out as soon as the daemon can.",
            )
        time.sleep(_LOOK_S)


def _port_problem(process: Process) -> str:
    """Who listens on the port that should be free now."""
    if process.port is not None:
        with suppress(GaiaError):
            holder = ports.holder(process.port)
            if holder is not None:
                return f"port {process.port} is still taken, by {ports.describe(holder)}"
    return ""
