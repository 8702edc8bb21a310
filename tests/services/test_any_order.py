"""Whatever people, programs and the clock do, in whatever order: in the end it is as people want it, and told.

The reconciler is played by the test: rows are moved as it would move them, with and without the supervisor being told.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.actor import acting_as
from events.models import Event
from processes.models import Node, Process
from processes.states import PROCESS_ACTIVE, ProcessState
from services.actions.definitions import redefine, register
from services.actions.registry import definition_of
from services.actions.running import restart, start, stop
from services.models import Service
from services.spec import parse_spec
from services.verdict import Health
from tests.services.house import House

_VERBS = ("start", "stop", "stop now", "restart", "redefine", "script", "script stops")
_ENDS = tuple((told, code) for told in (True, False) for code in (0, 1, 127, 137, None))
_HEALTHS = tuple(
    (startup, ready, live) for startup in (True, False) for ready in (True, False) for live in (True, False)
)
STEPS = st.one_of(
    st.sampled_from(_VERBS).map(lambda verb: ("verb", verb)),
    st.sampled_from(_ENDS).map(lambda end: ("end", end)),
    st.sampled_from(_HEALTHS).map(lambda health: ("health", health)),
    st.sampled_from([0.0, 1.0, 61.0, 400.0, -3600.0]).map(lambda seconds: ("time", seconds)),
    st.just(("turn", None)),
)
KEPT_UP = {"starting", "running", "unready", "stopping"}


class World:
    """One service, and what may happen to it."""

    def __init__(self, node: Node, restarts: str, *, probes: bool) -> None:
        self.house = House(node)
        self.house.health["api"] = Health(startup=True, ready=True, live=True)
        given = {"name": "api", "command": "true", "restart": restarts}
        if probes:
            given["probes"] = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]
        self.service = register(parse_spec(given))
        self.changes = 0

    def step(self, what: str, how: Any) -> None:
        """One thing happens."""
        if what == "verb":
            self._verb(how)
        elif what == "end":
            self._end(*how)
        elif what == "health":
            startup, ready, live = how
            self.house.health["api"] = Health(startup=startup, ready=startup and ready, live=live)
        elif what == "time":
            self.house.now += timedelta(seconds=how)
            self.house.clock += max(0.0, how)
        else:
            self.turn()

    def _verb(self, verb: str) -> None:
        service = self.row()
        if verb == "start":
            start(service)
        elif verb == "restart":
            restart(service)
        elif verb == "redefine":
            self.changes += 1
            redefine(service, parse_spec({**definition_of(service), "env": {"N": self.changes}}))
        elif verb == "script":
            self._start_by_script(service)
        elif verb == "script stops":
            self._end(True, 143, stop_requested_at=self.house.now)
        else:
            stop(service, graceful=verb == "stop")

    def _start_by_script(self, service: Service) -> None:
        if not self.live():
            last = Process.objects.filter(owner=service.owner).count()
            Process.objects.create(
                node=service.node, owner=service.owner, attempt=last + 1, token=f"script{last}", origin="script",
                cwd="/", log="/dev/null", lock="/dev/null", journal="/dev/null", state="running", pid=1,
                started_at=self.house.now,
            )  # fmt: skip

    def _end(self, told: bool, code: int | None, **fields: Any) -> None:
        """What runs ends; the supervisor is told, or it has to find out."""
        for process in self.live():
            after = self.house.supervisor.before_end(process) if told else None
            process.state = ProcessState.LOST if code is None else ProcessState.EXITED
            process.exit_code, process.ended_at = code, self.house.now
            for name, value in fields.items():
                setattr(process, name, value)
            process.save()
            if after is not None:
                after()

    def turn(self) -> None:
        """A turn of the daemon: what was asked for is started, what is to stop has stopped."""
        for process in self.live():
            if process.stop_requested_at is not None:
                self._end(True, 143)
            elif process.state == ProcessState.STARTING:
                process.state, process.pid, process.started_at = ProcessState.RUNNING, 1, self.house.now
                process.save()
        self.house.supervisor.tick()

    def settle(self) -> None:
        """Nothing more happens, and all is well from now on."""
        self.house.health["api"] = Health(startup=True, ready=True, live=True)
        for _ in range(3):
            for _ in range(3):
                self.turn()
            self.step("time", 3600.0)
        self.turn()

    def row(self) -> Service:
        return Service.objects.select_related("node").get(pk=self.service.pk)

    def live(self) -> list[Process]:
        return list(Process.objects.filter(state__in=PROCESS_ACTIVE))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=14), st.sampled_from(["always", "on_failure", "never"]), st.booleans())
def test_in_the_end_it_is_as_people_want_it(
    node: Node, steps: list[tuple[str, Any]], restarts: str, probes: bool
) -> None:
    with acting_as("user:tester"):
        for model in (Process, Service, Event):
            model.objects.all().delete()
        world = World(node, restarts, probes=probes)
        for what, how in steps:
            before = world.row().state
            world.step(what, how)
            _check(world, before)
        world.settle()
        _check_settled(world)


def _check(world: World, before: str) -> None:
    service = world.row()
    if service.state == "failed":
        assert service.problem
        assert service.alarmed_at is not None
    if service.state in {"backoff", "crash_loop"}:
        assert service.next_start_at is not None
    if service.state != "running":
        assert service.ready_at is None
    if service.state != before:
        assert Event.objects.filter(subject=service.owner, kind__startswith="service.").exists()


def _check_settled(world: World) -> None:
    service = world.row()
    live = world.live()
    assert len(live) == (1 if service.state in KEPT_UP else 0)
    if service.desired == "down":
        assert service.state == "stopped"
    elif service.state != "running":
        assert service.state in {"failed", "completed"}
        assert service.state != "failed" or service.restart == "never" or service.last_death
    if service.state == "running":
        assert service.failures == 0
        assert service.problem == ""
        assert service.alarmed_at is None


@pytest.mark.parametrize("restarts", ["always", "on_failure"])
def test_a_crash_loop_goes_on_for_as_long_as_it_takes(node: Node, restarts: str) -> None:
    """Each trial is counted, the row does not grow, and people are told once."""
    world = World(node, restarts, probes=True)
    start(world.row())
    for _ in range(20):
        world.turn()
        world.turn()
        world.step("end", (True, 1))
        world.step("time", 61.0)
    service = world.row()
    assert (service.state, service.failures) == ("crash_loop", 20)
    assert len(service.failed_at) <= 6
    assert Event.objects.filter(kind="service.crash_loop").count() == 1
    world.settle()
    assert world.row().state == "running"
    assert Event.objects.filter(kind="service.recovered").count() == 1
