"""A service that does not stay up, tried once a minute: what is written of that, and how it is over."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from events.models import Event
from services.actions.running import start, stop
from services.models import Service
from services.verdict import Health
from tests.services.house import House, fresh, kinds, last_event, process_of

pytestmark = pytest.mark.usefixtures("leave_nothing")
Register = Callable[..., Service]
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]


def everything(service: Service) -> list[str]:
    """Kinds of all that was told of a service and its processes."""
    return list(Event.objects.filter(subject=service.owner).order_by("id").values_list("kind", flat=True))


def loop(house: House, service: Service) -> None:
    """Have it die until it is tried once a minute."""
    house.tick()
    while fresh(service).state != "crash_loop":
        house.end(service)
        house.later(2)
        house.tick()


def in_a_trial(house: House, registered: Register) -> Service:
    """A service in a crash loop, whose next trial has just begun."""
    service = registered(probes=PROBES, start=True)
    house.health["api"] = Health(startup=True, ready=True, live=True)
    loop(house, service)
    house.later(60)
    house.tick()
    return service


def test_a_loop_that_goes_on_writes_one_event_a_trial(house: House, registered: Register) -> None:
    service = registered(probes=PROBES, start=True)
    house.health["api"] = Health(startup=True, ready=True, live=True)
    loop(house, service)
    for trial in range(1, 4):
        told = len(everything(service))
        attempt, restarts = process_of(service).attempt, fresh(service).restarts
        house.later(60)
        house.tick()
        assert fresh(service).state == "running", "states are as true as ever"
        assert process_of(service).state == "running"
        assert len(everything(service)) == told
        house.end(service)
        assert everything(service)[told:] == ["service.trial"]
        assert (process_of(service).attempt, fresh(service).restarts) == (attempt + 1, restarts + 1)
        assert fresh(service).last_death["attempt"] == attempt + 1
        event = last_event(service, "trial")
        assert event.message.endswith(f"again: it died {5 + trial} times in a row; the next trial comes in a minute")
        assert event.data["attempt"] == attempt + 1
        assert event.level == "info"
        assert "lines" not in event.data
        assert fresh(service).next_start_at == house.now + timedelta(seconds=60)


def test_a_trial_that_ends_in_another_way_is_news(house: House, registered: Register) -> None:
    service = in_a_trial(house, registered)
    house.end(service, signal.SIGTERM)
    event = last_event(service, "trial")
    assert (event.level, event.data["code"], "lines" in event.data) == ("warning", 143, True)
    assert event.message.startswith("Service api ended with code 143, or by signal SIGTERM: it died 6 times in a row")


def test_what_somebody_asks_of_a_trial_is_told(house: House, registered: Register) -> None:
    service = in_a_trial(house, registered)
    told = len(everything(service))
    stop(fresh(service))
    house.tick()
    house.reap(process_of(service))
    wanted = {
        "service.stop_requested",
        "process.stop_requested",
        "process.stopping",
        "process.stopped",
        "service.stopped",
    }
    assert set(everything(service)[told:]) == wanted
    told = len(everything(service))
    start(fresh(service))
    house.tick()
    assert everything(service)[told:][-2:] == ["process.started", "service.started"]


def test_a_trial_that_its_liveness_ends_is_one_event(house: House, registered: Register) -> None:
    service = in_a_trial(house, registered)
    told = len(everything(service))
    house.health["api"] = Health(startup=True, ready=False, live=False, probe="live", answer="no")
    house.tick()
    house.tick()
    house.reap(process_of(service))
    assert fresh(service).state == "crash_loop"
    assert everything(service)[told:] == ["service.trial"]


def test_a_trial_that_stays_up_is_told_from_then_on(house: House, registered: Register) -> None:
    service = in_a_trial(house, registered)
    house.later(900)
    assert everything(service)[-1] == "service.recovered"
    told = len(everything(service))
    house.end(service)
    assert {"process.exited", "process.lost"} & set(everything(service)[told:])
    assert "service.died" in everything(service)[told:]


def test_through_a_crash_loop_and_back(house: House, registered: Register, tmp_path: Path) -> None:
    """Five deaths: a trial a minute. Then it stays up: an hour of crash loop is over, and whoever was told hears it."""
    service = registered(probes=PROBES, start=True)
    house.health["api"] = Health(startup=True, ready=True, live=True)
    house.tick()
    waits = []
    for _ in range(5):
        house.end(service)
        due = fresh(service).next_start_at
        waits.append((due - house.now).total_seconds() if due else 0.0)
        house.later(waits[-1])
        house.tick()
    assert waits == [0.0, 0.5, 1.0, 2.0, 60.0]
    assert kinds(service).count("crash_loop") == 1
    assert fresh(service).alarmed_at is not None
    assert Service.objects.failing().count() == 0  # its trial runs

    house.end(service)
    assert fresh(service).state == "crash_loop"
    assert Service.objects.failing().count() == 1
    assert kinds(service).count("crash_loop") == 1  # people know
    house.later(59)
    assert fresh(service).state == "crash_loop"
    house.later(1)
    house.tick()
    assert fresh(service).state == "running"

    house.later(59)
    assert "recovered" not in kinds(service)
    house.later(600)  # twice its start-up, which by the test's clock took minutes
    assert kinds(service)[-1] == "recovered"
    assert (fresh(service).failures, fresh(service).alarmed_at) == (0, None)
