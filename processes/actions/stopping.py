"""Ending a process for good: nothing of it is left, and the row says how it ended."""

from __future__ import annotations

from pathlib import Path

from common.errors import Unavailable
from events import log
from events.models import Level
from processes.actions import processes as actions
from processes.drivers import journal, liveness, stop
from processes.drivers.liveness import Identity
from processes.models import Process
from processes.states import ExitSource


def stop_process(process: Process) -> None:
    """TERM, grace, KILL, verified; then the row is `exited`. Blocks for up to the grace period and a few seconds.

    Works with or without a daemon: `gaia down` calls it after the daemon has ended.
    Raises: Unavailable when something of it cannot be killed (uninterruptible sleep).
    """
    actions.request_stop(process)
    process.refresh_from_db()
    if process.pid is None:  # the daemon has not started it yet, or ended before it could
        actions.record_not_started(process, "it was stopped before it started", level=Level.INFO)
        return
    actions.record_stopping(process)
    identity = Identity(process.boot_id, process.pid or 0, process.start_ticks or 0)
    report = stop.stop(identity, token=process.token, grace=process.stop_grace)
    if report.survivors:
        pids = ", ".join(map(str, report.survivors))
        with log.atomic():
            log.emit(
                "process.unstoppable",
                subject=process.owner,
                message=f"{process.owner} could not be ended: pids {pids} ignore KILL",
                level=Level.ERROR,
            )
        raise Unavailable(
            f"{process.owner} could not be ended: pids {pids} ignore KILL",
            meaning="They hang inside the kernel, often on a disk or a network file system.",
            fix="Mend the device they wait for; GAIA tries again at the next stop.",
        )
    record = journal.records(Path(process.journal)).get(process.token)
    code = record.code if record else None
    actions.record_exit(process, code, ExitSource.JOURNAL if code is not None else ExitSource.UNKNOWN)


def leftovers_killed(process: Process) -> int:
    """End what a dead shim has left running; how many processes that were."""
    left = liveness.members(process.pid or -1, process.token) if process.pid else []
    for identity in left:
        stop.stop(identity, token=process.token, grace=0)
    return len(left)
