"""Durations as people write them: "30s", "5m", "1h30m", "7d"."""

from __future__ import annotations

import math
import re

from common.errors import InvalidInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?(ms|s|m|h|d|w)")


def parse_duration(text: str | int | float) -> float:
    """Seconds of a duration such as "30s", "1h30m", "1h 30m" or a plain number of seconds.

    Raises: InvalidInput for anything else, negative numbers included.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not 0 <= text < math.inf:
            raise InvalidInput(f"a duration is 0 or more seconds, not {text}")
        return float(text)
    cleaned = str(text).strip().lower()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", cleaned):
        return float(cleaned)
    if not cleaned or _PART.sub("", cleaned).strip():
        raise InvalidInput(f"not a duration: {text!r}", fix='Write it like "30s", "5m", "1h30m" or "7d".')
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(cleaned))


def format_duration(seconds: float) -> str:
    """A duration for people, in at most two units: "8 s", "2 min", "3 h 5 min", "4 d 2 h"."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    if not shown:
        return "0 s"
    return shown[0] if minutes and not hours and not days else " ".join(shown)
