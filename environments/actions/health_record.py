"""Writing down how environments are: a period goes on, or a new one begins and an event tells why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from environments.findings import Finding, rank, worst
from environments.health_overview import directly_told, newest_health, with_sizes_of_yesterday
from environments.models import Environment, Health
from environments.states import Verdict
from events import log
from events.models import Level

_LEVELS = {Verdict.OK: Level.INFO, Verdict.FAILED: Level.ERROR}
_TOLD = {
    Verdict.OK: "is healthy",
    Verdict.UNKNOWN: "is not known to be well",
    Verdict.WARNING: "needs attention",
    Verdict.FAILED: "is unhealthy",
}


def record(
    environments: Sequence[Environment],
    found: Mapping[int, Sequence[Finding]],
    *,
    confirmations: int,
    looked_at: datetime,
) -> list[Health]:
    """Write down what a look found, all in one transaction with a fixed number of queries.

    A period goes on while verdict and faults stay the same: only its texts and `checked_at` follow. Whoever looked
    later than this look began is right, and stays.

    Returns: what is on record of each now, worst first.
    """
    with log.atomic():
        # one writer at a time on PostgreSQL, too: a change is compared with what the last look wrote
        list(Environment.objects.select_for_update().filter(pk__in=[each.pk for each in environments]).order_by("pk"))
        known = newest_health(environments)
        going_on: list[Health] = []
        begun: list[Health] = []
        for environment in environments:
            before = known.get(environment.pk)
            if before is not None and before.checked_at > looked_at:
                continue
            findings = settle(found[environment.pk], before, confirmations)
            findings = with_sizes_of_yesterday(findings, before, looked_at)
            verdict = worst(each["verdict"] for each in findings)
            if before is not None and before.verdict == verdict and _faults(before.findings) == _faults(findings):
                before.findings, before.checked_at = findings, looked_at
                going_on.append(before)
                continue
            row = Health(
                environment=environment, verdict=verdict, findings=findings, since=looked_at, checked_at=looked_at
            )
            begun.append(row)
            _tell(row, before)
        Health.objects.bulk_update(going_on, ["findings", "checked_at"])
        Health.objects.bulk_create(begun)
        known |= {row.environment_id: row for row in begun}
    for environment in environments:
        if environment.pk in known:
            known[environment.pk].environment = environment
    return sorted(known.values(), key=lambda row: (-rank(row.verdict), row.environment.path))


def settle(found: Iterable[Finding], before: Health | None, confirmations: int) -> list[dict[str, Any]]:
    """Findings as they are stored, worst first; what may pass and was not seen often enough yet is only noted."""
    known = {each["key"]: each for each in before.findings} if before else {}
    told = [_settled(finding, known.get(finding.key, {}), confirmations) for finding in found]
    return sorted(told, key=lambda each: (-rank(each["verdict"]), not each["note"]))


def _settled(finding: Finding, before: Mapping[str, Any], confirmations: int) -> dict[str, Any]:
    told = finding.as_dict()
    if not finding.passing or finding.verdict == Verdict.OK:
        return told
    counted = before and rank(before["verdict"]) >= rank(finding.verdict)
    seen = int(before.get("seen", 0)) + 1
    if counted or seen >= confirmations:
        return told
    once = f"Seen {seen} of {confirmations} times in a row; it counts when it is still so."
    return {
        **told,
        "verdict": str(Verdict.OK),
        "note": True,
        "seen": seen,
        "meaning": f"{once} {told['meaning']}".strip(),
    }


def _faults(findings: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    return frozenset((each["key"], each["verdict"]) for each in findings if each["verdict"] != Verdict.OK)


def _tell(row: Health, before: Health | None) -> None:
    verdict = Verdict(row.verdict)
    faults = [each for each in row.findings if each["verdict"] != Verdict.OK]
    again = " again" if verdict == Verdict.OK and before is not None else ""
    why = f": {directly_told(faults)}" if faults else ""
    log.emit(
        "environment.health",
        subject=row.environment.key,
        message=f"{row.environment.directory} {_TOLD[verdict]}{again}{why}",
        level=_LEVELS.get(verdict, Level.WARNING),
        verdict=str(verdict),
        before=before.verdict if before else "",
        findings=[
            {name: each[name] for name in ("check", "key", "verdict", "what", "meaning", "fix")} for each in faults
        ],
    )
