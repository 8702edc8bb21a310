"""Level-triggered: makes the processes of this node what the rows say, and the rows what the processes are.

The daemon calls `tick` whenever somebody committed and once a second besides. All methods run in the daemon's
one database thread; whatever has to be waited for is done aside, by threads that touch no row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from common.errors import GaiaError, Unavailable
from common.home import gaia_home
from events import log
from events.models import Level
from processes.actions import harvest, nodes, operations, stopping
from processes.actions import processes as actions
from processes.actions.harvest import Found, identity_of
from processes.actions.traces import check_traces
from processes.drivers import cgroup, ports, spawn, stop
from processes.drivers.liveness import Identity
from processes.drivers.spawn import Spawned
from processes.drivers.stops import Stops
from processes.models import Node, Operation, Process
from processes.starting import spec_of
from processes.states import PROCESS_ACTIVE, ExitSource, ProcessState
from processes.upkeep import FORESEEN, NO_DATABASE, Keeper, follow_on, keep_apart, tell_stumble

logger = logging.getLogger(__name__)

Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
Write = Callable[[], Any]

_UNCLEAR_S = 2.0  # a shim shows its token once it has been executed, some microseconds after the fork
_OPERATIONS_EVERY_S = 2.0
_LONGEST_DELAY_S = 60.0
_NEXT_LOOK_S = 0.5
_UNKNOWN_END = (None, ExitSource.UNKNOWN)


class ProcessReconciler:
    """Starts, adopts, harvests and stops the processes of one node.

    Args:
        node: whose.
        watch: called with (identity, process id) to be told of the exit by `ended`.
        aside: called with (work, then): runs `work` in another thread and `then` with its result in this one.
        clock: seconds that only ever grow.
        keeper: who keeps some of them up.
    """

    def __init__(
        self,
        node: Node,
        watch: Callable[[Identity, int], None],
        aside: Aside,
        clock: Callable[[], float] = time.monotonic,
        keeper: Keeper | None = None,
    ) -> None:
        self._node = node
        self._watch = watch
        self._aside = aside
        self._clock = clock
        self._keeper = keeper
        self._watched: set[int] = set()
        self._busy: set[int] = set()  # something is being done aside
        self._spawned: dict[int, Spawned] = {}  # started, and the row does not say so yet
        self._ends: dict[int, tuple[int | None, str]] = {}  # ended, and the row does not say so yet
        self._unclear: dict[int, float] = {}
        self._put_off: dict[int, tuple[float, float]] = {}  # how long, until when
        self._operations_at = 0.0
        self._adopted = False
        self._stops: Stops[int] = Stops()
        self._stops_run = False
        self._stopping: dict[int, tuple[Process, int | None]] = {}  # and how many it had left running

    def rows(self) -> QuerySet[Process]:
        """The live rows of this node."""
        return Process.objects.filter(node=self._node, state__in=PROCESS_ACTIVE).order_by("id")

    def tick(self) -> None:
        """Look at every live row once. A row that cannot be dealt with does not keep the others from their turn."""
        due = self._due()
        left_by_predecessor = [] if self._adopted else [process for process in due if process.pid is not None]
        unwanted = [row for row in due if row.stop_requested_at is not None and row.pid is not None]
        gone = [row for row in due if row not in unwanted and self._is_gone(row)]
        self._ends |= {row.pk: self._end_of(row) for row in gone}
        self._together(gone, self._harvest)
        for process in due:
            if process not in unwanted and process not in gone:
                self._try(process, self._look_at)
        self._together(unwanted, self._stop)
        if not self._adopted:
            self._adopted = True
            self._tell_adoption(left_by_predecessor)
        if self._clock() >= self._operations_at:
            self._operations_at = self._clock() + _OPERATIONS_EVERY_S
            operations.fail_interrupted()
        for process in self._keeper.tick(self._known_over()) if self._keeper is not None else ():
            self._try(process, self._start)

    def _due(self) -> list[Process]:
        """The live rows that something may have to be done about. Of the many that just run few columns are read."""
        due = [
            pk
            for pk, pid, stop in self.rows().values_list("pk", "pid", "stop_requested_at")
            if (pid is None or stop is not None or pk not in self._watched)
            and pk not in self._busy
            and self._clock() >= self._put_off.get(pk, (0.0, 0.0))[1]
        ]
        return list(self.rows().filter(pk__in=due)) if due else []

    def due_in(self) -> float | None:
        """Seconds until the keeper wants to look again; None when it only waits to be told."""
        return self._keeper.due_in() if self._keeper is not None else None

    def ended(self, process_id: int, code: int | None, source: str = ExitSource.WAIT) -> None:
        """The shim of a watched process is gone.

        Args:
            code: its exit code (negative: killed by that signal); None when neither waiting nor the kernel told.
            source: an `ExitSource`, where the code is known from.
        """
        self.some_ended([(process_id, code, source)])

    def some_ended(self, ends: Sequence[tuple[int, int | None, str]]) -> None:
        """`ended` for those that ended at the same time: with one look at what they left running."""
        for process_id, code, source in ends:
            self._watched.discard(process_id)
            self._ends[process_id] = (code, source)  # kept until it is written down: nobody can ask for it again
        # of one that is being stopped, whoever does that writes the end down
        free = [process_id for process_id, _, _ in ends if process_id not in self._busy]
        found = Process.objects.live_among(free)
        self._together(found, self._harvest)
        for process_id in set(free) - {process.pk for process in found}:
            self._forget(process_id)

    def _together(self, processes: Sequence[Process], deal: Callable[..., None]) -> None:
        """Deal with several at once; one by one if that fails, so that none keeps the others from it."""
        if len(processes) > 1:
            with suppress(Exception):
                deal(*processes)
                return
        for process in processes:
            if process.pk not in self._busy:
                self._try(process, deal)

    def _try(self, process: Process, deal: Callable[[Process], None]) -> None:
        """Deal with one row; after a failure its next turn comes later and later."""
        try:
            deal(process)
        except Exception as error:
            delay = min(_LONGEST_DELAY_S, 2 * self._put_off.get(process.pk, (0.5, 0.0))[0])
            self._put_off[process.pk] = (delay, self._clock() + delay)
            told = f"process {process.pk} ({process.owner}): next try in {delay:g} s"
            defect = not isinstance(error, FORESEEN)
            logger.error("%s: %s: %s", told, type(error).__name__, error, exc_info=defect and delay <= 1)
        else:
            self._put_off.pop(process.pk, None)

    def _look_at(self, process: Process) -> None:
        if process.state == ProcessState.STARTING and process.pid is None:
            self._begin(process)
        elif process.pk not in self._watched:
            self._follow(process)

    # -- starting

    def _begin(self, process: Process) -> None:
        if process.pk in self._spawned:
            self._record_started(process)
            return
        found = harvest.find_started(process)
        if found == Found.RUNNING:
            self._follow(process)
        elif found == Found.ENDED:
            self._harvest(process)
        elif found == Found.UNCLEAR and self._clock() < self._unclear.setdefault(
            process.pk, self._clock() + _UNCLEAR_S
        ):
            return
        elif process.stop_requested_at is not None:
            problem = "it was stopped before it started"
            self._write_end((process, lambda: actions.record_not_started(process, problem, level=Level.INFO)))
        else:
            self._start(process)

    def _start(self, process: Process) -> None:
        try:
            check_traces(process)
            if process.port is not None and (holder := ports.holder(process.port)) is not None:
                raise GaiaError(f"port {process.port} is taken by {ports.describe(holder)}")
            spawned = spawn.spawn(spec_of(process))
        except (GaiaError, OSError) as error:
            problem = f"{error}. {error.fix}" if isinstance(error, GaiaError) and error.fix else str(error)
            self._write_end((process, lambda: actions.record_not_started(process, problem)))
            return
        self._spawned[process.pk] = spawned
        self._record_started(process)

    def _record_started(self, process: Process) -> None:
        spawned = self._spawned[process.pk]
        written = self._kept(
            lambda: actions.record_started(
                process,
                pid=spawned.pid,
                start_ticks=spawned.start_ticks,
                boot_id=spawned.boot_id,
                controllers=cgroup.controllers_of(process.token),
            ),
            lambda: self._keeper.started(process) if self._keeper is not None else None,
        )
        if written:
            del self._spawned[process.pk]
            self._follow(process)
        else:  # the row has ended meanwhile, and a terminal state never changes
            self._aside(lambda: stop.stop(spawned.identity, token=process.token, grace=0), lambda _: None)
            self._forget(process.pk)

    # -- watching

    def _is_gone(self, process: Process) -> bool:
        """Of a live row that nobody watches: the daemon was restarted, or could not write the end down.

        Its identity is certain, so the lock is not asked: a cleaned checkout may have lost the file.
        """
        return process.pid is not None and process.pk not in self._watched and not harvest.is_alive(process)

    def _follow(self, process: Process) -> None:
        self._watched.add(process.pk)
        self._watch(identity_of(process), process.pk)

    # -- ending

    def _harvest(self, *processes: Process) -> None:
        """Write the ends down; what they left running is ended first, or the next start would have two of them."""
        left = harvest.leftovers_of(processes)
        gone = [process for process in processes if not left[process.pk]]
        ends = [(process, harvest.outcome(process, *self._end_of(process))) for process in gone]
        for process in processes:
            origin = harvest.origin_of(process)
            if origin is not None and left[process.pk]:
                self._end_aside(process, origin, harvest.grace_of_leftovers(process), swept=len(left[process.pk]))
        self._run_stops()
        self._write_end(*ends)

    def _stop(self, *processes: Process) -> None:
        stopping.begin(*processes)
        for process in processes:
            self._end_aside(process, identity_of(process), process.stop_grace)
        self._run_stops()

    def _end_aside(self, process: Process, origin: Identity, grace: float, *, swept: int | None = None) -> None:
        """End all of it, by `_run_stops`; until then nobody else deals with this process.

        Args:
            swept: how many it had left running, when it ended by itself.
        """
        self._busy.add(process.pk)
        self._stopping[process.pk] = (process, swept)
        self._stops.add(process.pk, origin, token=process.token, grace=grace)

    def _run_stops(self) -> None:
        if self._stops.pending and not self._stops_run:
            self._stops_run = True
            self._aside(self._carry_out_stops, self._some_stopped)

    def _carry_out_stops(self) -> list[tuple[int, stop.StopReport | Exception]]:
        """In another thread. No descriptor left, no memory: all of them wait a little and go on."""
        try:
            return self._stops.run()
        except Exception as error:
            logger.error("stops: %s: %s", type(error).__name__, error, exc_info=not isinstance(error, FORESEEN))
            time.sleep(_NEXT_LOOK_S)
            return []

    def _some_stopped(self, reports: Sequence[tuple[int, stop.StopReport | Exception]]) -> None:
        self._stops_run = False
        self._run_stops()  # the others, while these are written down
        ends: list[tuple[Process, Write]] = []
        for pk, report in reports:
            process, swept = self._stopping.pop(pk)
            self._busy.discard(pk)

            def judge(one: Process, report: Any = report, swept: int | None = swept) -> None:
                ends.append((one, self._outcome(one, report, swept)))

            self._try(process, judge)
        written = dict(ends)
        self._together(list(written), lambda *those: self._write_end(*((one, written[one]) for one in those)))

    def _outcome(self, process: Process, report: stop.StopReport | Exception, swept: int | None) -> Write:
        if isinstance(report, Exception):
            raise Unavailable(f"{process.called} could not be ended: {report}")
        if swept is None:
            return stopping.outcome(process, report, *self._end_of(process))
        stopping.check_ended(process, report)
        return harvest.outcome(process, *self._end_of(process), swept=swept)

    def _known_over(self) -> set[int]:
        """Who has ended, or is being ended: what waits for such a one must not take its row's word that it runs."""
        return self._ends.keys() | self._stopping.keys()

    def _end_of(self, process: Process) -> tuple[int | None, str]:
        return self._ends.get(process.pk, _UNKNOWN_END)

    def _write_end(self, *ends: tuple[Process, Write]) -> None:
        """Write ends down, together with what their keeper does next, and carry that out."""
        over = self._known_over()
        following = [self._before_end(process, over) for process, _ in ends]
        starts: list[Process] = []
        with log.atomic() if len(ends) > 1 or self._keeper is not None else nullcontext():
            for _, write in ends:  # all of them first: what follows from one may depend on another
                write()
            for follow in following:
                keep_apart(partial(follow_on, follow, starts))
        for process, _ in ends:
            self._over(process)
        for start in starts:  # its row is a moment old and this thread's: nobody can have carried it out
            self._try(start, self._start)

    def _before_end(self, process: Process, over: Collection[int]) -> Callable[[], Process | None] | None:
        try:
            return self._keeper.before_end(process, over) if self._keeper is not None else None
        except NO_DATABASE:
            raise
        except Exception as error:
            tell_stumble(error)
            return None

    def _kept(self, write: Callable[[], Any], keep: Callable[[], Any]) -> Any:
        """Write, with what the keeper writes in one transaction; without that, when the keeper stumbles."""
        if self._keeper is None:
            return write()
        with log.atomic():
            result = write()
            keep_apart(keep)
        return result

    def _over(self, process: Process) -> None:
        """The row is terminal: let go of it, and tell whoever waits for it."""
        self._forget(process.pk)
        cgroup.release(process.token)
        kind, _, key = process.owner.partition("/")
        if kind == "operation":
            Path(process.lock).unlink(missing_ok=True)  # an operation never starts a second time
            for operation in Operation.objects.active().filter(pk=key):
                operations.fail_if_interrupted(operation)

    def _forget(self, pk: int) -> None:
        self._watched.discard(pk)
        self._spawned.pop(pk, None)
        self._ends.pop(pk, None)
        self._unclear.pop(pk, None)
        self._put_off.pop(pk, None)

    # -- after a start

    def _tell_adoption(self, left: list[Process]) -> None:
        if left:
            adopted = sum(process.pk in self._watched or process.pk in self._busy for process in left)
            nodes.record_adoption(self._node, adopted=adopted, ended=len(left) - adopted)
        remove_old_journals()
        if cgroup.in_use():
            cgroup.sweep(list(self.rows().values_list("token", flat=True)))


def remove_old_journals() -> None:
    """Journals of past days that no live process was started with."""
    folder = gaia_home().processes
    kept = set(Process.objects.active().values_list("journal", flat=True))
    today = f"journal-{timezone.now():%Y-%m-%d}"
    for path in folder.glob("journal*"):
        if path.name < today and str(path) not in kept:
            with suppress(OSError):
                path.unlink()
