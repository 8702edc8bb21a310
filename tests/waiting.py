"""Waiting for what somebody else does: ask again until it is so, never sleep and hope."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 90.0
"""How long something may take on a busy machine. A test that waits so long fails, so more costs nothing."""


def until(question: Callable[[], Any], seconds: float = PATIENCE_S, *, what: str = "it") -> Any:
    """Ask again until the answer is true, and return it. Fails after so many seconds.

    Args:
        what: begins the sentence that says so.
    """
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what} did not become true within {seconds:g} s"
        time.sleep(0.01)
    return answer
