"""When a probe is asked, and what follows from answers in a row: time is the test's."""

from __future__ import annotations

from typing import Any

import pytest

from services.courses import QUICK_S, Course, verdict
from services.spec import Probe
from services.states import ProbePurpose
from services.verdict import Health


def course(purpose: str = "readiness", *, steady: bool = False, middle: float = 0.5, **fields: Any) -> Course:
    """A course that begins at 100 s and is asked every 10 s."""
    given = {"type": "tcp", "endpoint": "80", "purpose": purpose, "name": purpose, "interval": 10, **fields}
    return Course(Probe.model_validate(given), 100.0, steady, lambda low, high: low + middle * (high - low))


def answers(of: Course, *many: bool) -> list[float]:
    """These answers, each when it was due. Returns: the seconds between the questions."""
    waits = []
    for ok in many:
        now = of.due
        of.note(ok, "yes" if ok else "no", now)
        waits.append(round(of.due - now, 3))
    return waits


def test_quickly_until_the_first_good_answer_then_in_a_phase_of_its_own() -> None:
    one = course()
    assert one.due == 100.0
    assert answers(one, False, False) == [QUICK_S, QUICK_S]
    assert one.passed is None
    assert answers(one, True, True, True) == [7.5, 10, 10]
    assert one.passed is True
    other = course(middle=0.1)
    assert answers(other, True, True) == [5.5, 10]


def test_a_short_interval_is_kept_from_the_start() -> None:
    assert answers(course(interval=0.1), False, True, True) == [0.1, 0.075, 0.1]


def test_it_is_asked_after_its_delay() -> None:
    assert course(delay=30).due == 130.0


def test_failures_in_a_row_count_and_one_good_answer_forgets_them() -> None:
    one = course(retries=3)
    answers(one, True, False, False)
    assert one.passed is True
    answers(one, True, False, False)
    assert one.passed is True
    answers(one, False)
    assert one.passed is False


def test_good_answers_in_a_row_are_asked_for_quickly_at_first() -> None:
    one = course(successes=3)
    assert answers(one, True, False, True, True) == [QUICK_S, QUICK_S, QUICK_S, QUICK_S]
    assert one.passed is None
    assert answers(one, True) == [7.5]
    assert one.passed is True


def test_who_was_not_ready_needs_as_many_good_answers_again() -> None:
    one = course(successes=2, retries=1)
    answers(one, True, True, False)
    assert one.passed is False
    answers(one, True)
    assert one.passed is False
    answers(one, True)
    assert one.passed is True


def test_while_it_starts_quick_failures_count_at_the_pace_of_the_interval() -> None:
    """Three failures at 10 s are 30 s, however often it was asked."""
    one, asked = course(retries=3), 0
    while one.passed is None:
        now, asked = one.due, asked + 1
        one.note(False, "no", now)
    assert 130.0 <= now <= 131.5
    assert asked > 40


def test_what_takes_long_to_start_is_asked_less_and_less_often() -> None:
    one = course(interval=60)
    assert answers(one, *[False] * 20) == [QUICK_S] * 20
    one.note(False, "no", 100.0 + 100)
    assert one.due == 100.0 + 105
    one.note(False, "no", 100.0 + 10_000)
    assert one.due == 100.0 + 10_060


def test_who_was_well_under_another_daemon_has_nothing_to_prove() -> None:
    one = course(steady=True, retries=2)
    assert one.due == 101.0, "soon, and not all in the same moment"
    assert answers(one, False) == [10]
    assert one.passed is None, "as it was"
    answers(one, False)
    assert one.passed is False


# -- what they say together


def together(started: bool, **passed: bool | None) -> Health:
    many = []
    for name, answer in passed.items():
        one = course(name.rstrip("2"), name=name)
        one.passed, one.answer = answer, f"{name} said so" if answer is not None else ""
        many.append(one)
    return verdict(many, started=started)


@pytest.mark.parametrize(
    ("started", "passed", "expected"),
    [
        (True, {}, Health(startup=True, ready=True, live=True)),
        (False, {"startup": None}, Health()),
        (False, {"startup": False}, Health(startup=False, live=False, probe="startup", answer="startup said so")),
        (True, {"startup": True, "readiness": None}, Health(startup=True, live=True)),
        (True, {"readiness": True, "liveness": True}, Health(startup=True, ready=True, live=True)),
        (True, {"readiness": True, "liveness": None}, Health(startup=True, ready=True)),
        (True, {"readiness": True, "readiness2": None}, Health(startup=True, live=True)),
        (True, {"readiness": True, "readiness2": False},
         Health(startup=True, ready=False, live=True, probe="readiness2", answer="readiness2 said so")),
        (True, {"readiness": False, "liveness": False},
         Health(startup=True, ready=False, live=False, probe="liveness", answer="liveness said so")),
        (True, {"startup": False, "readiness": True}, Health(startup=True, ready=True, live=True)),
    ],
)  # fmt: skip
def test_the_verdict(started: bool, passed: dict[str, bool | None], expected: Health) -> None:
    assert together(started, **passed) == expected


def test_who_is_not_ready_yet_is_told_of_with_its_answer() -> None:
    one = course()
    answers(one, False)
    assert verdict([one], started=True) == Health(startup=True, live=True, probe="readiness", answer="no")


def test_every_purpose_has_a_say() -> None:
    assert {each.value for each in ProbePurpose} == {"startup", "readiness", "liveness"}
