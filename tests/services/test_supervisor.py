"""A service through its life, with a real process and the test's time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.actions.running import restart, start, stop
from services.models import Service
from services.states import ServiceState
from tests.services.house import House, fresh, kinds, last_event, process_of

pytestmark = pytest.mark.usefixtures("leave_nothing")
Register = Callable[..., Service]


def test_a_started_service_runs(house: House, registered: Register) -> None:
    service = registered()
    assert service.state == ServiceState.STOPPED

    start(service)
    assert fresh(service).state == ServiceState.STARTING
    house.tick()

    assert fresh(service).state == ServiceState.RUNNING
    assert kinds(service) == ["registered", "start_requested", "started"]
    assert last_event(service, "started").data["pid"] == process_of(service).pid


def test_a_killed_service_is_started_again_in_the_same_turn(house: House, registered: Register) -> None:
    service = registered(start=True)
    house.tick()
    first = process_of(service)

    house.end(service)

    second = process_of(service)
    assert second.attempt == first.attempt + 1
    assert second.pid != first.pid
    assert fresh(service).state == ServiceState.RUNNING
    assert fresh(service).failures == 1
    assert fresh(service).restarts == 1
    assert kinds(service)[2:] == ["started", "died", "start_requested", "started"]
    assert "again" not in last_event(service, "died").message
    assert last_event(service, "start_requested").message == "Service api is started again"


def test_a_stopped_service_stays_down(house: House, registered: Register) -> None:
    service = registered(start=True)
    house.tick()

    stop(service)
    assert fresh(service).state == ServiceState.STOPPING
    house.tick()
    house.tick()

    assert fresh(service).state == ServiceState.STOPPED
    assert process_of(service).ended_at is not None
    house.later(600)
    assert process_of(service).attempt == 1
    assert fresh(service).failures == 0


def test_a_restarted_service_runs_as_another_process(house: House, registered: Register) -> None:
    service = registered(start=True)
    house.tick()

    restart(service)
    house.tick()
    house.tick()

    assert fresh(service).state == ServiceState.RUNNING
    assert process_of(service).attempt == 2
    assert fresh(service).failures == 0
