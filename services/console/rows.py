"""What the list of services shows besides their own columns, for a page of them at once."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from processes.actions.samples import MIDDLE, SHORT
from processes.models import Sample
from services.console.pictures import Spark, spark
from services.models import Service
from services.overview import services_overview

_SPAN = timedelta(hours=1)
_NOT_ROLLED_UP = timedelta(minutes=3)
_LEAST_CPU = 5.0  # percent: less than that is drawn as the calm it is
_LEAST_MEMORY = 16 << 20
_Points = list[tuple[float, float, int]]


def prepare(services: list[Any]) -> None:
    """Attach to each service `one` (its overview), `health`, `cpu_spark` and `memory_spark`."""
    sparks = _sparks(services)
    for service, one in zip(services, services_overview(services), strict=True):
        service.one = one
        service.health = health_of(one)
        service.cpu_spark, service.memory_spark = sparks.get(service.owner, (None, None))


def health_of(one: dict[str, Any]) -> dict[str, str] | None:
    """Its probes in short: look, text, and what each of them said; None when it has none."""
    probes = one["probes"]
    if not probes:
        return None
    good = sum(probe["ok"] is True for probe in probes)
    bad = sum(probe["ok"] is False and not probe["coming_up"] for probe in probes)
    look = "failed" if bad else "ok" if good == len(probes) else "unknown"
    said = "\n".join(f"{probe['name']}: {probe['answer'] or 'not asked yet'}" for probe in probes)
    return {"look": look, "text": f"{good}/{len(probes)}", "title": said}


def _sparks(services: list[Service]) -> dict[str, tuple[Spark | None, Spark | None]]:
    """The last hour by minutes, and by shorter periods what is not rolled up yet; in one query."""
    now = timezone.now()
    minutes = Q(seconds=MIDDLE, at__gte=now - _SPAN)
    recent = Q(seconds=SHORT, at__gte=now - _NOT_ROLLED_UP)
    rows = Sample.objects.filter(minutes | recent, owner__in=[service.owner for service in services])
    points: dict[str, _Points] = defaultdict(list)
    for owner, at, cpu, memory in rows.order_by("-seconds", "at").values_list("owner", "at", "cpu", "memory"):
        known = points[owner]
        if not known or at.timestamp() >= known[-1][0] + SHORT:
            known.append((at.timestamp(), cpu, memory))
    begin, end = (now - _SPAN).timestamp(), now.timestamp()
    return {owner: _pair(some, begin, end) for owner, some in points.items()}


def _pair(points: _Points, begin: float, end: float) -> tuple[Spark | None, Spark | None]:
    cpu, memory = max(point[1] for point in points), max(point[2] for point in points)
    return (
        spark(
            [(at, used) for at, used, _ in points], begin=begin, end=end, least=_LEAST_CPU,
            text=f"CPU in the last hour: at most {cpu:.1f} %",
        ),
        spark(
            [(at, float(used)) for at, _, used in points], begin=begin, end=end, least=_LEAST_MEMORY,
            text=f"Memory in the last hour: at most {memory >> 20} MB",
        ),
    )  # fmt: skip
