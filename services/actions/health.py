"""What probes said, kept for the timeline: a row for as long as an answer stays good or bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from services.models import ProbePeriod, Service


@dataclass
class Finding:
    """What a probe said since somebody last wrote it down, good or bad throughout.

    Args:
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


def record(findings: Sequence[Finding]) -> None:
    """Write down what probes said: a new period where an answer turned, else the one there is grows. What was said of
    a service that is not there any more is dropped.

    Args:
        findings: in the order of time.
    """
    with transaction.atomic():
        known = set(Service.objects.filter(pk__in={each.service_id for each in findings}).values_list("pk", flat=True))
        current = ProbePeriod.objects.newest(known)
        grown: dict[int, ProbePeriod] = {}
        for each in findings:
            if each.service_id not in known:
                continue
            periods = current.setdefault(each.service_id, {})
            period = periods.get(each.probe)
            if period is None or period.ok != each.ok or period.purpose != each.purpose:
                periods[each.probe] = _begin(each)
            else:
                _grow(period, each)
                grown[period.pk] = period
        ProbePeriod.objects.bulk_update(grown.values(), ["answer", "took_ms", "facts", "checks", "checked_at"])


def _begin(finding: Finding) -> ProbePeriod:
    return ProbePeriod.objects.create(
        service_id=finding.service_id,
        probe=finding.probe,
        purpose=finding.purpose,
        ok=finding.ok,
        answer=finding.answer,
        took_ms=finding.took_ms,
        facts=finding.facts,
        checks=finding.checks,
        since=finding.since,
        checked_at=finding.until,
    )


def _grow(period: ProbePeriod, finding: Finding) -> None:
    period.answer, period.took_ms, period.checked_at = finding.answer, finding.took_ms, finding.until
    period.facts = finding.facts or period.facts
    period.checks += finding.checks
