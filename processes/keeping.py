"""Keeps the limits that no kernel keeps: by looking, warning, and asking for the end of what goes beyond.

The kernel keeps open files (rlimit) and, in a cgroup, memory and CPU; what is measured of those is only warned about.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from processes.actions import limits as actions
from processes.actions.harvest import identity_of
from processes.actions.traces import trace
from processes.drivers import priority, usage
from processes.drivers.liveness import Identity
from processes.drivers.usage import Total
from processes.limits import MEGABYTE, WARN_AT, Limits
from processes.models import Process
from processes.states import ProcessState, StopCause

_CALM = 0.9  # of the warning's threshold: below that, the next one is told again
_CPU_WINDOW_S = 5.0  # CPU is judged by what was used for so long: a start is a burst
_NEW_S = 10.0  # what is older at the first look may have been warned about by another daemon
_CAUSES = {"memory_mb": StopCause.MEMORY, "run_time_s": StopCause.RUN_TIME, "quiet_s": StopCause.QUIET}


@dataclass
class _Watched:
    limits: Limits
    log: Path
    log_size: int = -1
    wrote_at: float = 0.0
    warned: set[str] = field(default_factory=set)
    inherited: bool = False
    throttled: bool = False
    cpu: deque[tuple[float, float]] = field(default_factory=deque)  # when, and seconds of CPU until then


class LimitKeeper:
    """Judges each look at a process.

    Args:
        clock: seconds that only ever grow; run times and silence are told by it and by the kernel, never by the wall.
        age: seconds since a shim was started.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, age: Callable[[Identity], float] = usage.age
    ) -> None:
        self._clock = clock
        self._age = age
        self._watched: dict[int, _Watched] = {}

    def age_of(self, process: Process) -> float:
        """Seconds it has run."""
        return self._age(identity_of(process))

    def forget_all_but(self, keys: set[int]) -> None:
        """Let go of those that have ended."""
        self._watched = {pk: watched for pk, watched in self._watched.items() if pk in keys}

    def look(self, process: Process, total: Total) -> int:
        """Hold what a process uses against its limits.

        Returns: the memory it counts for, in bytes: shared pages once.
        """
        if not process.limits:
            return total.own_memory
        watched = self._watched.get(process.pk) or self._begin(process)
        used = self._measure(process, watched, total)
        if process.state == ProcessState.RUNNING and process.stop_requested_at is None:
            for name, limit in watched.limits.as_dict().items():
                if name in used:
                    self._judge(process, watched, name, limit, used[name], total)
        return round(used["memory_mb"] * MEGABYTE) if "memory_mb" in used else total.own_memory

    def _begin(self, process: Process) -> _Watched:
        watched = _Watched(
            limits=Limits.parse(process.limits),
            log=trace(process, process.log),
            wrote_at=self._clock(),
            inherited=self.age_of(process) > _NEW_S,
        )
        self._watched[process.pk] = watched
        return watched

    # -- measuring

    def _measure(self, process: Process, watched: _Watched, total: Total) -> dict[str, float]:
        """What is used of each limit, in its own unit."""
        limits = watched.limits
        used: dict[str, float] = {"run_time_s": self.age_of(process)}
        if limits.memory_mb is not None:
            memory = total.own_memory
            if total.memory >= WARN_AT * _CALM * limits.memory_mb * MEGABYTE:  # near it, as it is at this moment
                memory = usage.own_memory(total.pids, total.memory)
            used["memory_mb"] = memory / MEGABYTE
        if limits.cpu_percent is not None and (percent := self._percent(watched, total)) is not None:
            used["cpu_percent"] = percent
        if limits.quiet_s is not None:
            used["quiet_s"] = self._silence(watched)
        if limits.open_files is not None:
            used["open_files"] = usage.most_open_files(total.pids)
        return used

    def _percent(self, watched: _Watched, total: Total) -> float | None:
        """CPU during the last seconds; None while it was not watched for so long."""
        now = self._clock()
        watched.cpu.append((now, total.cpu_s))
        while len(watched.cpu) > 1 and watched.cpu[1][0] <= now - _CPU_WINDOW_S:
            watched.cpu.popleft()
        then, before = watched.cpu[0]
        return 100 * max(0.0, total.cpu_s - before) / (now - then) if now - then >= _CPU_WINDOW_S else None

    def _silence(self, watched: _Watched) -> float:
        """Seconds since its log has grown, counted from the first look: another daemon may have been slow to come."""
        try:
            size = watched.log.stat().st_size
        except OSError:
            size = -1
        if size != watched.log_size or _is_full(watched.log):  # who cannot write is not silent
            watched.log_size = size
            watched.wrote_at = self._clock()
        return self._clock() - watched.wrote_at

    # -- judging

    def _judge(self, process: Process, watched: _Watched, name: str, limit: float, used: float, total: Total) -> None:
        kernel_keeps = process.enforcement.get(name) in ("cgroup", "rlimit")
        if used >= limit and name in _CAUSES and not kernel_keeps:
            actions.stop_over_limit(process, _CAUSES[name], name=name, limit=limit, used=used)
        elif used > limit and name == "cpu_percent" and not kernel_keeps:
            self._throttle(process, watched, limit, used, total)
        if used >= WARN_AT * limit and name not in watched.warned:
            watched.warned.add(name)
            if not (watched.inherited and actions.was_warned(process, name)):
                actions.warn_limit(process, name=name, limit=limit, used=used)
        elif used < WARN_AT * _CALM * limit:
            watched.warned.discard(name)

    def _throttle(self, process: Process, watched: _Watched, limit: float, used: float, total: Total) -> None:
        """Lower the priority of all it runs, of what it starts later as well."""
        lowered = priority.lower(total.pids)
        if lowered and not watched.throttled:
            actions.record_throttled(process, limit=limit, used=used, nice=priority.NICE)
        watched.throttled = True


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free == 0
    except OSError:
        return False
