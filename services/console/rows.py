"""What the list of services shows besides their own columns, for a page of them at once."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from django.utils import timezone

from processes.models import Sample
from services.console.pictures import Spark, spark
from services.models import Service
from services.overview import services_overview

_SPAN = timedelta(minutes=30)
_LEAST_CPU = 5.0  # percent: less than that is drawn as the calm it is
_LEAST_MEMORY = 16 << 20
_MOST_POINTS = 60
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
    good, bad = sum(probe["ok"] is True for probe in probes), sum(probe["ok"] is False for probe in probes)
    look = "failed" if bad else "ok" if good == len(probes) else "unknown"
    said = "\n".join(f"{probe['name']}: {probe['answer'] or 'not asked yet'}" for probe in probes)
    return {"look": look, "text": f"{good}/{len(probes)}", "title": said}


def _sparks(services: list[Service]) -> dict[str, tuple[Spark | None, Spark | None]]:
    now = timezone.now()
    owners = [service.owner for service in services]
    found: dict[str, dict[int, _Points]] = defaultdict(lambda: defaultdict(list))
    rows = Sample.objects.filter(owner__in=owners, at__gte=now - _SPAN).order_by("at")
    for owner, seconds, at, cpu, memory in rows.values_list("owner", "seconds", "at", "cpu", "memory"):
        found[owner][seconds].append((at.timestamp(), cpu, memory))
    begin, end = (now - _SPAN).timestamp(), now.timestamp()
    return {owner: _pair(max(by_length.values(), key=len), begin, end) for owner, by_length in found.items()}


def _pair(points: _Points, begin: float, end: float) -> tuple[Spark | None, Spark | None]:
    step = -(-len(points) // _MOST_POINTS)
    some = [points[place : place + step] for place in range(0, len(points), step)]
    cpu = [(each[0][0], max(point[1] for point in each)) for each in some]
    memory = [(each[0][0], float(max(point[2] for point in each))) for each in some]
    most = max(point[1] for point in points)
    told = f"CPU in the last half hour: at most {most:.1f} %"
    megabytes = max(point[2] for point in points) / (1 << 20)
    return (
        spark(cpu, begin=begin, end=end, least=_LEAST_CPU, text=told),
        spark(memory, begin=begin, end=end, least=_LEAST_MEMORY, text=f"Memory: at most {megabytes:.0f} MB"),
    )
