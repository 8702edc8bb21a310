"""What became of a process that nobody watched: it runs, it ended with a code, or it is lost.

Right with and without a daemon. The order is that of EXECUTION: the lock, then the journal, then the process table.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from pathlib import Path

from common.locks import lock_held
from processes.actions import processes as actions
from processes.actions.traces import trace
from processes.drivers import journal, liveness, stop
from processes.drivers.journal import Record
from processes.drivers.liveness import Identity
from processes.drivers.stop import StopReport
from processes.drivers.table import Row
from processes.models import Process
from processes.states import PROCESS_ACTIVE, ExitSource

_LEFTOVER_GRACE_S = 1.0


class Found(Enum):
    """What is known of a start that no row tells of."""

    NOTHING = "it was never started"
    UNCLEAR = "its lock is held, and whoever holds it does not show yet that he is it"
    RUNNING = "it runs"
    ENDED = "it was started and has ended"


def identity_of(process: Process) -> Identity:
    """What tells the row's shim from another process that got its pid later."""
    return Identity(process.boot_id, process.pid or 0, process.start_ticks or 0)


def is_alive(process: Process) -> bool:
    """Whether the row's shim runs, whatever its state says."""
    return liveness.alive(identity_of(process))


def find_started(process: Process) -> Found:
    """Whether a daemon that was killed between spawning and writing it down had started this one.

    A running one becomes `running`. For one that has ended its pid is filled in, unsaved, and `harvest` is to follow.
    """
    held = lock_held(trace(process, process.lock))
    record = _record(process)
    if record is None and not held:
        return Found.NOTHING
    shim = _find_shim(process.token, record)
    if shim is not None:
        identity = Identity.of(shim)
        actions.record_started(
            process, pid=identity.pid, start_ticks=identity.start_ticks, boot_id=identity.boot_id, adopted=True
        )
        return Found.RUNNING
    if record is None:
        return Found.UNCLEAR
    process.pid = record.pid
    return Found.ENDED


def leftovers(process: Process) -> list[Row]:
    """Who still runs of a process whose shim has ended."""
    origin = _origin(process)
    return liveness.member_rows(origin.pid, process.token, since=origin.start_ticks) if origin is not None else []


def end_leftovers(process: Process) -> StopReport:
    """End them; blocks for up to a few seconds and touches no row."""
    origin = _origin(process)
    if origin is None:
        return StopReport(ended=True, killed=(), survivors=())
    return stop.stop(origin, token=process.token, grace=min(process.stop_grace, _LEFTOVER_GRACE_S))


def harvest(process: Process, code: int | None = None, source: str = ExitSource.WAIT, *, swept: int = 0) -> bool:
    """`exited` with the code that is known, else `lost`. False when somebody else has written it down.

    Args:
        code: what the daemon was told of the shim's end; negative when the shim was killed by that signal.
        source: where from: an `ExitSource`.
        swept: how many processes it had left running, which were ended.
    """
    # who ended by itself and well need not have been asked to, and most do
    record = _record(process) if code != 0 else None
    asked = record is not None and record.stop_asked
    if code is not None and code >= 0:  # the shim passes its command's code on
        return actions.record_exit(process, code, source, swept=swept, asked=asked)
    if record is not None and record.code is not None:
        return actions.record_exit(process, record.code, ExitSource.JOURNAL, swept=swept, asked=asked)
    rebooted = bool(process.boot_id) and process.boot_id != liveness.boot_id()
    problem = "the machine was restarted" if rebooted else "its shim was killed"
    return actions.record_lost(process, problem, swept=swept, asked=asked)


def harvest_if_gone(process: Process) -> bool:
    """For when no daemon runs: write down the end of a process that is gone; True when that was done."""
    if process.state not in PROCESS_ACTIVE or process.pid is None or is_alive(process):
        return False
    found = leftovers(process)
    if found:
        end_leftovers(process)
    return harvest(process, swept=len(found))


def _record(process: Process) -> Record | None:
    path = trace(process, process.journal)
    try:
        facts = path.stat()
    except OSError:
        return None
    return _records(path, facts.st_ino, facts.st_size, facts.st_mtime_ns).get(process.token)


@lru_cache(maxsize=32)
def _records(path: Path, inode: int, size: int, changed_ns: int) -> dict[str, Record]:
    """After a restart a thousand rows ask the same journal: it is read once for as long as nobody notes anything."""
    return journal.records(path)


def _find_shim(token: str, record: Record | None) -> Row | None:
    """The live shim of an attempt: the pid it noted, else (the journal's disk is full) its oldest session leader."""
    leaders = [row for row in liveness.member_rows(0, token) if row.pid == row.session]
    if record is not None and record.pid is not None:
        leaders = [row for row in leaders if row.pid == record.pid]
    return min(leaders, key=lambda row: row.start_ticks, default=None)


def _origin(process: Process) -> Identity | None:
    """What its members are looked for by; None when the machine was started again since, which ended them all."""
    if process.boot_id == liveness.boot_id():
        return identity_of(process)
    if process.boot_id or process.pid is None:
        return None
    # The daemon was killed before it wrote the boot down. Its pid may be a stranger's by now, its token may not.
    return Identity(liveness.boot_id(), 0, 0)
