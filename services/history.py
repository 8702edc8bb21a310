"""How a service was: what it used, what its probes said, what happened to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from events.models import Event
from processes.actions.samples import series
from services.models import ProbePeriod, Service

KEPT = timedelta(days=30)
"""How long the periods of probes are kept."""

_MOST_PERIODS = 2_000
_REMOVED_AT_ONCE = 1_000
_ROUNDS = 50  # what flaps every second has an hour's periods removed within the hour


def metrics(service: Service, span_s: float) -> dict[str, Any]:
    """What it used of CPU and memory.

    Args:
        span_s: how many seconds back.

    Returns: `{seconds, points}`: the length of the periods, and of each
    `[begin (seconds since 1970), CPU in percent of one core, the most of it, memory in bytes, the most of it]`,
    oldest first. The periods are the shortest that are kept for so long.
    """
    found = series(service.owner, span_s)
    return {
        "seconds": found.seconds,
        "points": [
            [each.at.timestamp(), each.cpu, each.cpu_most, each.memory, each.memory_most] for each in found.points
        ],
    }


def health_history(service: Service) -> list[dict[str, Any]]:
    """What its probes said, newest first.

    Returns: `{probe, purpose, ok, coming_up, answer, took_ms, checks, since, checked_at}` of each period.
    """
    rows = service.probe_periods.order_by("-since", "-id")[:_MOST_PERIODS]
    return [
        {
            "probe": row.probe,
            "purpose": row.purpose,
            "ok": row.ok,
            "coming_up": row.coming_up,
            "answer": row.answer,
            "took_ms": round(row.took_ms, 1),
            "checks": row.checks,
            "since": row.since.isoformat(),
            "checked_at": row.checked_at.isoformat(),
        }
        for row in rows
    ]


def events_of(service: Service) -> QuerySet[Event]:
    """What happened to it, newest first: its own events and those of its processes."""
    return Event.objects.filter(subject=service.owner).order_by("-id")


def forget_old() -> int:
    """Remove what probes said longer ago than `KEPT`; the newest word of each is kept. How many periods it were."""
    old = ProbePeriod.objects.over(timezone.now() - KEPT).values_list("pk", flat=True)
    removed = 0
    for _ in range(_ROUNDS):
        some = list(old[:_REMOVED_AT_ONCE])
        removed += ProbePeriod.objects.filter(pk__in=some).delete()[0]
        if len(some) < _REMOVED_AT_ONCE:
            break
    return removed
