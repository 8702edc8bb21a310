"""Every transition that a look makes, from rows alone: nothing is started, nothing runs, time is the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from processes.actions.processes import request_start
from processes.models import Node, Process
from processes.states import ProcessState, StopCause
from services.models import Service
from services.verdict import Health
from tests.services.house import House, fresh, kinds, last_event

Register = Callable[..., Service]
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]

RUNS = {"state": ProcessState.RUNNING, "pid": 1}
ASKED_FOR = {"state": ProcessState.STARTING}
BEING_STOPPED = {"state": ProcessState.STOPPING, "pid": 1, "stop_requested_at": 0.0, "cause": StopCause.ASKED}
OVER_MEMORY = {"state": ProcessState.STOPPING, "pid": 1, "stop_requested_at": 0.0, "cause": StopCause.MEMORY}
DIED = {"state": ProcessState.EXITED, "pid": 1, "exit_code": 1, "ended_at": 0.0}
DONE = {"state": ProcessState.EXITED, "pid": 1, "exit_code": 0, "ended_at": 0.0}
STOPPED = {"state": ProcessState.EXITED, "pid": 1, "exit_code": 143, "ended_at": 0.0, "stop_requested_at": -1.0}
BY_SCRIPT = {"state": ProcessState.RUNNING, "pid": 1, "origin": "script"}

READY = Health(startup=True, ready=True, live=True)
NOT_READY = Health(startup=True, ready=False, live=True, probe="web", answer="503")
STARTING_UP = Health(startup=False, ready=False, live=True)
DEAD = Health(startup=True, ready=False, live=False, probe="web", answer="timed out after 5 s")
UNKNOWN = Health()


@dataclass(frozen=True)
class Case:
    """A look at one service.

    Args:
        name: of the case.
        state, desired: as they are.
        process: its newest start; times are seconds from now.
        after: the state then.
        told: kinds of events.
        health: what probes say; None: it has none.
        fields: of the service.
        starts: how many starts it asks for.
        wanted: `desired` then; None: as before.
        stops: why it asks the process to stop.
    """

    name: str
    state: str
    desired: str
    process: dict[str, Any] | None
    after: str
    told: list[str] = field(default_factory=list)
    health: Health | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    starts: int = 0
    wanted: str | None = None
    stops: str = ""


CASES = [
    # nothing to do
    Case("stopped", "stopped", "down", None, "stopped"),
    Case("stopped, and ran before", "stopped", "down", STOPPED, "stopped"),
    Case("running", "running", "up", RUNS, "running"),
    Case("running and ready", "running", "up", RUNS, "running", health=READY),
    Case("not asked yet, after a restart of the daemon", "running", "up", RUNS, "running", health=UNKNOWN),
    Case("unready, and not asked yet", "unready", "up", RUNS, "unready", health=UNKNOWN),
    Case("asked for", "starting", "up", ASKED_FOR, "starting"),
    Case("being stopped", "stopping", "down", BEING_STOPPED, "stopping"),
    Case("failed", "failed", "up", DIED, "failed"),
    Case("completed", "completed", "up", DONE, "completed"),
    Case("its time has not come", "backoff", "up", DIED, "backoff", fields={"next_start_at": 5.0}),
    Case("its trial has not come", "crash_loop", "up", DIED, "crash_loop", fields={"next_start_at": 59.0}),
    # starting up
    Case("runs, without probes", "starting", "up", RUNS, "running", ["started"]),
    Case("runs and is ready", "starting", "up", RUNS, "running", ["started"], health=READY),
    Case("has started up", "starting", "up", RUNS, "unready", ["started"], health=NOT_READY),
    Case("starts up", "starting", "up", RUNS, "starting", health=STARTING_UP),
    Case("starts up, nobody knows how", "starting", "up", RUNS, "starting", health=UNKNOWN),
    # readiness
    Case("becomes ready", "unready", "up", RUNS, "running", ["ready"], health=READY),
    Case("is unready", "unready", "up", RUNS, "unready", health=NOT_READY),
    Case("its probes were taken away", "unready", "up", RUNS, "running", ["ready"]),
    Case("becomes unready", "running", "up", RUNS, "unready", ["unready"], health=NOT_READY),
    # liveness
    Case("hangs", "running", "up", RUNS, "stopping", ["liveness_failed"], health=DEAD, stops="liveness"),
    Case("hangs, unready", "unready", "up", RUNS, "stopping", ["liveness_failed"], health=DEAD, stops="liveness"),
    Case("hangs at its start", "starting", "up", RUNS, "stopping", ["liveness_failed"], health=DEAD, stops="liveness"),
    # others ask it to stop
    Case("stopped by others", "running", "up", BEING_STOPPED, "stopping", ["stop_requested"], wanted="down"),
    Case("over its limit", "running", "up", OVER_MEMORY, "stopping", ["stop_requested"], wanted="up"),
    # it ended
    Case("died", "running", "up", DIED, "starting", ["died", "start_requested"], starts=1),
    Case("died, unready", "unready", "up", DIED, "starting", ["died", "start_requested"], starts=1),
    Case("died at its start", "starting", "up", DIED, "starting", ["died", "start_requested"], starts=1),
    Case("died again", "running", "up", DIED, "backoff", ["died", "backoff"], fields={"failures": 1}),
    Case("done", "running", "up", DONE, "completed", ["completed"]),
    Case("stopped", "stopping", "down", STOPPED, "stopped", ["stopped"]),
    Case("stopped to start again", "stopping", "up", STOPPED, "starting", ["start_requested"], starts=1),
    Case("ended by its script", "running", "up", STOPPED, "stopped", ["stopped"], wanted="down"),
    Case("died while it was not wanted", "running", "down", DIED, "stopped", ["stopped"]),
    Case("its row is gone", "running", "up", None, "starting", ["start_requested"], starts=1),
    Case("its row is gone, nobody wants it", "stopping", "down", None, "stopped", ["stopped"]),
    # its time has come
    Case("after backoff", "backoff", "up", DIED, "starting", ["start_requested"],
         fields={"next_start_at": 0.0}, starts=1),
    Case("a trial", "crash_loop", "up", DIED, "starting", [],
         fields={"next_start_at": -1.0}, starts=1),
    Case("the clock was put back", "backoff", "up", DIED, "starting", ["start_requested"],
         fields={"next_start_at": 3600.0}, starts=1),
    Case("wanted and stopped", "stopped", "up", None, "starting", ["start_requested"], starts=1),
    Case("held by nothing any more", "held", "up", None, "starting", ["start_requested"], starts=1),
    # its script
    Case("started by its script", "stopped", "down", BY_SCRIPT, "starting", ["start_requested"], wanted="up"),
    Case("failed, started by its script", "failed", "up", BY_SCRIPT, "starting", ["start_requested"]),
    Case("in a crash loop, started by its script", "crash_loop", "up", BY_SCRIPT, "starting", ["start_requested"],
         fields={"next_start_at": 30.0}),
    Case("went on while GAIA was down", "stopped", "up", RUNS, "starting", ["start_requested"]),
    Case("held, started by its script", "held", "up", BY_SCRIPT, "starting", ["start_requested"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.state}: {case.name}")
def test_a_look(case: Case, house: House, registered: Register) -> None:
    service = _as_described(case, house, registered)
    before = Process.objects.count()
    events = len(kinds(service))

    starts = house.supervisor.tick()

    now = fresh(service)
    assert (now.state, now.desired) == (case.after, case.wanted or case.desired)
    assert kinds(service)[events:] == case.told
    assert len(starts) == case.starts
    assert Process.objects.count() == before + case.starts
    if case.stops:
        assert Process.objects.get(owner=service.owner).cause == case.stops
    _nothing_more_to_do(house, now)


def _as_described(case: Case, house: House, registered: Register) -> Service:
    service = registered(probes=PROBES if case.health is not None else [])
    if case.process is not None:
        row = request_start(house.node, service.owner, ["true"], cwd=service.cwd)
        Process.objects.filter(pk=row.pk).update(**_times(house, {"started_at": -30.0, **case.process}))
    if case.health is not None:
        house.health["api"] = case.health
    fields = {"state": case.state, "desired": case.desired, "ready_at": house.now, **_times(house, case.fields)}
    Service.objects.filter(pk=service.pk).update(**fields)
    return service


def _times(house: House, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: house.now + timedelta(seconds=value) if name.endswith("_at") and value is not None else value
        for name, value in fields.items()
    }


def _nothing_more_to_do(house: House, service: Service) -> None:
    """A second look changes nothing: what was done is done."""
    if service.state == "starting" and service.pk and Process.objects.filter(state=ProcessState.RUNNING).exists():
        return  # it was followed, and now its health is looked at
    count = len(kinds(service))
    assert house.supervisor.tick() == []
    assert fresh(service).state == service.state
    assert len(kinds(service)) == count


def test_somebody_who_is_faster_wins(house: House, registered: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the writing a person stops it: what he wants is not overwritten."""
    from services import supervisor
    from services.actions.running import stop

    service = registered()
    Service.objects.filter(pk=service.pk).update(state="backoff", desired="up", next_start_at=house.now)
    real = supervisor.begin

    def slow(*args: Any, **kwargs: Any) -> Any:
        stop(service)
        return real(*args, **kwargs)

    monkeypatch.setattr(supervisor, "begin", slow)
    assert house.supervisor.tick() == []
    assert (fresh(service).state, fresh(service).desired) == ("stopped", "down")
    assert not Process.objects.exists()


def test_a_row_that_makes_trouble_keeps_nobody_from_his_turn(house: House, registered: Register) -> None:
    bad, good = registered("a-bad"), registered("good")
    Service.objects.all().update(state="stopped", desired="up")
    Service.objects.filter(pk=bad.pk).update(limits={"nonsense": 1})

    house.supervisor.tick()
    assert fresh(good).state == "starting"
    assert fresh(bad).state == "stopped"

    Service.objects.filter(pk=bad.pk).update(limits={})
    house.supervisor.tick()
    assert fresh(bad).state == "stopped"  # not at once again
    house.clock += 2
    house.supervisor.tick()
    assert fresh(bad).state == "starting"


def test_a_minute_of_health_ends_the_alarm(house: House, registered: Register) -> None:
    service = registered()
    row = request_start(house.node, service.owner, ["true"], cwd=service.cwd)
    Process.objects.filter(pk=row.pk).update(state="running", pid=1, started_at=house.now)
    told = {"failures": 6, "failed_at": [1.0], "alarmed_at": house.now, "ready_at": house.now}
    Service.objects.filter(pk=service.pk).update(state="running", desired="up", **told)

    house.now += timedelta(seconds=59)
    house.supervisor.tick()
    assert fresh(service).failures == 6

    house.now += timedelta(seconds=1)
    house.supervisor.tick()
    now = fresh(service)
    assert (now.failures, now.failed_at, now.alarmed_at) == (0, [], None)
    assert last_event(service, "recovered").level == "info"


def test_fifty_idle_services_cost_two_queries(
    house: House, registered: Register, django_assert_num_queries: Any, node: Node
) -> None:
    for number in range(50):
        service = registered(f"s{number}", probes=PROBES if number % 2 else [])
        row = request_start(node, service.owner, ["true"], cwd=service.cwd)
        Process.objects.filter(pk=row.pk).update(state="running", pid=1)
    Service.objects.update(state="running", desired="up")
    house.supervisor.tick()
    with django_assert_num_queries(2):
        house.supervisor.tick()


@pytest.mark.parametrize(("due", "seconds"), [(None, None), (4.0, 4.0), (-3.0, 0.0), (86400.0, 60.0)])
def test_the_daemon_is_told_when_to_look_again(
    due: float | None, seconds: float | None, house: House, registered: Register
) -> None:
    service = registered()
    at = house.now + timedelta(seconds=due) if due is not None else None
    Service.objects.filter(pk=service.pk).update(state="failed", next_start_at=at)
    house.supervisor.tick()
    assert house.supervisor.due_in() == seconds
