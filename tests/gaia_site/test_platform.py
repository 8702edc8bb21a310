"""Web and jobs are kept running: at once, then later and later, by a clock that does not jump."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from events.models import Event
from gaia_site.node import JOBS, WEB, Platform, backoff, failures
from processes.actions import processes as actions
from processes.models import Node, Process
from processes.states import EnvironmentBase, ExitSource

pytestmark = pytest.mark.django_db


@pytest.fixture
def node(acting: str) -> Node:
    from processes.actions.nodes import ensure_node

    return ensure_node()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def live(owner: str = WEB) -> Process | None:
    return Process.objects.active().filter(owner=owner).first()


def die(owner: str = WEB, *, after: float = 1.0, asked: bool = False) -> None:
    """The live process ends after so many seconds."""
    process = live(owner)
    assert process is not None
    actions.record_started(process, pid=7, start_ticks=8, boot_id="boot")
    if asked:
        actions.request_stop(process)
    actions.record_exit(process, 1, ExitSource.WAIT)
    started = timezone.now() - timedelta(seconds=after)
    Process.objects.filter(pk=process.pk).update(started_at=started, created_at=started)


def wait_for_start(platform: Platform, clock: Clock) -> float:
    """Seconds until it is started again, in steps of a quarter."""
    begun = clock.now
    platform.keep()
    while live() is None:
        clock.now += 0.25
        platform.keep()
        assert clock.now < begun + 100
    return clock.now - begun


def test_both_are_started(node: Node, clock: Clock) -> None:
    Platform(node, clock).keep()
    Platform(node, clock).keep()
    web, jobs = live(WEB), live(JOBS)
    assert web is not None
    assert jobs is not None
    assert Process.objects.count() == 2
    assert web.port is not None
    assert str(web.port) in web.argv
    assert web.env_base == EnvironmentBase.GAIA
    assert (web.env, jobs.env) == ({"GAIA_ROLE": "web"}, {"GAIA_ROLE": "jobs"}), "nothing secret lies in the row"


def test_later_and_later_and_at_once_again_after_a_minute(node: Node, clock: Clock) -> None:
    platform = Platform(node, clock)
    platform.keep()
    waits = []
    for _ in range(10):
        die()
        waits.append(wait_for_start(platform, clock))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    die(after=61)
    assert wait_for_start(platform, clock) == 0.0
    die()
    assert wait_for_start(platform, clock) == 0.0, "that was the first failure since"
    assert Event.objects.filter(kind="process.requested", subject=WEB).count() == 13


def test_what_was_asked_for_is_no_failure(node: Node, clock: Clock) -> None:
    platform = Platform(node, clock)
    platform.keep()
    for _ in range(5):
        die(asked=True)
        assert wait_for_start(platform, clock) == 0.0


def test_a_start_that_was_refused_counts(node: Node, clock: Clock) -> None:
    """A stranger has the port: tried later and later, not in a hot loop."""
    platform = Platform(node, clock)
    waits = []
    for _ in range(6):
        waits.append(wait_for_start(platform, clock))
        process = live()
        assert process is not None
        actions.record_not_started(process, "port 8080 is taken by python3 (pid 7)")
    assert waits == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=1)])
def test_the_wall_clock_jumps(node: Node, clock: Clock, jump: timedelta) -> None:
    platform = Platform(node, clock)
    platform.keep()
    for _ in range(4):
        die()
        wait_for_start(platform, clock)
    die()
    Process.objects.filter(owner=WEB, pk=Process.objects.filter(owner=WEB).latest("id").pk).update(
        ended_at=timezone.now() + jump
    )
    assert wait_for_start(platform, clock) <= 4.0


def test_a_new_daemon_does_not_wait(node: Node, clock: Clock) -> None:
    """Whatever its predecessor saw die, or left behind dead without knowing it."""
    platform = Platform(node, clock)
    platform.keep()
    for _ in range(7):
        die()
        wait_for_start(platform, clock)
    die()
    assert wait_for_start(Platform(node, clock), clock) == 0.0
    successor = Platform(node, clock)
    successor.keep()  # the row still says that it runs
    die()
    assert wait_for_start(successor, clock) == 0.0
    die()
    assert wait_for_start(successor, clock) > 16, "but this one it started itself"


def test_one_that_cannot_be_asked_for_does_not_keep_the_other(node: Node, clock: Clock, settings: Any) -> None:
    settings.GAIA = {**settings.GAIA.values, "server.port": "nonsense"}  # no database takes that
    with pytest.raises(ValueError, match="nonsense"):  # the daemon says it, and tries again
        Platform(node, clock).keep()
    assert live(JOBS) is not None
    assert live(WEB) is None


def test_backoff() -> None:
    assert [backoff(count) for count in range(5)] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert backoff(1000) == 60.0
    assert failures([]) == 0
