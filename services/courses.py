"""When a probe is asked, and what its answers in a row mean. Nothing here asks, reads or writes anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.spec import Probe
from services.states import ProbePurpose
from services.verdict import Health

QUICK_S = 0.25
"""Seconds between two questions until the first good answer, at first."""
_SHARE = 0.05  # of the time it has taken so far: what takes minutes to start is asked less and less often meanwhile
_ADOPTED_WITHIN_S = 2.0  # what a daemon finds running is asked soon, and not everything in the same moment
_SAME_PACE = 0.5  # of the interval: failures that follow faster than this count as one


@dataclass
class Course:
    """One probe of one start.

    Args:
        probe: what is asked, how often, and how many answers in a row count.
        begins: when it may be asked for the first time, in seconds of the clock.
        steady: it was well when it was last asked, by a daemon before this one: it has nothing to prove, and its
            failures count from the first.
        uniform: a random number between two others; keeps many probes from being asked at the same moment.
    """

    probe: Probe
    begins: float
    steady: bool
    uniform: Callable[[float, float], float]
    passed: bool | None = None
    answer: str = ""
    due: float = 0.0
    _good: int = 0
    _bad: int = 0
    _counted_at: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.steady:
            self.due = self.begins + self.uniform(0.0, min(_ADOPTED_WITHIN_S, self.probe.interval))
            self._counted_at = self.begins - self.probe.interval
        else:
            self.begins += self.probe.delay
            self.due = self._counted_at = self.begins

    @property
    def coming_up(self) -> bool:
        """It has never answered well, and need not yet."""
        return not self.steady and self.passed is None

    def note(self, ok: bool, answer: str, now: float) -> None:
        """An answer has come."""
        self.answer = answer
        if ok:
            self._note_good(now)
        else:
            self._note_bad(now)

    def _note_good(self, now: float) -> None:
        self._bad, self._good = 0, self._good + 1
        first = not self.steady
        if self._good >= self.probe.successes:
            self.passed = self.steady = True
        if not self.steady:
            self.due = now + self._quickly(now)
        else:  # from the first one on in a phase of its own
            self.due = now + self.probe.interval * (self.uniform(0.5, 1.0) if first else 1.0)

    def _note_bad(self, now: float) -> None:
        self._good = 0
        # while it is asked quickly, failures count as fast as they would come later: starting takes time
        interval = self.probe.interval
        if now - self._counted_at >= interval * (_SAME_PACE if self.steady else 1.0):
            self._counted_at = now if self.steady else max(self._counted_at + interval, now - interval)
            self._bad += 1
        if self._bad >= self.probe.retries:
            self.passed = False
        self.due = now + (self.probe.interval if self.steady else self._quickly(now))

    def _quickly(self, now: float) -> float:
        return min(self.probe.interval, max(QUICK_S, _SHARE * (now - self.begins)))


def verdict(courses: Sequence[Course], *, started: bool) -> Health:
    """What the probes of a start say together.

    Args:
        started: the start-up probes have passed, now or before.
    """
    by = {purpose: [each for each in courses if each.probe.purpose == purpose] for purpose in ProbePurpose}
    startup, readiness, liveness = (
        by[ProbePurpose.STARTUP], by[ProbePurpose.READINESS], by[ProbePurpose.LIVENESS],
    )  # fmt: skip
    fatal = [*([] if started else startup), *liveness]
    ready = _all(readiness) if started else None
    live = _all(fatal)
    no = next((each for each in fatal if each.passed is False), None)
    no = no or next((each for each in (readiness if started else startup) if not each.passed and each.answer), None)
    said = {"probe": no.probe.name, "answer": no.answer} if no is not None else {}
    return Health(startup=started or (False if live is False else None), ready=ready, live=live, **said)


def _all(courses: Sequence[Course]) -> bool | None:
    answers = [each.passed for each in courses]
    if False in answers:
        return False
    return None if None in answers else True
