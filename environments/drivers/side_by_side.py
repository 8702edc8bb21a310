"""Looks that may hang, side by side, each with a time-out, all of them with a deadline.

A thread that waits for a dead disk cannot be ended, so every look has a thread of its own that nobody joins: it may
hang for ever without holding up the others or the end of the program. While it does, the same look is not begun again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
_hanging: dict[Hashable, threading.Thread] = {}


class HungError(Exception):
    """A look did not come to its end in time; its text says why, as in "did not finish within 10 s"."""


@dataclass(frozen=True)
class Look(Generic[Result]):
    """One look: what it is known by, so that one that hangs is not begun again, and what it does."""

    key: Hashable
    act: Callable[[], Result]


def side_by_side(
    looks: Sequence[Look[Result]],
    *,
    workers: int,
    timeout: float,
    deadline: float,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result | Exception]:
    """Do all looks. Returns: what each found, or the exception that ended it, HungError for one that hangs; in order.

    Args:
        workers: how many at the same time. timeout: seconds for each. deadline: seconds for all of them.
        tell: called with how many are done, and of how many.
    """
    results: list[Result | Exception] = [HungError("there was no time left for it")] * len(looks)
    inbox: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    waiting, running = deque(range(len(looks))), dict[int, float]()
    end = time.monotonic() + deadline
    while (waiting or running) and time.monotonic() < end:
        while waiting and len(running) < workers:
            number = waiting.popleft()
            if _begin(looks[number], number, inbox):
                running[number] = min(end, time.monotonic() + timeout)
            else:
                results[number] = HungError("still hangs from an earlier look")
        _collect(inbox, running, results, timeout)
        tell(len(looks) - len(waiting) - len(running), len(looks))
    for number in running:
        results[number] = HungError(f"did not finish within {timeout:g} s")
    return results


def _begin(look: Look[Any], number: int, inbox: queue.SimpleQueue[tuple[int, Any]]) -> bool:
    before = _hanging.get(look.key)
    if before is not None and before.is_alive():
        return False

    def work() -> None:
        outcome: Any
        try:
            outcome = look.act()
        except Exception as error:
            outcome = error
        _hanging.pop(look.key, None)
        inbox.put((number, outcome))

    thread = threading.Thread(target=work, name=f"look {look.key}", daemon=True)
    _hanging[look.key] = thread
    thread.start()
    return True


def _collect(
    inbox: queue.SimpleQueue[tuple[int, Any]], running: dict[int, float], results: list[Any], timeout: float
) -> None:
    """Take the next result, or give up on those whose time is over."""
    if not running:
        return
    try:
        number, result = inbox.get(timeout=max(0.0, min(running.values()) - time.monotonic()))
    except queue.Empty:
        now = time.monotonic()
        for late in [number for number, until in running.items() if until <= now]:
            del running[late]
            results[late] = HungError(f"did not finish within {timeout:g} s")
        return
    if running.pop(number, None) is not None:
        results[number] = result
