"""The daemon's look at what processes use: figures for charts, and limits that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta

from django.utils import timezone

from processes.actions import samples
from processes.actions.harvest import identity_of
from processes.actions.samples import SHORT, Figures, begin_of, combined
from processes.drivers.usage import Meter, Total, Tree
from processes.keeping import LimitKeeper
from processes.models import Node, Process
from processes.states import ProcessState

_ALL_EVERY_S = 5.0  # those without limits are looked at less often: what they used is counted all the same
_ROLL_UP_S = 60.0
_FORGET_S = 600.0
_STEADY = timedelta(seconds=30)


class Sampler:
    """Looks at every process of a node once a turn.

    Args:
        node: whose.
        clock: seconds that only ever grow.
        now: what time it is; it may jump.
    """

    def __init__(
        self,
        node: Node,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._node = node
        self._clock = clock
        self._now = now
        self._meters = {True: Meter(clock), False: Meter(clock)}  # of all, and of those with limits
        self._keeper = LimitKeeper(clock)
        self._before: dict[int, tuple[float, float]] = {}  # when, and seconds of CPU until then
        self._seen: dict[str, list[Figures]] = {}
        self._period: datetime | None = None
        self._limited = False  # whether there is one with limits
        self._all_at = clock()
        self._roll_up_at = clock()
        self._forget_at = clock() + _FORGET_S
        self._clocks = (clock(), now())

    def turn(self) -> None:
        """Look once."""
        self._close_period()
        everybody = self._clock() >= self._all_at
        if everybody:
            self._all_at = self._clock() + _ALL_EVERY_S * 0.9
        elif not self._limited:
            return
        rows = self._rows() if everybody else [row for row in self._rows() if row.limits]
        self._limited = any(row.limits for row in rows)
        trees = [Tree(row.pk, identity_of(row), row.token) for row in rows]
        totals = self._meters[everybody].look(trees) if trees else {}
        with (
            ExitStack() as each
        ):  # one that fails does not keep the others from their turn, and is told of all the same
            for row in rows:
                each.callback(self._note, row, totals[row.pk], count=everybody)
        if everybody:
            known = {row.pk for row in rows}
            self._before = {pk: before for pk, before in self._before.items() if pk in known}
            self._keeper.forget_all_but(known)
        self._tidy()

    def _rows(self) -> list[Process]:
        running = Process.objects.filter(node=self._node, state__in=(ProcessState.RUNNING, ProcessState.STOPPING))
        return list(running.filter(pid__isnull=False).defer("argv", "env", "problem", "cwd", "journal", "lock"))

    def _note(self, row: Process, total: Total, *, count: bool) -> None:
        used = self._keeper.look(row, total)
        if count:
            self._seen.setdefault(row.owner, []).append(
                Figures(self._period_now(), cpu := self._cpu(row, total), cpu, used, used, len(total.pids))
            )

    def _cpu(self, row: Process, total: Total) -> float:
        """Percent of one core since the last look; at the first, since the start."""
        now = self._clock()
        then, cpu_s = self._before.get(row.pk, (now - self._keeper.age_of(row), 0.0))
        self._before[row.pk] = (now, total.cpu_s)
        return 100 * max(0.0, total.cpu_s - cpu_s) / max(now - then, 0.01)

    # -- writing down

    def _period_now(self) -> datetime:
        if self._period is None:
            self._period = begin_of(self._now(), SHORT)
        return self._period

    def _close_period(self) -> None:
        """Write down what was seen during a period that is over, or that the clock has jumped out of."""
        if self._period is None or begin_of(self._now(), SHORT) == self._period:
            return
        found = {owner: combined(self._period, parts) for owner, parts in self._seen.items()}
        self._seen, self._period = {}, None  # what cannot be written is lost: the next period follows in any case
        samples.store(self._node, found)

    def _tidy(self) -> None:
        if self._clock() >= self._roll_up_at:
            self._roll_up_at = self._clock() + _ROLL_UP_S
            samples.roll_up(self._node, self._now())
        if self._jumped():
            self._forget_at = self._clock() + _FORGET_S
        elif self._clock() >= self._forget_at:
            self._forget_at = self._clock() + _FORGET_S
            samples.forget(self._node, self._now())

    def _jumped(self) -> bool:
        """Whether the wall clock went another way than time: what is old is not to be told by it right then."""
        clock, now = self._clock(), self._now()
        then, wall = self._clocks
        self._clocks = (clock, now)
        return abs(now - wall - timedelta(seconds=clock - then)) > _STEADY
