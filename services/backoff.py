"""When a service that died is started again: pure arithmetic, with nothing of the outside world in it.

n is the number of failures in a row. The first start after a failure comes at once, the n-th after
`min(60, 0.5 · 2^(n−2))` seconds, give or take a fifth, so that many that died together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST_S = 60.0
TRIAL_S = 60.0
"""Between two trials in a crash loop."""
WINDOW_S = 300.0
LOOP = 5
"""Failures within the window that make a crash loop."""
IDENTICAL = 3
"""Deaths of the same kind, one after the other and before it was ever ready, that make it pointless to go on."""
SETTLED_S = 1.0
"""What has no probes counts as having been ready once it ran so long."""
STEADY_S = 60.0
_FIRST_S = 0.5
_JITTER = (0.8, 1.2)
_DOUBLINGS = 32  # beyond, 2 ** n only costs time


def delay(failures: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait before the start after so many failures in a row."""
    if failures <= 1:
        return 0.0
    return min(LONGEST_S, _FIRST_S * 2.0 ** min(failures - 2, _DOUBLINGS)) * uniform(*_JITTER)


def within_window(failed_at: Sequence[float], now: float) -> list[float]:
    """Those of these moments that still count for the crash loop. A clock that went back makes none of them count."""
    return [at for at in failed_at if 0.0 <= now - at <= WINDOW_S]


def is_looping(failed_at: Sequence[float], now: float) -> bool:
    """Whether it has died so often of late that it is tried once a minute only."""
    return len(within_window(failed_at, now)) >= LOOP


def steady_after(startup_s: float) -> float:
    """Seconds of health after which earlier failures are forgotten.

    Args:
        startup_s: seconds it took from its start until it was ready.
    """
    return max(STEADY_S, 2.0 * max(0.0, startup_s))
