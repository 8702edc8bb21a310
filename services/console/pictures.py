"""Small pictures in SVG: how a figure went, and how a probe answered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

STRIP_WIDTH = 1000
"""Units of the width of a probe's strip."""

_LEAST_WIDTH = 4  # a failure of a second is seen all the same
SPARK_WIDTH, SPARK_HEIGHT = 64, 18


@dataclass(frozen=True)
class Spark:
    """A line through values, and what it says to those who do not see it."""

    line: str
    area: str
    text: str


def spark(points: Sequence[tuple[float, float]], *, begin: float, end: float, least: float, text: str) -> Spark | None:
    """A sparkline.

    Args:
        points: seconds since the epoch, and the value.
        begin, end: seconds since the epoch at its edges.
        least: the value the scale reaches at least: a quiet service is drawn flat.
        text: what it shows, in words.

    Returns: None when there are not two points.
    """
    if len(points) < 2 or end <= begin:
        return None
    top = max(least, *(value for _, value in points))
    across, down = SPARK_WIDTH / (end - begin), (SPARK_HEIGHT - 2) / top
    drawn = [((at - begin) * across, SPARK_HEIGHT - 1 - value * down) for at, value in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    area = f"M{drawn[0][0]:.1f},{SPARK_HEIGHT} L{line.replace(' ', ' L')} L{drawn[-1][0]:.1f},{SPARK_HEIGHT} Z"
    return Spark(line, area, text)


@dataclass(frozen=True)
class Strip:
    """How a probe answered, as pieces of a strip, and the same in words."""

    pieces: list[dict[str, Any]]
    text: str


def strips(periods: Iterable[Mapping[str, Any]], *, begin: datetime, end: datetime) -> dict[str, Strip]:
    """Strips by the probes' names, for the time from `begin` to `end`.

    Args:
        periods: `{probe, ok, coming_up, answer, since, checked_at}`, in any order, also older ones.
    """
    by_probe: dict[str, list[Mapping[str, Any]]] = {}
    for period in periods:
        if _moment(period["checked_at"]) >= begin:
            by_probe.setdefault(str(period["probe"]), []).append(period)
    return {name: _strip(some, begin, end) for name, some in by_probe.items()}


def _strip(periods: list[Mapping[str, Any]], begin: datetime, end: datetime) -> Strip:
    whole = (end - begin).total_seconds()
    pieces, good, known = [], 0.0, 0.0
    for period in sorted(periods, key=lambda each: (_rank(each), _moment(each["since"]))):
        since, until = max(begin, _moment(period["since"])), min(end, _moment(period["checked_at"]))
        lasted = max(0.0, (until - since).total_seconds())
        known += lasted
        good += lasted if period["ok"] else 0.0
        x = (since - begin).total_seconds() / whole * STRIP_WIDTH
        width = max(_LEAST_WIDTH, lasted / whole * STRIP_WIDTH)
        coming_up = bool(period.get("coming_up"))
        known -= lasted if coming_up else 0.0
        word = "well" if period["ok"] else "coming up" if coming_up else "badly"
        title = f"{word}: {period['answer']}" if period["answer"] else word
        look = "" if period["ok"] else "is-coming" if coming_up else "is-bad"
        x = min(x, STRIP_WIDTH - width)
        pieces.append({"x": round(x, 2), "width": round(width, 2), "ok": period["ok"], "look": look, "title": title})
    failures = sum(not period["ok"] and not period.get("coming_up") for period in periods)
    if not failures:
        return Strip(pieces, "always well" if any(period["ok"] for period in periods) else "coming up")
    # a failure may have lasted for a moment only: it is never 100 % all the same
    share = f"{min(99.9, math.floor(1000 * good / known) / 10):.1f} % well, " if known else ""
    return Strip(pieces, f"{share}{failures} {'failure' if failures == 1 else 'failures'}")


def _rank(period: Mapping[str, Any]) -> int:
    """What is drawn over what, as a moment is wider than it was: failures on top, coming up below all else."""
    return 2 if not period["ok"] and not period.get("coming_up") else int(period["ok"])


def _moment(value: datetime | str) -> datetime:
    found = parse_datetime(value) if isinstance(value, str) else value
    if found is None:
        raise ValueError(f"{value!r} is no time")
    return found
