"""Keeps services as people want them: in the daemon, in the thread of the processes' reconciler, so without locks.

Two triggers, each right with the other switched off: `before_end` when a process has just ended (a crashed service
runs again some milliseconds later), and `tick`, which compares every service with its newest process, its probes,
what it depends on and the time. All that is remembered is in the rows: a daemon that is started anew adopts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from django.utils import timezone

from common.errors import Conflict
from events import log
from events.models import Level
from processes.actions.harvest import rebooted
from processes.actions.processes import request_stop
from processes.models import Node, Process
from processes.states import Origin, ProcessState, StopCause
from processes.upkeep import FORESEEN
from services import backoff, ends
from services.actions.deaths import Death, look_back
from services.actions.recording import begin, hold, move, note_problem
from services.actions.standing import see_health, tell_recovery
from services.dependencies import Gates, closed
from services.drivers.probe_log import LITTLE_AT_ONCE
from services.ends import Following
from services.glance import WAITING, Glance, is_due, live_processes
from services.mcp import runs_for_clients_only
from services.models import Service
from services.states import SERVICE_DOWN, SERVICE_UP, Desired, ServiceState
from services.verdict import NO_PROBES, UNKNOWN, Health

logger = logging.getLogger(__name__)

HealthOf = Callable[[int, int], Health]
"""The verdict on a start, by ids of service and process, from memory: it must not wait for anything."""

_LONGEST_DELAY_S = 60.0


def unknown_health(service_id: int, process_id: int) -> Health:
    """Nobody asks: whatever has probes stays as it is."""
    return UNKNOWN


class Supervisor:
    """Starts, follows and restarts the services of one node.

    Args:
        node: whose.
        health: what the probes of a start say.
        clock: seconds that only ever grow.
        now: what time it is.
        uniform: a random number between two others.
    """

    def __init__(
        self,
        node: Node,
        *,
        health: HealthOf = unknown_health,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = timezone.now,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._node = node
        self._health = health
        self._clock = clock
        self._now = now
        self._uniform = uniform
        self._gates = Gates(LITTLE_AT_ONCE)  # everything else waits for this thread
        self._put_off: dict[int, tuple[float, float]] = {}
        self._due_at: datetime | None = None

    # -- told by the reconciler

    def before_end(self, process: Process, over: Collection[int] = ()) -> Callable[[], Process | None] | None:
        """A process is about to be written down as ended.

        Args:
            over: as in `processes.upkeep.Keeper`.

        Returns: what is to be called in the same transaction, when the row says how it ended; that returns the next
        start, which is to be carried out at once. None when the process is no service's.
        """
        service = self._service_of(process)
        if service is None or service.state not in SERVICE_UP:
            return None
        asked = process.stop_requested_at is not None and process.cause in ("", StopCause.ASKED)
        death = Death() if asked else look_back(service, process)  # of what was asked for nobody wants to know why

        def end() -> Process | None:
            if process.active:  # somebody else has written its end down
                return None
            stays_down = asked and service.desired == Desired.DOWN
            return self._ended(service, process, death, "" if stays_down else self._gates.closed(service, over))

        return end

    def started(self, process: Process) -> None:
        """A start was carried out: the process runs. In the transaction that says so."""
        service = self._service_of(process)
        if service is not None and service.state == ServiceState.STARTING:
            self._see_health(service, process)

    def _service_of(self, process: Process) -> Service | None:
        found = Service.objects.of_owner(self._node.pk, process.owner)
        if found is None:
            return None
        service: Service = found[0]
        service.node = self._node
        if not found[1]:
            self._gates.note_gateless(service)
        return service

    # -- looking

    def tick(self, over: Collection[int] = ()) -> list[Process]:
        """Look at every service once. Returns: starts that are to be carried out.

        Args:
            over: as in `processes.upkeep.Keeper`.
        """
        now = self._now()
        glances = Glance.all_of(self._node)
        live = live_processes(self._node)
        self._due_at = min((each.next_start_at for each in glances if each.next_start_at is not None), default=None)
        self._gates.forget({each.pk for each in live.values()})
        wanted = [
            each.pk
            for each in glances
            if not self._is_put_off(each.pk) and each.needs_look(live.get(each.owner), now, self._health)
        ]
        return self._look_at(wanted, over) if wanted else []

    def due_in(self) -> float | None:
        """Seconds until a service is to be started again; None when none waits for its time."""
        if self._due_at is None:
            return None
        return max(0.0, min(backoff.TRIAL_S, (self._due_at - self._now()).total_seconds()))

    def _is_put_off(self, pk: int) -> bool:
        return self._clock() < self._put_off.get(pk, (0.0, 0.0))[1]

    def _look_at(self, wanted: list[int], over: Collection[int]) -> list[Process]:
        services = list(Service.objects.select_related("node").filter(pk__in=wanted).order_by("name"))
        newest = Process.objects.filter(node=self._node).newest_by_owner(each.owner for each in services)
        waiting = [each for each in services if each.state in WAITING or each.state in SERVICE_UP]
        gates = self._gates.of_many(waiting, over=over)
        starts: list[Process] = []
        for service in services:
            process = newest.get(service.owner)
            why = closed(gates.get(service.pk, ()))
            try:
                started = self._deal(service, process, why)
            except Outrun:
                continue
            except Exception as error:
                self._put_off_after(service, error)
            else:
                self._put_off.pop(service.pk, None)
                starts += [started] if started is not None else []
        return starts

    def _put_off_after(self, service: Service, error: Exception) -> None:
        delay = min(_LONGEST_DELAY_S, 2 * self._put_off.get(service.pk, (0.5, 0.0))[0])
        self._put_off[service.pk] = (delay, self._clock() + delay)
        told = f"{service.called}: next look in {delay:g} s"
        defect = not isinstance(error, FORESEEN)
        logger.error("%s: %s: %s", told, type(error).__name__, error, exc_info=defect and delay <= 1)

    # -- dealing with one

    def _deal(self, service: Service, process: Process | None, why: str) -> Process | None:
        if process is not None and process.active:
            self._follow(service, process)
            return None
        if runs_for_clients_only(service.kind, service.details) and service.state != ServiceState.STOPPING:
            return self._stand_by(service, why)
        if service.state in SERVICE_UP:
            if process is None:  # its row was deleted
                return self._without_a_trace(service, why)
            death = look_back(service, process)
            with log.atomic():
                return self._ended(service, process, death, why)
        if service.desired == Desired.UP and service.state in WAITING and is_due(service.next_start_at, self._now()):
            return self._try_again(service, why)
        return None

    def _without_a_trace(self, service: Service, why: str) -> Process | None:
        """Nobody knows what became of its process."""
        if service.desired == Desired.UP:
            return self._begin_or_hold(service, why, f"{service.sentence} is started again")
        move(service, ServiceState.STOPPED, kind="stopped", message=f"{service.sentence} does not run any more")
        return None

    def _stand_by(self, service: Service, why: str) -> Process | None:
        """No process of it ever runs here: its state is what its probe says."""
        if service.state in SERVICE_UP:
            self._see_health(service, Process(pk=0, owner=service.owner, attempt=0))
        elif service.desired == Desired.UP and service.state in WAITING:
            return self._try_again(service, why)
        return None

    def _try_again(self, service: Service, why: str) -> Process | None:
        waited = service.state in (ServiceState.BACKOFF, ServiceState.CRASH_LOOP)
        message = f"{service.sentence} is started again" if waited else f"{service.sentence} starts"
        return self._begin_or_hold(service, why, message, {"restarts": service.restarts + 1} if waited else {})

    def _begin_or_hold(
        self, service: Service, why: str, message: str, fields: dict[str, Any] | None = None
    ) -> Process | None:
        if why:
            if service.state != ServiceState.HELD and not hold(service, why, fields=fields):
                raise Outrun(service.called)
            note_problem(service, why)
            return None
        started = begin(service, message=message, fields=fields, silent=service.state == ServiceState.CRASH_LOOP)
        if started is None and not runs_for_clients_only(service.kind, service.details):
            raise Outrun(service.called)
        return started

    def _follow(self, service: Service, process: Process) -> None:
        """A process of it is live."""
        if service.state in SERVICE_DOWN:
            if process.stop_requested_at is None:
                self._follow_script(service, process)
        elif service.state == ServiceState.STOPPING:
            if process.stop_requested_at is None:
                request_stop(process)
        elif process.stop_requested_at is not None:
            self._follow_stop(service, process)
        elif process.state == ProcessState.RUNNING:
            self._see_health(service, process)

    def _follow_script(self, service: Service, process: Process) -> None:
        """Somebody has started it without asking GAIA: that is what people want, then. Or GAIA was to end it when it
        went down itself, and did not get to it.
        """
        told = "was started by its launch script" if process.origin == Origin.SCRIPT else "still runs"
        move(
            service,
            ServiceState.STARTING,
            kind="start_requested",
            message=f"{service.sentence} {told}",
            fields={"desired": Desired.UP, "problem": "", "next_start_at": None, "ready_at": None, "failures": 0},
            told={"origin": process.origin},
        )

    def _follow_stop(self, service: Service, process: Process) -> None:
        by_gaia = process.cause not in ("", StopCause.ASKED)
        move(
            service,
            ServiceState.STOPPING,
            kind="stop_requested",
            message=f"{service.sentence} is being stopped",
            fields={} if by_gaia else {"desired": Desired.DOWN},
            told={"cause": process.cause},
            silent=process.untold,
        )

    def _see_health(self, service: Service, process: Process) -> None:
        health = self._health(service.pk, process.pk) if service.probes_asked else NO_PROBES
        see_health(service, process, health, self._now())

    # -- ends

    def _ended(self, service: Service, process: Process, death: Death, why: str) -> Process | None:
        """Write down what follows from an end. Returns: the next start."""
        end = ends.account(service, process, rebooted=rebooted(process))
        then = ends.following(service, end, self._now(), self._uniform, trial=process.silent)
        fields = dict(then.fields)
        if then.died:
            known = {"attempt": process.attempt, "at": (process.ended_at or self._now()).isoformat()}
            fields["last_death"] = death.told(end) | fields.get("last_death", {}) | known
        with log.atomic():
            if then.died and then.kind not in ("died", "trial"):
                self._tell_death(service, end, fields["last_death"])
            return self._go_on(service, then, fields, why)

    def _tell_death(self, service: Service, end: ends.End, data: dict[str, Any]) -> None:
        log.emit(
            "service.died",
            subject=service.key,
            message=f"{service.sentence} {end.how}",
            level=Level.WARNING,
            **data,
        )

    def _go_on(self, service: Service, then: Following, fields: dict[str, Any], why: str) -> Process | None:
        told = fields["last_death"] if then.kind in ("died", "failed", "trial") else {}
        if then.kind == "trial" and then.level == Level.INFO:  # the same once more: its last lines are on its page
            told = {name: value for name, value in told.items() if name != "lines"}
        alarmed = service.alarmed_at is not None
        if then.state != ServiceState.STARTING:
            base = {"ready_at": None, "next_start_at": None, "problem": ""}
            if not move(
                service, then.state, kind=then.kind, message=then.message, level=then.level,
                fields=base | fields, told=told,
            ):  # fmt: skip
                raise Outrun(service.called)
            if alarmed and then.state == ServiceState.COMPLETED:
                tell_recovery(service, "it has done its work")
            return None
        if not then.died:
            return self._begin_or_hold(service, why, then.message, fields)
        fields["restarts"] = service.restarts + 1
        log.emit(f"service.{then.kind}", subject=service.key, message=then.message, level=then.level, **told)
        return self._begin_or_hold(service, why, f"{service.sentence} is started again", fields)


class Outrun(Conflict):
    """Somebody has changed the service between the look and the writing; the next look decides anew."""
