"""Figures over time: written, rolled up, forgotten and read, with a clock of the test's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from processes.actions import samples
from processes.actions.samples import LONG, MIDDLE, SHORT, Figures, begin_of
from processes.models import Node, Process, Sample
from processes.samples import Sampler
from tests.processes.conftest import Until
from tests.processes.turns import Turn

pytestmark = pytest.mark.usefixtures("leave_nothing")
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def seen(at: datetime, cpu: float = 10.0, memory: int = 100, **changes: Any) -> Figures:
    return Figures(
        **{"at": at, "cpu": cpu, "cpu_most": cpu, "memory": memory, "memory_most": memory, "processes": 1, **changes}
    )


def rows(seconds: int) -> list[tuple[Any, ...]]:
    return list(
        Sample.objects.filter(seconds=seconds)
        .order_by("owner", "at")
        .values_list("owner", "at", "cpu", "cpu_most", "looks")
    )


class Clock:
    """Both clocks; the wall may be made to jump."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = NOON

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sampler(node: Node, clock: Clock) -> Sampler:
    return Sampler(node, lambda: clock.seconds, lambda: clock.wall)


def test_a_look_becomes_a_sample(
    turn: Turn, sampler: Sampler, clock: Clock, request_sh: Any, until: Until, tmp_path: Path
) -> None:
    process = request_sh("touch up; while :; do :; done")
    turn.tick()
    until((tmp_path / "up").exists)
    for _ in range(2):
        sampler.turn()
        clock.move(5)
    assert not Sample.objects.exists()  # its period is not over
    sampler.turn()
    [sample] = Sample.objects.all()
    assert (sample.owner, sample.seconds, sample.at, sample.looks) == (process.owner, SHORT, NOON, 2)
    assert sample.processes == 1
    assert sample.memory_most >= sample.memory > 100_000


def test_whoever_ended_leaves_its_last_figures(
    turn: Turn, sampler: Sampler, clock: Clock, request_sh: Any, until: Until, tmp_path: Path
) -> None:
    process = request_sh("touch up; read x <go", cwd=tmp_path)
    turn.tick()
    until((tmp_path / "up").exists)
    sampler.turn()
    Process.objects.filter(pk=process.pk).update(state="lost", ended_at=timezone.now())
    clock.move(10)
    sampler.turn()
    clock.move(10)
    sampler.turn()
    assert [row[:2] for row in rows(SHORT)] == [(process.owner, NOON)]


def test_a_period_that_another_daemon_began(node: Node) -> None:
    samples.store(node, {"a": seen(NOON, 10, looks=3)})
    samples.store(node, {"a": seen(NOON, 40, looks=1), "b": seen(NOON)})
    assert rows(SHORT) == [("a", NOON, 17.5, 40, 4), ("b", NOON, 10, 10, 1)]


def test_rolled_up_twice_is_rolled_up_once(node: Node) -> None:
    for second in range(0, 2000, 10):
        samples.store(node, {"a": seen(NOON + timedelta(seconds=second), second)})
    now = NOON + timedelta(seconds=2005)
    samples.roll_up(node, now)
    minutes, quarters = rows(MIDDLE), rows(LONG)
    assert minutes[0] == ("a", NOON, 25, 50, 6)
    assert len(minutes) == 33  # the last one is not over
    assert quarters == [("a", NOON, 445, 890, 90), ("a", NOON + timedelta(seconds=900), 1345, 1790, 90)]
    samples.roll_up(node, now)
    assert (rows(MIDDLE), rows(LONG)) == (minutes, quarters)


def test_rolled_up_after_a_night_without_a_daemon(node: Node) -> None:
    samples.store(node, {"a": seen(NOON)})
    samples.roll_up(node, NOON + timedelta(seconds=60))
    late = NOON + timedelta(seconds=120)
    samples.store(node, {"a": seen(late, 30)})
    samples.roll_up(node, NOON + timedelta(hours=9))
    assert [row[1:4] for row in rows(MIDDLE)] == [(NOON, 10, 10), (late, 30, 30)]
    assert [row[1:4] for row in rows(LONG)] == [(NOON, 20, 30)]


def test_a_row_of_the_future_does_not_keep_the_present_from_being_rolled_up(node: Node) -> None:
    future = NOON + timedelta(days=400)
    samples.store(node, {"a": seen(future)})
    samples.roll_up(node, future + timedelta(seconds=60))
    samples.store(node, {"a": seen(NOON)})
    samples.roll_up(node, NOON + timedelta(seconds=60))
    assert [row[1] for row in rows(MIDDLE)] == [NOON, future]


def test_forgotten(node: Node) -> None:
    for seconds, kept in samples.KEPT_S.items():
        for age in (kept - 5, kept + 5):
            Sample.objects.create(
                node=node, owner="a", seconds=seconds, at=NOON - timedelta(seconds=age),
                cpu=1, cpu_most=1, memory=1, memory_most=1, processes=1,
            )  # fmt: skip
    assert samples.forget(node, NOON) == 3
    assert samples.forget(node, NOON) == 0
    assert Sample.objects.count() == 3


def test_a_clock_that_jumps_ahead_forgets_nothing(sampler: Sampler, node: Node, clock: Clock) -> None:
    """A year ahead, for an hour, and back: the history is there."""
    samples.store(node, {"a": seen(NOON)})
    clock.wall += timedelta(days=365)
    for _ in range(10):
        sampler.turn()
        clock.move(59)
    clock.wall -= timedelta(days=365)
    clock.move(2)
    sampler.turn()
    assert Sample.objects.filter(at=NOON, seconds=SHORT).exists()


def test_old_rows_go_by_themselves(sampler: Sampler, node: Node, clock: Clock) -> None:
    samples.store(node, {"a": seen(NOON - timedelta(hours=3))})
    for _ in range(30):
        sampler.turn()
        clock.move(25)
    assert not Sample.objects.filter(seconds=SHORT).exists()


def test_latest(node: Node, django_assert_num_queries: Callable[[int], Any]) -> None:
    now = begin_of(timezone.now(), SHORT)
    samples.store(node, {"old": seen(now - timedelta(minutes=5))})
    samples.store(node, {"a": seen(now - timedelta(seconds=20), 5)})
    samples.store(node, {"a": seen(now - timedelta(seconds=10), 7), "b": seen(now - timedelta(seconds=10))})
    with django_assert_num_queries(1):
        found = samples.latest(["a", "b", "old", "none"])
    assert {owner: figures.cpu for owner, figures in found.items()} == {"a": 7, "b": 10}


@pytest.mark.parametrize(
    ("span", "seconds"), [(600, SHORT), (7200, SHORT), (7201, MIDDLE), (90_000, MIDDLE), (10**7, LONG)]
)
def test_series(node: Node, span: float, seconds: int) -> None:
    for length in samples.KEPT_S:
        now = begin_of(timezone.now(), length)
        samples._write(node, length, {("a", now - timedelta(seconds=n * length)): seen(now, length) for n in (1, 0)})
    found = samples.series("a", span)
    assert found.seconds == seconds
    assert [point.cpu for point in found.points][:1] == [seconds]
    assert found.points == sorted(found.points, key=lambda point: point.at)


def test_looks_cost_few_queries(
    turn: Turn, sampler: Sampler, clock: Clock, request_sh: Any, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    for number in range(10):
        request_sh("exec sleep 100", f"test/{number}", limits={"memory_mb": 1000, "cpu_percent": 500, "quiet_s": 1000})
    turn.tick()
    sampler.turn()
    clock.move(1)
    with django_assert_max_num_queries(1):
        sampler.turn()
    clock.move(9)
    with django_assert_max_num_queries(6):
        sampler.turn()
    assert Sample.objects.count() == 10
