"""The figures of the guide, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import backoff


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 16), (8, 32), (9, 60), (10, 60), (10_000_000, 60)],
)
def test_waiting_times_double_up_to_a_minute(failures: int, seconds: float) -> None:
    assert backoff.delay(failures, lambda _low, _high: 1.0) == seconds


@given(st.integers(2, 200))
def test_waiting_times_are_spread_by_a_fifth(failures: int) -> None:
    middle = backoff.delay(failures, lambda _low, _high: 1.0)
    assert 0.8 * middle <= backoff.delay(failures) <= 1.2 * middle


@pytest.mark.parametrize(
    ("ago", "looping"),
    [
        ([], False),
        ([0, 1, 2, 3], False),
        ([0, 1, 2, 3, 300], True),
        ([0, 1, 2, 3, 301], False),
        ([0] * 5, True),
        ([-10] * 5, False),  # the clock was put back: they have not happened yet
    ],
)
def test_five_failures_in_five_minutes_make_a_crash_loop(ago: list[float], looping: bool) -> None:
    assert backoff.is_looping([1000.0 - each for each in ago], 1000.0) is looping


@pytest.mark.parametrize(("startup", "steady"), [(0, 60), (30, 60), (31, 62), (600, 1200), (-5, 60)])
def test_failures_are_forgotten_after_a_minute_or_twice_the_start_up(startup: float, steady: float) -> None:
    assert backoff.steady_after(startup) == steady
