"""What probes said, kept for the timeline: a row for as long as an answer stays good or bad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from services.models import ProbePeriod, Service

_GROW = "UPDATE services_probeperiod SET answer = %s, took_ms = %s, checks = checks + %s, checked_at = %s WHERE id = %s"


@dataclass
class Finding:
    """What a probe said since somebody last wrote it down, good or bad throughout.

    Args:
        coming_up: bad, though it need not be good yet.
        checks: how often it was asked.
        since, until: of the first and of the last answer.
        answer, took_ms, facts: of the last one.
    """

    service_id: int
    probe: str
    purpose: str
    ok: bool
    since: datetime
    until: datetime
    answer: str = ""
    took_ms: float = 0.0
    checks: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    coming_up: bool = False

    @property
    def sort(self) -> tuple[str, bool, bool]:
        """What findings of one period have in common."""
        return self.purpose, self.ok, self.coming_up


@dataclass(frozen=True)
class _Period:
    """What has to be known of a probe's newest row."""

    pk: int
    sort: tuple[str, bool, bool]


def record(findings: Sequence[Finding]) -> None:
    """Write down what probes said: a new period where an answer turned, else the one there is grows. What was said of
    a service that is not there any more is dropped.

    Args:
        findings: in the order of time.
    """
    with transaction.atomic():
        known = set(Service.objects.filter(pk__in={each.service_id for each in findings}).values_list("pk", flat=True))
        current = _newest(known)
        grown: list[tuple[Finding, int]] = []
        for each in findings:
            if each.service_id not in known:
                continue
            key = (each.service_id, each.probe)
            period = current.get(key)
            if period is not None and period.sort == each.sort:
                grown.append((each, period.pk))
            else:
                current[key] = _Period(_begin(each), each.sort)
        _grow(grown)


def _newest(services: Iterable[int]) -> dict[tuple[int, str], _Period]:
    rows = ProbePeriod.objects.filter(service__in=list(services))
    newest = rows.order_by().values("service", "probe").annotate(newest=Max("pk")).values("newest")
    found = ProbePeriod.objects.filter(pk__in=newest).order_by()
    return {
        (service, probe): _Period(pk, (purpose, ok, coming_up))
        for pk, service, probe, purpose, ok, coming_up in found.values_list(
            "pk", "service_id", "probe", "purpose", "ok", "coming_up"
        )
    }


def _begin(finding: Finding) -> int:
    return ProbePeriod.objects.create(
        service_id=finding.service_id,
        probe=finding.probe,
        purpose=finding.purpose,
        ok=finding.ok,
        coming_up=finding.coming_up,
        answer=finding.answer,
        took_ms=finding.took_ms,
        facts=finding.facts,
        checks=finding.checks,
        since=finding.since,
        checked_at=finding.until,
    ).pk


def _grow(grown: Sequence[tuple[Finding, int]]) -> None:
    """Plain SQL: this comes every few seconds for every service, and the ORM takes ten times as long for it."""
    if not grown:
        return
    at = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        values = [(each.answer, each.took_ms, each.checks, at(each.until), pk) for each, pk in grown]
        cursor.executemany(_GROW, values)
    for each, pk in grown:
        if each.facts:
            ProbePeriod.objects.filter(pk=pk).exclude(facts=each.facts).update(facts=each.facts)
