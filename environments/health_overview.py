"""What every door shows of environments' health: plain data, few queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.utils import timezone

from environments.findings import rank, worst
from environments.models import Environment, Health
from environments.states import ENVIRONMENT_ACTIVE, Verdict
from environments.wording import so_many

_DAY = timedelta(days=1)
_LEAST_STALE = timedelta(minutes=15)
_DATABASES = "databases.ok"
NEVER = "it was not looked at yet"


def newest_health(environments: Iterable[Environment]) -> dict[int, Health]:
    """What is on record of environments now, by their ids; those that were never looked at are missing. One query."""
    newest = Health.objects.filter(environment__in=list(environments)).order_by().values("environment")
    return {row.environment_id: row for row in Health.objects.filter(id__in=newest.annotate(at=Max("id")).values("at"))}


def health_of_all() -> list[dict[str, Any]]:
    """How every live environment is, worst first; two queries."""
    live = list(Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project"))
    return health_of(live)


def health_of(environments: Sequence[Environment]) -> list[dict[str, Any]]:
    """How environments are, worst first; one query.

    Args:
        environments: in the order in which those of the same verdict are shown.
    """
    rows, now = newest_health(environments), timezone.now()
    described = [describe(each, rows.get(each.pk), now) for each in environments]
    return sorted(described, key=lambda one: -rank(one["verdict"]))


def describe(environment: Environment, row: Health | None, now: datetime | None = None) -> dict[str, Any]:
    """One environment's health as every door shows it.

    `verdict` is `unknown` for one that was never looked at, and when the last look is so long ago that nobody knows.
    """
    told = {"id": environment.pk, "environment": environment.directory, "project": environment.project.name}
    if row is None:
        unknown: dict[str, Any] = {
            "verdict": str(Verdict.UNKNOWN),
            "word": Verdict.UNKNOWN.label,
            "reason": NEVER,
            "fix": "",
        }
        nothing: dict[str, Any] = {
            "since": None,
            "checked_at": None,
            "stale": False,
            "findings": [],
            "notes": [],
            "checks": [],
        }
        return {**told, **unknown, **nothing}
    stale = (now or timezone.now()) - row.checked_at > stale_after()
    verdict = Verdict.UNKNOWN if stale and row.verdict == Verdict.OK else Verdict(row.verdict)
    period = describe_period(row)
    return {
        **told,
        **period,
        "verdict": str(verdict),
        "word": verdict.label,
        "reason": "it was not looked at for long" if stale and not period["findings"] else period["reason"],
        "checked_at": row.checked_at.isoformat(),
        "stale": stale,
    }


def describe_period(row: Health) -> dict[str, Any]:
    """A period of the same verdict and faults: what was wrong, what is worth knowing, what was looked at."""
    faults = [each for each in row.findings if each["verdict"] != Verdict.OK]
    return {
        "verdict": row.verdict,
        "word": row.get_verdict_display(),
        "reason": directly_told(faults),
        "fix": faults[0]["fix"] if faults else "",
        "since": row.since.isoformat(),
        "findings": faults,
        "notes": [each for each in row.findings if each["verdict"] == Verdict.OK and each["note"]],
        "checks": [each for each in row.findings if each["verdict"] == Verdict.OK and not each["note"]],
    }


def not_well() -> dict[int, str]:
    """Verdicts of live environments that were not healthy when they were last looked at, by their ids; one query."""
    rows = Health.objects.filter(environment__state__in=ENVIRONMENT_ACTIVE).order_by().values("environment")
    newest = Health.objects.filter(id__in=rows.annotate(at=Max("id")).values("at")).exclude(verdict=Verdict.OK)
    return dict(newest.values_list("environment", "verdict"))


def stale_after() -> timedelta:
    """How old the last look may be before nobody knows any more."""
    return max(_LEAST_STALE, timedelta(minutes=3 * settings.GAIA["health.interval"]))


def overall(described: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One verdict over all environments: the worst, with the reason as one sentence.

    Args:
        described: as `health_of` gives it, worst first.
    """
    verdict = worst(one["verdict"] for one in described)
    looked = [one["checked_at"] for one in described if one["checked_at"]]
    return {
        "verdict": str(verdict),
        "word": verdict.label,
        "reason": _sentence(verdict, described),
        "checked_at": min(looked, default=None),
        "counts": {str(each): sum(one["verdict"] == each for one in described) for each in Verdict},
    }


def _sentence(verdict: Verdict, described: Sequence[Mapping[str, Any]]) -> str:
    if not described:
        return "There is no environment yet"
    if verdict == Verdict.OK:
        return "The environment is healthy" if len(described) == 1 else f"All {len(described)} environments are healthy"
    first, *others = described
    also = sum(one["verdict"] != Verdict.OK for one in others)
    name = f"{first['environment']}: " if first["environment"] not in first["reason"] else ""
    more = f"; {so_many(also)} more {'is' if also == 1 else 'are'} not well" if also else ""
    return f"{name}{first['reason']}{more}"


def directly_told(faults: Sequence[Mapping[str, Any]]) -> str:
    """The first fault, and how many more there are; empty when there is none."""
    if not faults:
        return ""
    more = len(faults) - 1
    return f"{faults[0]['what']}" + (f" (and {more} more)" if more else "")


def history(environment: Environment | None = None) -> QuerySet[Health]:
    """Periods, newest first, each with `until`: when the next one of its environment began, None while it lasts."""
    following = Health.objects.filter(environment=OuterRef("environment"), id__gt=OuterRef("id")).order_by("id")
    rows = Health.objects.annotate(until=Subquery(following.values("since")[:1])).order_by("-since", "-id")
    return rows.filter(environment=environment) if environment is not None else rows


def sizes_a_day_ago(row: Health | None) -> dict[str, int]:
    """Bytes of an environment's databases a day ago, or when they were first looked at, by stage."""
    data = _databases(row.findings)["data"] if row is not None and _databases(row.findings) else {}
    return dict(data.get("day", data).get("sizes", {}))


def with_sizes_of_yesterday(findings: list[dict[str, Any]], row: Health | None, now: datetime) -> list[dict[str, Any]]:
    """The same findings, with the sizes of databases to compare with tomorrow: those of the first look of a day."""
    new, old = _databases(findings), _databases(row.findings) if row is not None else {}
    if not new:
        return findings
    day = old["data"].get("day") if old else None
    if day is None or now - datetime.fromisoformat(day["at"]) > _DAY:
        day = {"at": now.isoformat(), "sizes": new["data"]["sizes"]}
    data = {**new["data"], "day": {**day, "sizes": {**new["data"]["sizes"], **day["sizes"]}}}
    return [{**each, "data": data} if each is new else each for each in findings]


def _databases(findings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next((each for each in findings if each["key"] == _DATABASES), {})
