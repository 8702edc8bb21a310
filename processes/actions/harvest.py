"""What became of a process that nobody watched: it runs, it ended with a code, or it is lost.

Right with and without a daemon. The order is that of EXECUTION: the lock, then the journal, then the process table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path

from common.locks import lock_held
from processes.actions import processes as actions
from processes.actions.traces import trace
from processes.drivers import cgroup, liveness, stop
from processes.drivers.journal import Journal, Record
from processes.drivers.liveness import Census, Identity
from processes.drivers.stop import StopReport
from processes.drivers.table import Row
from processes.models import Process
from processes.states import PROCESS_ACTIVE, ExitSource, StopCause

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
            process,
            pid=identity.pid,
            start_ticks=identity.start_ticks,
            boot_id=identity.boot_id,
            adopted=True,
            controllers=cgroup.controllers_of(process.token),
        )
        return Found.RUNNING
    if record is None:
        return Found.UNCLEAR
    process.pid = record.pid
    return Found.ENDED


def leftovers(process: Process, census: Census | None = None) -> list[Row]:
    """Who still runs of a process whose shim has ended.

    Args:
        census: of after its end, when there is one.
    """
    origin = origin_of(process)
    if origin is None:
        return []
    census = census or Census(origin.start_ticks)
    rows = census.members(origin.pid, process.token, since=origin.start_ticks)
    return stop.with_group(rows, cgroup.group_of(process.token))


def leftovers_of(processes: Sequence[Process]) -> dict[int, list[Row]]:
    """`leftovers` of many, by their ids, with one look at the process table."""
    origins = [origin for process in processes if (origin := origin_of(process)) is not None]
    if not origins:
        return {process.pk: [] for process in processes}
    census = Census(min(origin.start_ticks for origin in origins))
    return {process.pk: leftovers(process, census) for process in processes}


def end_leftovers(process: Process) -> StopReport:
    """End them; blocks for up to a few seconds and touches no row."""
    origin = origin_of(process)
    if origin is None:
        return StopReport(ended=True, killed=(), survivors=())
    return stop.stop(origin, token=process.token, grace=grace_of_leftovers(process))


def grace_of_leftovers(process: Process) -> float:
    """Seconds that they get between TERM and KILL."""
    return min(process.stop_grace, _LEFTOVER_GRACE_S)


def harvest(process: Process, code: int | None = None, source: str = ExitSource.WAIT, *, swept: int = 0) -> bool:
    """Find out how it ended and write it down; as `outcome`. False when somebody else has written it down."""
    return outcome(process, code, source, swept=swept)()


def outcome(
    process: Process, code: int | None = None, source: str = ExitSource.WAIT, *, swept: int = 0
) -> Callable[[], bool]:
    """Find out how a process ended: `exited` with the code that is known, else `lost`.

    Args:
        code: what the daemon was told of the shim's end; negative when the shim was killed by that signal.
        source: where from: an `ExitSource`.
        swept: how many processes it had left running, which were ended.

    Returns: what writes it down; False when somebody else has.
    """
    # who ended by itself and well need not have been asked to, and most do
    record = _record(process) if code != 0 else None
    asked = record is not None and record.stop_asked
    if code is None or code < 0:  # else it is the command's, passed on by the shim
        code, source = (record.code, ExitSource.JOURNAL) if record is not None else (None, source)
    if code is not None:
        cause = cause_of(process)
        return partial(actions.record_exit, process, code, source, swept=swept, asked=asked, cause=cause)
    problem = "the machine was restarted" if rebooted(process) else "its shim was killed"
    return partial(actions.record_lost, process, problem, swept=swept, asked=asked)


def rebooted(process: Process) -> bool:
    """Whether the machine was restarted since a process ran."""
    return bool(process.boot_id) and process.boot_id != liveness.boot_id()


def cause_of(process: Process) -> str:
    """Why it ended, as far as the kernel knows: a `StopCause`, or empty."""
    group = cgroup.group_of(process.token)
    return StopCause.MEMORY if group is not None and cgroup.killed_for_memory(group) else ""


def noted_code(process: Process) -> int | None:
    """The exit code that its shim noted."""
    record = _record(process)
    return None if record is None else record.code


def harvest_if_gone(process: Process) -> bool:
    """For when no daemon runs: write down the end of a process that is gone; True when that was done."""
    if process.state not in PROCESS_ACTIVE or process.pid is None or is_alive(process):
        return False
    found = leftovers(process)
    if found:
        end_leftovers(process)
    return harvest(process, swept=len(found))


def _record(process: Process) -> Record | None:
    return _journal(trace(process, process.journal), threading.get_ident()).record(process.token)


@lru_cache(maxsize=32)
def _journal(path: Path, thread: int) -> Journal:
    """After a restart a thousand rows ask the same journal, and each end asks the whole day's."""
    return Journal(path)


def _find_shim(token: str, record: Record | None) -> Row | None:
    """The live shim of an attempt: the pid it noted, else (the journal's disk is full) its oldest session leader."""
    leaders = [row for row in liveness.member_rows(0, token) if row.pid == row.session]
    if record is not None and record.pid is not None:
        leaders = [row for row in leaders if row.pid == record.pid]
    return min(leaders, key=lambda row: row.start_ticks, default=None)


def origin_of(process: Process) -> Identity | None:
    """What its members are looked for by; None when the machine was started again since, which ended them all."""
    if process.boot_id == liveness.boot_id():
        return identity_of(process)
    if process.boot_id or process.pid is None:
        return None
    # The daemon was killed before it wrote the boot down. Its pid may be a stranger's by now, its token may not.
    return Identity(liveness.boot_id(), 0, 0)
