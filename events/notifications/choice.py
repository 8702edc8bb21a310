"""Which events a destination wants: kinds by shell-like patterns, from a level on."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from common.errors import InvalidInput
from events.models import Destination, Level

LEVELS = tuple(Level.values)  # the least first
OWN = "notification."
"""Events that tell of telling: nobody is told of them, or one failure would make the next."""

_RECOVERED = ".recovered"
_TOLD_OF_FAILURE = (".failed", ".crash_loop")
_PATTERN = re.compile(r"[A-Za-z0-9_.\-*?\[\]!]+")
_LONGEST = 500


def wants(destination: Destination, kind: str, level: str) -> bool:
    """Whether the destination is to be told of an event of this kind and level.

    Whoever is told that something failed is also told that it has recovered, though that is no warning.
    """
    if kind.endswith(_RECOVERED):
        failures = [kind.removesuffix(_RECOVERED) + ending for ending in _TOLD_OF_FAILURE]
        if any(wants(destination, failure, Level.ERROR) for failure in failures):
            return True
    if kind.startswith(OWN) or _weight(level) < _weight(destination.level):
        return False
    return any(fnmatchcase(kind, pattern) for pattern in destination.events.split())


def _weight(level: str) -> int:
    """An unknown level is told rather than lost."""
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def check_patterns(text: str) -> str:
    """The patterns, one space apart. Raises: InvalidInput."""
    patterns = text.split()
    fix = "Write kinds, separated by spaces: environment.health *.failed. A * alone means all."
    if not patterns:
        raise InvalidInput("no kind of event was chosen", fix=fix)
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise InvalidInput(f"{pattern[:80]!r} cannot match the kind of an event", fix=fix)
    joined = " ".join(patterns)
    if len(joined) > _LONGEST:
        raise InvalidInput(f"the patterns are {len(joined)} characters long", fix=f"At most {_LONGEST} are kept.")
    return joined


def check_level(text: str) -> str:
    """The level. Raises: InvalidInput."""
    if text not in LEVELS:
        raise InvalidInput(f"there is no level {text[:40]!r}", fix=f"Levels: {', '.join(LEVELS)}.")
    return text
