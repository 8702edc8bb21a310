"""kill -9 of the daemon between any two things it does: the next one finds what is, and does nothing twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes.drivers import spawn
from processes.models import Node, Process
from services.actions.running import restart, start, stop
from services.models import Service
from services.verdict import Health
from tests.processes.conftest import Until, running
from tests.processes.turns import spawn_unnoticed
from tests.services.house import House, fresh, kinds, process_of
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("leave_nothing")
Register = Callable[..., Service]
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]


def settle(house: House, turns: int = 3) -> None:
    for _ in range(turns):
        house.tick()


def tokens(service: Service) -> list[int]:
    """Pids of all starts of a service that run."""
    starts = Process.objects.filter(owner=service.owner).exclude(pid=None)
    return [each.pid for each in starts if each.pid and running(each.pid)]


def test_before_the_start_was_carried_out(node: Node, registered: Register) -> None:
    service = start(registered())
    settle(House(node))
    assert fresh(service).state == "running"
    assert process_of(service).attempt == 1


def test_between_the_start_and_writing_it_down(node: Node, registered: Register) -> None:
    service = start(registered())
    spawned = spawn_unnoticed(process_of(service))
    house = House(node)
    until(lambda: (house.tick(), process_of(service).pid)[1])  # a shim shows whose it is a moment after the fork
    settle(house)
    assert fresh(service).state == "running"
    assert process_of(service).pid == spawned.pid
    assert process_of(service).attempt == 1
    assert kinds(service) == ["registered", "start_requested", "started"]


def test_it_had_ended_before_its_start_was_written_down(node: Node, registered: Register) -> None:
    service = start(registered(script="exit 3", restart="never"))
    spawned = spawn_unnoticed(process_of(service))
    os.waitpid(spawned.pid, 0)
    settle(House(node))
    assert fresh(service).state == "failed"
    assert fresh(service).last_death["code"] == 3
    assert Process.objects.count() == 1


def test_while_it_runs(node: Node, registered: Register) -> None:
    service = start(registered())
    settle(House(node))
    before = process_of(service)
    settle(House(node))
    settle(House(node))
    assert process_of(service).pid == before.pid
    assert fresh(service).state == "running"
    assert kinds(service) == ["registered", "start_requested", "started"]


def test_what_was_ready_stays_ready_until_it_is_asked(node: Node, registered: Register) -> None:
    first = House(node)
    first.health["api"] = Health(startup=True, ready=True, live=True)
    service = start(registered(probes=PROBES))
    settle(first)
    told = kinds(service)

    second = House(node)
    settle(second)
    assert fresh(service).state == "running"
    assert kinds(service) == told
    second.health["api"] = Health(startup=True, ready=False, live=True)
    settle(second)
    assert fresh(service).state == "unready"


def test_it_died_while_there_was_no_daemon(node: Node, registered: Register) -> None:
    service = start(registered())
    settle(House(node))
    first = process_of(service)
    os.killpg(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)

    settle(House(node))
    assert fresh(service).state == "running"
    assert (fresh(service).failures, fresh(service).restarts) == (1, 1)
    assert kinds(service).count("died") == 1
    assert tokens(service) == [process_of(service).pid]


def test_after_the_next_start_was_written_down(
    node: Node, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end and the next start are one transaction; killed right behind it, nothing is counted twice."""
    service = start(registered())
    house = House(node)
    settle(house)

    def kill(_spec: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(spawn, "spawn", kill)
        with pytest.raises(KeyboardInterrupt):
            house.end(service)
    assert fresh(service).state == "starting"
    assert process_of(service).attempt == 2

    settle(House(node))
    assert fresh(service).state == "running"
    assert (fresh(service).failures, kinds(service).count("died")) == (1, 1)
    assert tokens(service) == [process_of(service).pid]


@pytest.mark.parametrize(("verb", "state"), [(stop, "stopped"), (restart, "running")])
def test_in_the_middle_of_a_stop(verb: Any, state: str, node: Node, registered: Register) -> None:
    service = start(registered())
    settle(House(node))
    first = process_of(service).pid
    verb(service)
    Process.objects.update(state="stopping")  # the daemon has said so, and was killed
    settle(House(node))
    assert fresh(service).state == state
    assert not running(first)
    assert fresh(service).failures == 0
    assert kinds(service).count("died") == 0


def test_its_time_came_while_there_was_no_daemon(node: Node, registered: Register) -> None:
    service = start(registered())
    house = House(node)
    settle(house)
    house.end(service)
    house.end(service)
    assert fresh(service).state == "backoff"

    later = House(node)
    later.now = fresh(service).next_start_at or later.now
    settle(later)
    assert fresh(service).state == "running"
    assert fresh(service).failures == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["pulled", "in order"])
def test_a_restart_of_the_machine(number: int, node: Node, registered: Register, until: Until, tmp_path: Path) -> None:
    """Nobody failed, and what was up is up again: also who obeyed when the machine told everybody to end."""
    script = "trap 'exit 0' TERM; touch up; while :; do sleep 0.1; done"
    service, down = start(registered(script=script)), registered("down")
    settle(House(node))
    first = process_of(service)
    until((tmp_path / "up").exists)
    os.killpg(first.pid, number)
    os.waitpid(first.pid, 0)
    Process.objects.filter(pk=first.pk).update(boot_id="an earlier one")

    settle(House(node))
    assert fresh(service).state == "running"
    assert (fresh(service).failures, kinds(service).count("died")) == (0, 0)
    assert fresh(down).state == "stopped"
