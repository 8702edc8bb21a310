"""Whether a service needs a look: a cheap answer from a few columns, for the many that just run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from processes.models import Node, Process
from processes.states import PROCESS_ACTIVE, ProcessState
from services import backoff
from services.models import Service
from services.states import SERVICE_DOWN, SERVICE_UP, Desired, ServiceState
from services.verdict import NO_PROBES, Health

WAITING = (ServiceState.HELD, ServiceState.BACKOFF, ServiceState.CRASH_LOOP, ServiceState.STOPPED)
"""States in which a service that is wanted will be started."""

_LONGEST_WAIT = timedelta(seconds=backoff.TRIAL_S * 1.5)


class Live(NamedTuple):
    """A process that runs or is about to."""

    pk: int
    state: str
    stop_requested_at: datetime | None


class Glance(NamedTuple):
    """What of a service says whether anything about it may have to change."""

    pk: int
    owner: str
    state: str
    desired: str
    next_start_at: datetime | None
    probes: list[Any]
    started_as: dict[str, Any]
    failures: int
    alarmed_at: datetime | None
    ready_at: datetime | None

    @classmethod
    def all_of(cls, node: Node) -> list[Glance]:
        """Every service of a node, in one query."""
        return [cls(*row) for row in Service.objects.filter(node=node).order_by().values_list(*cls._fields)]

    def needs_look(self, live: Live | None, now: datetime, health: Callable[[int, int], Health]) -> bool:
        """Whether something may have to be done.

        Args:
            live: its process that runs or is about to.
            health: the verdict by ids of service and process.
        """
        if live is None:
            return self.state in SERVICE_UP or (
                self.desired == Desired.UP and self.state in WAITING and is_due(self.next_start_at, now)
            )
        if self.state in SERVICE_DOWN or self.state == ServiceState.STOPPING:
            return live.stop_requested_at is None
        if live.stop_requested_at is not None:
            return True
        if live.state != ProcessState.RUNNING:
            return False
        if self.state == ServiceState.STARTING or self._may_be_steady(now):
            return True
        return self._differs(health(self.pk, live.pk) if self.started_as.get("probes", self.probes) else NO_PROBES)

    def _differs(self, health: Health) -> bool:
        if health.live is False:
            return True
        return health.ready is not None and health.ready != (self.state == ServiceState.RUNNING)

    def _may_be_steady(self, now: datetime) -> bool:
        """Whether earlier failures may be forgotten."""
        if self.ready_at is None or (not self.failures and self.alarmed_at is None):
            return False
        return (now - self.ready_at).total_seconds() >= backoff.STEADY_S


def live_processes(node: Node) -> dict[str, Live]:
    """Who runs or is about to, by owner; one query."""
    rows = Process.objects.filter(node=node, state__in=PROCESS_ACTIVE).order_by()
    return {
        owner: Live(pk, state, stop)
        for owner, pk, state, stop in rows.values_list("owner", "pk", "state", "stop_requested_at")
    }


def is_due(due: datetime | None, now: datetime) -> bool:
    """Whether its time has come; also when that is further away than it can be, because the clock was put back."""
    return due is None or now >= due or due - now > _LONGEST_WAIT
