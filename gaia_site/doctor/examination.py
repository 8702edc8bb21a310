"""Running checks: what each depth takes, one after the other, none of them fatal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.utils import timezone

from environments.findings import Finding, not_known, rank, well, worst
from environments.states import Verdict
from gaia_site.doctor import configuration, database, fleet, hardening, home, programs
from gaia_site.doctor.checks import Check, Depth, Needs
from processes.actions.operations import Progress, request_operation
from processes.models import Operation
from processes.states import OperationState

logger = logging.getLogger(__name__)

KIND, SUBJECT = "doctor", "doctor"
CHECKS: tuple[Check, ...] = (
    *configuration.CHECKS,
    *home.CHECKS,
    *programs.CHECKS,
    *database.CHECKS,
    *fleet.CHECKS,
    *hardening.CHECKS,
)
_TITLES = {
    Depth.VERIFY: "Quick check",
    Depth.USUAL: "Check",
    Depth.COMPREHENSIVE: "Comprehensive check",
    Depth.PRODUCTION: "Check for production",
    Depth.PORTS: "Check of ports",
}
Tell = Callable[[int, int, str], None]


def examine(depth: Depth = Depth.USUAL, *, tell: Tell = lambda done, total, name: None) -> dict[str, Any]:
    """Make every check of a depth; nothing is changed.

    Args:
        tell: called before each check with how many are done, of how many, and its name.

    Returns: `{depth, verdict, counts, findings, notes, well, checked_at, took_s}`: findings as environments have them,
    worst first; `well` has one sentence for each check that found nothing.
    """
    chosen = [check for check in CHECKS if depth in check.depths]
    begun, found, fine = time.monotonic(), list[Finding](), list[Finding]()
    there: Needs | None = None
    for number, check in enumerate(chosen):
        tell(number, len(chosen), check.name)
        if check.needs != Needs.NOTHING:
            there = database.what_is_there() if there is None else there
            if there < check.needs:
                continue  # why is told by the checks of the database
        said = list(_asked(check))
        found += said
        if not said and check.well:
            fine.append(well(check.name, check.well))
    return _report(depth, found, fine, time.monotonic() - begun)


def _asked(check: Check) -> Iterable[Finding]:
    try:
        return list(check.run())
    except Exception as error:  # one check's trouble must not hide what the others found
        logger.debug("the check %s failed", check.name, exc_info=True)
        return [not_known(check.name, f"the check itself failed: {type(error).__name__}: {error}")]


def _report(depth: Depth, found: list[Finding], fine: list[Finding], took: float) -> dict[str, Any]:
    told = {finding.key: finding.as_dict() for finding in found}  # two checks may see the same fault
    rows = sorted(told.values(), key=lambda each: -rank(each["verdict"]))
    bad = [each for each in rows if not each["note"]]
    verdict = worst(each["verdict"] for each in bad)
    return {
        "depth": depth.value,
        "verdict": str(verdict),
        "word": verdict.label,
        "counts": {str(each): sum(row["verdict"] == each for row in bad) for each in Verdict if each != Verdict.OK},
        "findings": bad,
        "notes": [each for each in rows if each["note"]],
        "well": [each.what for each in fine],
        "checked_at": timezone.now().isoformat(),
        "took_s": round(took, 2),
        "home": str(settings.GAIA.home.root),
    }


def request_examination(
    depth: Depth = Depth.USUAL, *, idempotency_key: str | None = None, detached: bool = True
) -> Operation:
    """Ask for an examination as an operation, for who looks at its result later.

    Raises: Conflict when one is under way.
    """
    return request_operation(
        KIND,
        _TITLES[depth],
        subject=SUBJECT,
        params={"depth": depth.value},
        idempotency_key=idempotency_key,
        detached=detached,
    )


def operate(progress: Progress, *, depth: str) -> dict[str, Any]:
    """The operation. Returns: as `examine`."""
    report = examine(Depth(depth), tell=lambda done, total, name: progress(done, total, f"Looking at {name}"))
    count = len(report["findings"])
    progress(1, 1, f"{count} findings" if count != 1 else "1 finding")
    return report


def last() -> Operation | None:
    """The last examination that came to its end."""
    return Operation.objects.filter(kind=KIND, state=OperationState.SUCCEEDED).order_by("-id").first()


def under_way() -> Operation | None:
    """The one that is being made."""
    return Operation.objects.active().filter(kind=KIND).order_by("-id").first()
