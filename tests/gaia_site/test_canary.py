"""The canary of the job queue: what counts as alive and what does not, on the queue's own table."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from django_q.models import OrmQ, Task
from django_q.monitor import save_task
from django_q.signals import post_execute_in_worker, pre_execute
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from events.models import Event
from gaia_site.canary import LOOKS, Canary, Look, at_work, take_back, tell_of_work
from gaia_site.log_filters import CANARY, WithoutCanaries

pytestmark = pytest.mark.django_db


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def canary(clock: Clock) -> Canary:
    return Canary(clock)


def looked(canary: Canary, clock: Clock, seconds: float = 4.0) -> Look:
    clock.now += seconds
    return canary.look()


def others(count: int) -> list[int]:
    """Jobs of somebody else's in the queue."""
    for _ in range(count):
        async_task("gaia_site.jobs.forget_old")
    return list(OrmQ.objects.order_by("-pk").values_list("pk", flat=True)[:count])


def test_it_comes_back_and_the_next_one_goes(canary: Canary, clock: Clock) -> None:
    assert canary.look() == Look(False, "a job is on its way")
    for _ in range(5):
        [waiting] = OrmQ.objects.all()
        waiting.delete()  # as the queue does with what is done
        assert looked(canary, clock, 0.25) == Look(True, "a job came back")
    assert OrmQ.objects.count() == 1
    assert not Task.objects.exists()
    assert not Event.objects.exists()


def test_the_queue_runs_it_and_keeps_nothing(canary: Canary) -> None:
    """Its package is one that django-q2 1.11 can run, and its result is not stored."""
    canary.look()
    [row] = OrmQ.objects.all()
    task: dict[str, Any] = SignedPackage.loads(row.payload)
    assert task["func"] == CANARY
    assert {"id", "name", "args", "kwargs", "started", "ack_failure"} <= task.keys()
    save_task({**task, "result": None, "success": True, "stopped": timezone.now()}, broker=None)
    assert not Task.objects.exists()


def test_silence_is_a_failure_each_time(canary: Canary, clock: Clock) -> None:
    canary.look()
    answers = [looked(canary, clock) for _ in range(6)]
    assert not any(one.ok for one in answers)
    assert answers[1].answer == "a job that was sent 8 s ago has not come back, and no other got done"
    assert OrmQ.objects.count() == LOOKS, "they do not pile up"


def test_one_that_got_lost_with_who_had_it_does_not_count(canary: Canary, clock: Clock) -> None:
    canary.look()
    assert not looked(canary, clock).ok
    newest = OrmQ.objects.latest("pk")
    assert OrmQ.objects.count() == 2
    newest.delete()
    assert looked(canary, clock).ok


def test_a_queue_that_works_through_others_is_alive(canary: Canary, clock: Clock) -> None:
    ahead = others(3)
    canary.look()
    OrmQ.objects.filter(pk=ahead.pop()).delete()
    assert looked(canary, clock) == Look(True, "1 job got done, 2 to go")
    assert not looked(canary, clock).ok, "but only as long as they become fewer"
    OrmQ.objects.filter(pk__in=ahead).delete()
    assert looked(canary, clock) == Look(True, "2 jobs got done, 0 to go")
    others(2)
    assert not looked(canary, clock).ok, "those behind it are no reason"


def test_a_worker_at_a_job_is_alive_for_as_long_as_a_job_may_take(canary: Canary, clock: Clock, worker: None) -> None:
    others(1)
    canary.look()
    pre_execute.send("test")
    assert at_work()
    longest = settings.Q_CLUSTER["timeout"] + 15
    assert looked(canary, clock, longest - 1) == Look(True, "a worker is at a job, 1 job to go")
    assert not looked(canary, clock, 2).ok
    post_execute_in_worker.send("test")
    assert not at_work()


def test_a_worker_at_its_ease_is_no_excuse(canary: Canary, clock: Clock, worker: None) -> None:
    others(1)
    canary.look()
    assert not looked(canary, clock).ok


@pytest.fixture
def worker() -> Any:
    """This process as a worker of the queue."""
    tell_of_work()
    yield
    for signal in (pre_execute, post_execute_in_worker):
        signal.disconnect(dispatch_uid="gaia.at_work")


def test_what_a_dead_queue_had_in_hand_is_done_at_once() -> None:
    others(2)
    later = timezone.now() + timedelta(seconds=100)
    OrmQ.objects.update(lock=later)
    OrmQ.objects.create(key="another queue's", payload="", lock=later)
    assert take_back() == 2
    assert OrmQ.objects.filter(lock__lte=timezone.now()).count() == 2


def test_its_lines_are_left_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    filters = WithoutCanaries()
    told = logging.getLogger("django-q")
    assert {each.__class__ for each in told.filters} == {WithoutCanaries}
    for level, message, kept in (
        (logging.INFO, f"Processed '{CANARY}' (canary)", False),
        (logging.INFO, "Processed 'environments.jobs.purge' (purge)", True),
        (logging.ERROR, f"Failed '{CANARY}' (canary) - it was ended", True),
    ):
        record = logging.LogRecord("django-q", level, "", 0, "%s", (message,), None)
        assert filters.filter(record) is kept
