"""How services are, as every door shows it; the number of queries does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from processes.actions.samples import SHORT, Figures, latest
from processes.actions.traces import trace
from processes.limits import MEGABYTE, WARN_AT, Limits, kept_by
from processes.models import Process
from processes.states import ProcessState
from services.dependencies import Gate, Gates
from services.mcp import runs_for_clients_only
from services.models import Dependency, ProbePeriod, Service
from services.states import SERVICE_UP


@dataclass(frozen=True)
class _Known:
    """What the overviews of some services are made of."""

    processes: dict[str, Process]
    figures: dict[str, Figures]
    periods: dict[int, dict[str, ProbePeriod]]
    gates: dict[int, list[Gate]]
    dependents: dict[int, list[str]]
    now: datetime


def services_overview(services: Iterable[Service] | None = None) -> list[dict[str, Any]]:
    """All services, or these, by name; each as `service_overview` has it."""
    rows = list(services) if services is not None else list(Service.objects.select_related("node").order_by("name"))
    known = _look(rows)
    return [_told(service, known) for service in rows]


def service_overview(service: Service) -> dict[str, Any]:
    """How one is.

    Returns: id, name, title, kind, owner, state, since, problem, desired, outdated, pid, port, restarts, failures,
    next_start_at, last_death, uptime_s, cpu (percent of one core), memory (bytes), probes, limits, depends_on,
    dependents. Outdated: it runs as it was defined before. Times are ISO 8601. What is not known is None.
    """
    return _told(service, _look([service]))


def _look(services: Sequence[Service]) -> _Known:
    owners = [service.owner for service in services]
    keys = [service.pk for service in services]
    dependents: dict[int, list[str]] = {}
    for on, name in Dependency.objects.filter(on__in=keys).order_by("service__name").values_list("on", "service__name"):
        dependents.setdefault(on, []).append(name)
    processes = Process.objects.newest_by_owner(owners)
    return _Known(
        processes=processes,
        figures=latest(owners),
        periods=ProbePeriod.objects.newest(keys),
        gates=Gates().of_many(services, {owner: processes.get(owner) for owner in owners}),
        dependents=dependents,
        now=timezone.now(),
    )


def _told(service: Service, known: _Known) -> dict[str, Any]:
    newest = known.processes.get(service.owner)
    live = newest if newest is not None and newest.active else None
    used = _figures_of(live, known.figures.get(service.owner))
    uptime = _uptime(live, known.now)
    periods, begun = known.periods.get(service.pk, {}), _begun(service, live)
    return {
        "id": service.pk,
        "name": service.name,
        "title": service.title,
        "kind": service.kind,
        "owner": service.owner,
        "state": service.state,
        "since": service.state_since.isoformat(),
        "problem": service.problem,
        "desired": service.desired,
        "outdated": service.outdated,
        "pid": live.pid if live is not None else None,
        "port": live.port if live is not None and live.port is not None else service.port,
        "restarts": service.restarts,
        "failures": service.failures,
        "next_start_at": service.next_start_at and service.next_start_at.isoformat(),
        "last_death": service.last_death if service.last_death.get("cause") else None,
        "uptime_s": uptime,
        "cpu": used and round(used.cpu, 1),
        "memory": used and used.memory,
        "probes": [_probe(each, periods, begun) for each in service.probes_asked],
        "limits": _limits(service, live, used, uptime, known.now),
        "depends_on": [
            {"name": gate.on.name, "condition": gate.condition, "pattern": gate.pattern, "met": gate.met}
            for gate in known.gates[service.pk]
        ],
        "dependents": known.dependents.get(service.pk, []),
    }


def _figures_of(live: Process | None, figures: Figures | None) -> Figures | None:
    """What runs now uses; what an earlier start used is no more."""
    if live is None or figures is None or live.started_at is None:
        return None
    return figures if figures.at + timedelta(seconds=SHORT) > live.started_at else None


def _uptime(live: Process | None, now: datetime) -> float | None:
    if live is None or live.started_at is None or live.state != ProcessState.RUNNING:
        return None
    return round(max(0.0, (now - live.started_at).total_seconds()), 1)


def _begun(service: Service, live: Process | None) -> datetime | None:
    """Since when its probes are asked of what there is now; None when nothing is asked."""
    if runs_for_clients_only(service.kind, service.details):
        return service.created_at if service.state in SERVICE_UP else None
    return live.started_at if live is not None else None


def _probe(probe: dict[str, Any], periods: dict[str, ProbePeriod], begun: datetime | None) -> dict[str, Any]:
    """Its last answer about what runs now; what it said of an earlier start says nothing of this one."""
    period = periods.get(probe["name"])
    known = period if period is not None and begun is not None and period.checked_at >= begun else None
    return {
        "name": probe["name"],
        "purpose": probe["purpose"],
        "kind": probe["kind"],
        "ok": known.ok if known is not None else None,
        "coming_up": known is not None and known.coming_up,
        "answer": known.answer if known is not None else "",
        "took_ms": round(known.took_ms, 1) if known is not None else None,
        "checked_at": known.checked_at.isoformat() if known is not None else None,
    }


def _limits(
    service: Service, live: Process | None, figures: Figures | None, uptime: float | None, now: datetime
) -> list[dict[str, Any]]:
    """Each limit by its name in `processes.limits`, with what is used of it, in the same unit."""
    limits = Limits.parse(live.limits if live is not None else service.limits)
    if not limits:
        return []
    used: dict[str, float | None] = {
        "memory_mb": round(figures.memory_most / MEGABYTE, 1) if figures is not None else None,
        "cpu_percent": round(figures.cpu, 1) if figures is not None else None,
        "run_time_s": uptime,
        "quiet_s": _quiet(live, uptime, now) if limits.quiet_s is not None else None,
    }
    keepers = kept_by(limits) | (live.enforcement if live is not None else {})
    return [
        {
            "name": name,
            "limit": limit,
            "used": used.get(name),
            "kept_by": keepers.get(name, ""),
            "warning": (used.get(name) or 0.0) >= WARN_AT * limit,
        }
        for name, limit in limits.as_dict().items()
    ]


def _quiet(live: Process | None, uptime: float | None, now: datetime) -> float | None:
    """Seconds since what runs has written something."""
    if live is None or uptime is None:
        return None
    try:
        written = Path(trace(live, live.log)).stat().st_mtime
    except OSError:
        return uptime
    return round(max(0.0, min(uptime, now.timestamp() - written)), 1)
