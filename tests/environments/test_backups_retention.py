"""Grandfather, father, son: which backups are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.actions.retention import Keep, Kept, expired

NOW = datetime(2025, 3, 31, 12, tzinfo=UTC)


def daily(count: int, *, hour: int = 2) -> list[Kept]:
    """One each day, the last today."""
    first = NOW.replace(hour=hour)
    return [Kept(number, first - timedelta(days=count - 1 - number)) for number in range(count)]


def kept(backups: list[Kept], keep: Keep, now: datetime = NOW, zone: str = "UTC") -> list[str]:
    """The days of those that are kept, newest first."""
    gone = set(expired(backups, keep, now, ZoneInfo(zone)))
    return sorted((f"{one.taken_at:%m-%d}" for one in backups if one.id not in gone), reverse=True)


def test_days_weeks_and_months() -> None:
    assert kept(daily(120), Keep(daily=3, weekly=3, monthly=3)) == [
        "03-31", "03-30", "03-29",  # days; the 31st is also the newest of its week and month, the 30th of its week
        "03-23",  # weeks end on Sundays
        "02-28", "01-31",  # months
    ]  # fmt: skip


def test_several_of_a_day_leave_the_newest() -> None:
    backups = [Kept(number, NOW - timedelta(minutes=number)) for number in range(5)]
    assert expired(backups, Keep(daily=1, weekly=1, monthly=1), NOW, UTC) == [4, 3, 2, 1]


def test_after_a_pause_what_was_taken_last_stays() -> None:
    backups = daily(10)
    later = NOW + timedelta(days=900)
    assert kept(backups, Keep(daily=2, weekly=1, monthly=1), later) == ["03-31", "03-30"]


def test_a_day_is_a_day_where_the_operator_is() -> None:
    backups = [Kept(0, datetime(2025, 3, 10, 23, 30, tzinfo=UTC)), Kept(1, datetime(2025, 3, 11, 0, 30, tzinfo=UTC))]
    assert expired(backups, Keep(daily=2, weekly=1, monthly=1), NOW, ZoneInfo("UTC")) == []
    assert expired(backups, Keep(daily=2, weekly=1, monthly=1), NOW, ZoneInfo("Europe/Berlin")) == [0]


def test_the_way_back_stays_for_some_days() -> None:
    """What was taken before something was replaced, though the clock took another one the same day."""
    before = Kept(100, NOW - timedelta(days=5, hours=11), by_the_clock=False)
    backups = [*daily(30), before]
    keep = Keep(daily=7, weekly=1, monthly=1)
    assert 100 not in expired(backups, keep, NOW, UTC)
    assert 100 in expired(backups, keep, NOW + timedelta(days=2), UTC)


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count: int) -> None:
    assert expired(daily(count), Keep(1, 1, 1), NOW + timedelta(days=10_000), UTC) == []


moments = st.datetimes(datetime(2024, 1, 1), datetime(2025, 12, 31), timezones=st.just(UTC))


@given(st.lists(st.tuples(moments, st.booleans()), max_size=60), st.tuples(*[st.integers(1, 9)] * 3))
def test_whatever_there_is(taken: list[tuple[datetime, bool]], numbers: tuple[int, int, int]) -> None:
    """The newest stays, no more than asked for stay of what the clock took, and pruning twice deletes no more."""
    backups = [Kept(number, moment, by_the_clock) for number, (moment, by_the_clock) in enumerate(taken)]
    keep, now = Keep(*numbers), datetime(2026, 1, 1, tzinfo=UTC)
    gone = set(expired(backups, keep, now, UTC))
    stays = [one for one in backups if one.id not in gone]
    young = now - timedelta(days=keep.daily)
    assert len([one for one in stays if one.by_the_clock or one.taken_at <= young]) <= sum(numbers)
    if backups:
        assert max(backups, key=lambda one: (one.taken_at, one.id)) in stays
    assert expired(stays, keep, now, UTC) == []
