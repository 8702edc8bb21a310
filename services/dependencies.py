"""What a service waits for before it starts: a directed graph without cycles, looked at as it is now.

A gate is level-triggered: it is open while its condition is true, and is asked at every start, the first as well as
each restart. What has started goes on running when a gate closes behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from common.errors import Conflict
from common.patterns import compile_pattern
from processes.actions.traces import trace
from processes.models import Process
from processes.states import ProcessState
from services.drivers.probe_log import MOST_AT_ONCE, LogWatch
from services.mcp import runs_for_clients_only
from services.models import Dependency, Service
from services.states import Condition, Desired, ServiceState


@dataclass(frozen=True)
class Gate:
    """One dependency, and whether it lets the service pass."""

    on: Service
    condition: str
    pattern: str
    met: bool

    @property
    def wanted(self) -> str:
        """What it waits for, in words."""
        return {
            Condition.STARTED: f"{self.on.name} to run",
            Condition.HEALTHY: f"{self.on.name} to be ready",
            Condition.COMPLETED: f"{self.on.name} to end with exit code 0",
            Condition.LOG_LINE: f"{self.on.name} to write a line like {self.pattern!r}",
        }[Condition(self.condition)]

    @property
    def reason(self) -> str:
        """What it waits for, and why that may take long."""
        if self.on.desired == Desired.DOWN:
            return f"{self.wanted}, which is not meant to run: gaia service start {self.on.name}"
        return f"{self.wanted}, which is {self.on.get_state_display().lower()}"


def check_acyclic(wanted: Mapping[str, Iterable[str]]) -> None:
    """Raise Conflict that prints the cycle, when services would wait for each other in a ring.

    Args:
        wanted: for each service's name those it depends on.
    """
    try:
        TopologicalSorter(wanted).prepare()
    except CycleError as error:
        ring = list(reversed(error.args[1]))  # each is waited for by the one before it
        raise Conflict(
            f"services would wait for each other: {' → '.join(ring)}",
            meaning="None of them could ever start, so nothing was changed.",
            fix="Leave one of these dependencies out.",
            cycle=ring,
        ) from None


def in_start_order(services: Iterable[Service]) -> list[Service]:
    """These services, each behind those among them that it depends on; else by name."""
    known = {service.pk: service for service in sorted(services, key=lambda each: each.name)}
    graph: dict[int, list[int]] = {pk: [] for pk in known}
    for edge in Dependency.objects.filter(service__in=list(known), on__in=list(known)):
        graph[edge.service_id].append(edge.on_id)
    return [known[pk] for pk in TopologicalSorter(graph).static_order()]


class Gates:
    """Looks at what services wait for. Remembers how far it has read in logs, so that no line is read twice.

    Args:
        most: bytes that one look reads of a log; the next one goes on from there.
    """

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._most = most
        self._lines: dict[tuple[int, str], LogWatch] = {}
        self._asked: set[tuple[int, str]] = set()  # since `forget`
        self._gateless: dict[int, int] = {}  # and of which revision that is known

    def of(self, service: Service) -> list[Gate]:
        """All of a service's gates, in the order they were written."""
        return self.of_many([service])[service.pk]

    def of_many(
        self,
        services: Iterable[Service],
        newest: Mapping[str, Process | None] | None = None,
        *,
        over: Collection[int] = (),
    ) -> dict[int, list[Gate]]:
        """By id of the service, in three queries at most.

        Args:
            newest: newest starts that are known already, by owner; None for an owner who has none.
            over: ids of processes that are known to have ended, or are being ended, whatever their rows say yet.
        """
        services = list(services)
        gates: dict[int, list[Gate]] = {service.pk: [] for service in services}
        edges = list(Dependency.objects.filter(service__in=list(gates)).select_related("on").order_by("id"))
        processes: dict[str, Process | None] = dict(newest or {})
        asked = {edge.on.owner for edge in edges if _needs_process(edge)} - processes.keys()
        if asked:
            processes |= Process.objects.newest_by_owner(asked)
        for edge in edges:
            met = self._is_met(edge, processes.get(edge.on.owner), over)
            gates[edge.service_id].append(Gate(edge.on, edge.condition, edge.pattern, met))
        self._gateless.update({service.pk: service.revision for service in services if not gates[service.pk]})
        return gates

    def note_gateless(self, service: Service) -> None:
        """A service is known to depend on nothing."""
        self._gateless[service.pk] = service.revision

    def closed(self, service: Service, over: Collection[int] = ()) -> str:
        """What a service has to wait for, in words; "" when it may start. `over` is as for `of_many`."""
        if self._gateless.get(service.pk) == service.revision:
            return ""  # most have none, and a start after a crash waits for the answer
        return closed(self.of_many([service], over=over)[service.pk])

    def _is_met(self, edge: Dependency, process: Process | None, over: Collection[int]) -> bool:
        state = edge.on.state
        # one that has just died does not run, though neither its row nor its service's may say so yet
        ended = process is not None and process.pk in over
        runs = process is not None and process.state == ProcessState.RUNNING and not ended
        runs = runs or runs_for_clients_only(edge.on.kind, edge.on.details)
        if edge.condition == Condition.HEALTHY:
            return runs and state == ServiceState.RUNNING
        if edge.condition == Condition.COMPLETED:
            return state == ServiceState.COMPLETED
        if edge.condition == Condition.STARTED:
            return runs and state in (ServiceState.STARTING, ServiceState.RUNNING, ServiceState.UNREADY)
        if process is None or not (process.active or state == ServiceState.COMPLETED):
            return False
        if process.active and (ended or process.stop_requested_at is not None):
            return False
        key = (process.pk, edge.pattern)
        self._asked.add(key)
        if key not in self._lines:
            path = trace(process, process.log)
            self._lines[key] = LogWatch(path, process.log_offset, compile_pattern(edge.pattern), most=self._most)
        return self._lines[key].look().ok

    def forget(self, live: set[int]) -> None:
        """Let go of what was read of processes that are not among these any more, and that nobody has asked for since:
        of one that is completed somebody may still wait for a line.
        """
        self._lines = {key: line for key, line in self._lines.items() if key[0] in live or key in self._asked}
        self._asked.clear()


def closed(gates: Iterable[Gate]) -> str:
    """What has to be waited for, in words; "" when all gates are open."""
    reasons = [gate.reason for gate in gates if not gate.met]
    return f"waits for {'; and for '.join(reasons)}" if reasons else ""


def _needs_process(edge: Dependency) -> bool:
    return edge.condition != Condition.COMPLETED
