"""What people want, said in every state, said twice, and said at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.errors import InvalidInput, NotFound
from processes.actions.processes import request_start
from processes.models import Process
from processes.states import StopCause
from services.actions import running
from services.actions.running import find_service, restart, restart_all, start, start_all, stop, stop_all
from services.models import Service
from tests.processes.conftest import running as is_running
from tests.services.house import House, fresh, kinds, last_event, process_of
from tests.waiting import until

Register = Callable[..., Service]
DOWN = ["stopped", "held", "backoff", "crash_loop", "failed", "completed"]
UP = ["starting", "running", "unready"]


def put(service: Service, state: str, desired: str, *, live: bool = False, **fields: Any) -> Service:
    """Have a service in a state, with a live process or without."""
    if live:
        row = request_start(service.node, service.owner, ["true"], cwd=service.cwd)
        Process.objects.filter(pk=row.pk).update(state="running", pid=1)
    Service.objects.filter(pk=service.pk).update(state=state, desired=desired, **fields)
    return fresh(service)


@pytest.mark.parametrize("state", DOWN)
def test_start_from_every_state_that_is_down(state: str, registered: Register) -> None:
    counted = {"failures": 7, "failed_at": [1.0], "last_death": {"repeated": 2, "code": 3}, "problem": "it died"}
    service = start(put(registered(), state, "down" if state == "stopped" else "up", **counted))
    if state == "held":  # it waits already; the daemon opens its gate
        assert service.state == "held"
        return
    assert (service.state, service.desired, service.failures, service.problem) == ("starting", "up", 0, "")
    assert service.last_death == {"repeated": 0, "code": 3}
    assert process_of(service).state == "starting"
    assert kinds(service)[-1] == "start_requested"


@pytest.mark.parametrize("state", UP)
def test_starting_what_is_up_does_nothing(state: str, registered: Register) -> None:
    service = put(registered(), state, "up", live=True)
    told = len(kinds(service))
    start(service)
    assert fresh(service).state == state
    assert Process.objects.count() == 1
    assert len(kinds(service)) == told


@pytest.mark.parametrize("state", UP)
def test_stop_from_every_state_that_is_up(state: str, registered: Register) -> None:
    service = stop(put(registered(), state, "up", live=True))
    assert (service.state, service.desired) == ("stopping", "down")
    process = process_of(service)
    assert process.stop_requested_at is not None
    assert process.cause == StopCause.ASKED
    told = kinds(service)
    assert told[-1] == "stop_requested"

    stop(service)
    assert kinds(service) == told


@pytest.mark.parametrize("state", DOWN)
def test_stop_from_every_state_that_is_down(state: str, registered: Register) -> None:
    service = stop(put(registered(), state, "up", alarmed_at="2026-01-01T00:00Z"))
    assert (service.state, service.desired) == ("stopped", "down")
    told = kinds(service)
    stop(service)
    assert kinds(service) == told


def test_stopping_what_never_ran_says_nothing(registered: Register) -> None:
    service = registered()
    assert stop(service).state == "stopped"
    assert kinds(service) == ["registered"]


@pytest.mark.parametrize("state", UP)
def test_stopping_what_has_just_died_keeps_it_down(state: str, registered: Register, house: House) -> None:
    service = put(registered(), state, "up", live=True)
    Process.objects.update(state="exited", exit_code=1, ended_at=house.now)
    assert (stop(service).state, fresh(service).desired) == ("stopped", "down")
    assert house.supervisor.tick() == []


def test_a_stop_is_taken_back_by_a_start(registered: Register, house: House) -> None:
    service = put(registered(), "stopping", "down", live=True)
    Process.objects.update(stop_requested_at=house.now)
    assert (start(service).state, fresh(service).desired) == ("stopping", "up")

    Process.objects.update(state="exited", exit_code=143, ended_at=house.now)
    house.supervisor.tick()
    assert fresh(service).state == "starting"
    assert fresh(service).failures == 0


def test_a_restart_is_taken_back_by_a_stop(registered: Register, house: House) -> None:
    service = restart(put(registered(), "running", "up", live=True))
    assert (service.state, service.desired) == ("stopping", "up")
    stop(service)
    Process.objects.update(state="exited", exit_code=143, ended_at=house.now)
    house.supervisor.tick()
    assert fresh(service).state == "stopped"


@pytest.mark.parametrize("state", DOWN)
def test_restarting_what_is_down_starts_it(state: str, registered: Register) -> None:
    service = restart(put(registered(), state, "up"))
    assert service.state == ("held" if state == "held" else "starting")


@pytest.mark.parametrize("state", UP)
def test_restarting_what_is_up_stops_it_first(state: str, registered: Register, house: House) -> None:
    service = restart(put(registered(), state, "up", live=True, failures=3))
    assert (service.state, service.desired, service.failures) == ("stopping", "up", 0)
    assert "Restart" in last_event(service, "stop_requested").message

    Process.objects.update(state="exited", exit_code=143, ended_at=house.now)
    house.supervisor.tick()
    assert (fresh(service).state, process_of(service).attempt) == ("starting", 2)


@pytest.mark.parametrize("verb", [stop, restart])
def test_at_once_means_no_grace_period(verb: Callable[..., Service], registered: Register) -> None:
    service = put(registered(stop_grace="30s"), "running", "up", live=True)
    verb(service, graceful=False)
    assert process_of(service).stop_grace == 0


@pytest.mark.usefixtures("leave_nothing")
def test_a_stop_that_takes_long_is_cut_short(registered: Register, house: House, tmp_path: Any) -> None:
    service = registered(script="trap '' TERM; touch up; while :; do sleep 0.05; done", stop_grace="10m", start=True)
    house.tick()
    process = process_of(service)
    until(lambda: (tmp_path / "up").exists())
    stop(service)
    Process.objects.filter(pk=process.pk).update(state="stopping")  # the daemon has begun, and waits

    stop(service, graceful=False)

    assert not is_running(process.pid)


def test_by_name_or_number(registered: Register) -> None:
    one, two = registered("one"), registered("2")
    assert find_service("one") == find_service(one.pk) == find_service(str(one.pk)) == one
    assert find_service("2") == two
    for nobody in ("three", "-1", "9" * 30, "²", ""):
        with pytest.raises(NotFound, match="there is no service") as caught:
            find_service(nobody)
        assert "2, one" in caught.value.fix


def test_without_services_the_error_says_how_to_get_one(db: None) -> None:
    with pytest.raises(NotFound) as caught:
        find_service("api")
    assert "register" in caught.value.fix


def test_a_secret_without_a_value_keeps_it_from_starting(registered: Register) -> None:
    service = registered(secrets={"TOKEN": None, "OTHER": "x"})
    with pytest.raises(InvalidInput, match="secret TOKEN"):
        start(service)
    assert fresh(service).state == "stopped"


def test_several_at_once(registered: Register) -> None:
    """
    db ◀── api ◀── web        started from the left, stopped from the right
    """
    db = registered("zz-db")
    api = registered("api", depends_on=["zz-db"])
    web = registered("a-web", depends_on=["api"])

    assert [each.name for each in start_all([web, api, db])] == ["zz-db", "api", "a-web"]
    assert [fresh(each).state for each in (db, api, web)] == ["starting", "held", "held"]
    assert [each.name for each in stop_all([api, db, web])] == ["a-web", "api", "zz-db"]
    assert [fresh(each).state for each in (db, api, web)] == ["stopping", "stopped", "stopped"]
    assert [each.name for each in restart_all([web, db])] == ["a-web", "zz-db"]


def test_a_row_that_changes_all_the_time_is_given_up(
    registered: Register, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    service = registered()
    monkeypatch.setattr(running, "begin", lambda *_args, **_kwargs: None)
    with pytest.raises(Exception, match="changes all the time"):
        start(service)
