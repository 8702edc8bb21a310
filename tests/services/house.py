"""A supervisor whose daemon, clock and probes are the test's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from events.models import Event
from processes.drivers.liveness import Identity
from processes.drivers.table import table
from processes.models import Node, Process
from processes.reconcile import ProcessReconciler
from services.models import Service
from services.supervisor import Supervisor
from services.verdict import UNKNOWN, Health
from tests.waiting import until


class House:
    """Everything of a daemon that services need, in the test's own thread.

    Time stands still: `now` and `clock` move when the test says so. `health` is what probes say, by name of service.
    What is done aside is done at once, or when `do_aside` is called, after `aside` was made a list.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.now = datetime.now(UTC)
        self.clock = 1000.0
        self.health: dict[str, Health] = {}
        self.aside: list[tuple[Callable[[], Any], Callable[[Any], None]]] | None = None
        self.watched: dict[int, Identity] = {}
        self._names: dict[int, str] = {}
        self.supervisor = Supervisor(
            node, health=self._health, clock=lambda: self.clock, now=lambda: self.now, uniform=lambda _low, _high: 1.0
        )
        self.reconciler = ProcessReconciler(node, self._watch, self._aside, lambda: self.clock, keeper=self.supervisor)

    def _health(self, service_id: int, process_id: int) -> Health:
        if service_id not in self._names:
            self._names[service_id] = Service.objects.get(pk=service_id).name
        return self.health.get(self._names[service_id], UNKNOWN)

    def _watch(self, identity: Identity, process_id: int) -> None:
        self.watched[process_id] = identity

    def _aside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        if self.aside is None:
            then(work())
        else:
            self.aside.append((work, then))

    def do_aside(self) -> None:
        """What was put off, and from now on at once."""
        waiting, self.aside = self.aside or [], None
        for work, then in waiting:
            then(work())

    def tick(self) -> None:
        """A turn of the daemon."""
        self.reconciler.tick()

    def later(self, seconds: float) -> None:
        """Time passes, and the daemon has its turn."""
        self.now += timedelta(seconds=seconds)
        self.clock += seconds
        self.tick()

    def end(self, service: Service, number: int = signal.SIGKILL) -> Process:
        """Kill what runs of a service, and tell the reconciler, as the daemon's watcher does."""
        process = process_of(service)
        group = self.watched[process.pk].pid
        until(partial(_has_begun, group))  # before, a shim knows of no signal that it could pass on or tell of
        os.killpg(group, number)
        if number == signal.SIGKILL:  # else what dies a moment later would have been left running
            until(partial(all_gone, group, but=group))
        return self.reap(process)

    def reap(self, process: Process) -> Process:
        """Wait for the end of a process and tell the reconciler."""
        _, status = os.waitpid(self.watched[process.pk].pid, 0)
        self.reconciler.ended(process.pk, os.waitstatus_to_exitcode(status))
        process.refresh_from_db()
        return process


def all_gone(group: int, *, but: int | None = None) -> bool:
    """Whether nobody of a process group is alive, or nobody `but` one."""
    rows = [table().row(pid) for pid in table().pids()]
    return not any(row and row.group == group and not row.dead and row.pid != but for row in rows)


def _has_begun(shim: int) -> bool:
    """Whether a shim has started its command, or has ended."""
    rows = [table().row(pid) for pid in table().pids()]
    return any(row and (row.parent == shim or (row.pid == shim and row.dead)) for row in rows)


def process_of(service: Service) -> Process:
    """Its newest start."""
    return Process.objects.filter(owner=service.owner).order_by("-id")[0]


def fresh(service: Service) -> Service:
    """The row as it is now."""
    return Service.objects.get(pk=service.pk)


def kinds(service: Service) -> list[str]:
    """What happened to a service, without what happened to its processes."""
    found = Event.objects.filter(subject=service.owner, kind__startswith="service.").order_by("id")
    return [kind.removeprefix("service.") for kind in found.values_list("kind", flat=True)]


def last_event(service: Service, kind: str) -> Any:
    """The newest event of that kind."""
    return Event.objects.filter(subject=service.owner, kind=f"service.{kind}").latest("id")
