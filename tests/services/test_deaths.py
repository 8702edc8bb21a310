"""What is told of a death, and how it goes on: real processes, the test's time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.models import Event
from processes.models import Sample
from processes.states import StopCause
from services.actions.deaths import last_lines
from services.actions.definitions import redefine
from services.actions.registry import definition_of
from services.actions.running import start
from services.models import Service
from services.spec import parse_spec
from services.verdict import Health
from tests.services.house import House, fresh, kinds, last_event, process_of

pytestmark = pytest.mark.usefixtures("leave_nothing")
Register = Callable[..., Service]
SECRET = "swordfish-4711"
PROBES = [{"type": "tcp", "endpoint": "1", "purpose": "readiness"}]


def test_a_death_is_told_with_all_that_is_known(house: House, registered: Register) -> None:
    script = f"for n in $(seq 30); do echo line $n; done; echo $S; echo pg://me:hunter22@db/x; exit 3; # {SECRET}"
    service = registered(script=script, secrets={"S": SECRET}, start=True)
    house.tick()
    process = process_of(service)
    Sample.objects.create(
        node=house.node, owner=service.owner, seconds=10, at=process.started_at, cpu=1, cpu_most=1,
        memory=1, memory_most=123_456, processes=1,
    )  # fmt: skip
    house.reap(process)

    event = last_event(service, "died")
    assert event.level == "warning"
    told = event.data
    assert (told["cause"], told["code"], told["signal"], told["attempt"]) == ("exit", 3, "", 1)
    assert told["memory"] == 123_456
    assert len(told["lines"]) == 20
    assert told["lines"][-3:] == ["line 30", "***", "pg://me:***@db/x"]
    assert fresh(service).last_death["lines"] == told["lines"]
    everything = json.dumps(list(Event.objects.values_list("message", "data"))) + json.dumps(fresh(service).last_death)
    assert SECRET not in everything
    assert "hunter22" not in everything


def test_the_lines_are_those_of_the_start_that_died(house: House, registered: Register) -> None:
    service = registered(script="echo mine $GAIA_ATTEMPT_TOKEN; exit 1", start=True)
    house.tick()
    first, second = house.reap(process_of(service)), process_of(service)
    house.reap(second)
    assert last_lines(service, first) != last_lines(service, second)
    assert last_lines(service, second) == [f"mine {second.token}"]


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, ""), (signal.SIGSEGV, "SIGSEGV")], ids=["KILL", "SEGV"])
def test_a_signal_has_its_name(number: int, name: str, house: House, registered: Register, tmp_path: Path) -> None:
    """KILL for the whole group takes the shim with it, and nobody knows; else the shim tells what it knows."""
    service = registered(script=f"kill -{int(number)} $$", start=True)
    if not name:
        service = registered("all", start=True)
    house.tick()
    if name:
        house.reap(process_of(service))
        assert last_event(service, "died").data["signal"] == name
    else:
        house.end(service)
        assert last_event(service, "died").data["cause"] in {"lost", "signal"}


def test_a_log_that_is_no_text(house: House, registered: Register) -> None:
    service = registered(script=r"printf '\377\376\000 end %s\n' ok; printf '%01000d' 7; exit 1", start=True)
    house.tick()
    house.reap(process_of(service))
    lines = last_event(service, "died").data["lines"]
    assert "\0" not in "".join(lines)
    assert lines[0].endswith("end ok")
    assert len(lines[1]) == 500


def test_three_equal_deaths_are_enough(house: House, registered: Register) -> None:
    service = registered(script="exit 3", probes=PROBES, start=True)
    house.tick()
    house.reap(process_of(service))
    house.reap(process_of(service))
    assert fresh(service).state == "backoff"
    house.later(0.5)
    house.reap(process_of(service))

    assert fresh(service).state == "failed"
    assert kinds(service)[-2:] == ["died", "failed"]
    assert last_event(service, "failed").level == "error"
    assert "without ever being ready" in fresh(service).problem
    house.later(100_000)
    assert process_of(service).attempt == 3


def test_deaths_of_another_definition_do_not_count(house: House, registered: Register) -> None:
    service = registered(script="exit 3", probes=PROBES, start=True)
    house.tick()
    house.reap(process_of(service))
    house.reap(process_of(service))
    redefine(fresh(service), parse_spec({**definition_of(fresh(service)), "env": {"MENDED": "1"}}))
    house.later(0.5)
    house.reap(process_of(service))
    assert fresh(service).state == "backoff"


def test_a_command_that_is_not_there(house: House, registered: Register) -> None:
    service = registered(command=["/no/such/program"], start=True)
    house.tick()
    house.reap(process_of(service))
    assert fresh(service).state == "failed"
    assert "/no/such/program cannot run: it was not found" in fresh(service).problem
    assert any("not found" in line for line in last_event(service, "died").data["lines"])


def test_a_directory_that_is_not_there(house: House, registered: Register, tmp_path: Path) -> None:
    service = registered(cwd=str(tmp_path / "gone"), start=True)
    house.tick()
    house.reap(process_of(service))
    assert fresh(service).state == "failed"


def test_a_port_that_is_taken_at_the_start(house: House, registered: Register, free_port: int) -> None:
    import socket

    service = registered(port=free_port)
    with socket.create_server(("127.0.0.1", free_port)):
        start(service)
        house.tick()
        assert fresh(service).state == "backoff"
        assert f"port {free_port} is taken by" in fresh(service).problem
        assert fresh(service).failures == 2  # at once, and once again at once
    house.later(0.5)
    assert fresh(service).state == "running"


def test_a_hung_service_is_restarted_and_that_counts(house: House, registered: Register) -> None:
    service = registered(probes=PROBES, start=True)
    house.health["api"] = Health(startup=True, ready=True, live=True)
    house.tick()
    first = process_of(service)

    house.health["api"] = Health(startup=True, ready=False, live=False, probe="live", answer="timed out after 5 s")
    house.supervisor.tick()
    assert (fresh(service).state, process_of(service).cause) == ("stopping", StopCause.LIVENESS)
    house.health["api"] = Health(startup=True, ready=True, live=True)
    house.tick()
    house.tick()

    assert process_of(service).pk != first.pk
    assert fresh(service).state == "running"
    death = last_event(service, "died").data
    assert (death["cause"], fresh(service).failures) == ("liveness", 1)
    assert "timed out after 5 s" in death["probe"]
    assert "timed out after 5 s" in last_event(service, "liveness_failed").message


def test_one_that_does_its_work_and_ends(house: House, registered: Register) -> None:
    service = registered(script="exit 0", restart="never", start=True)
    house.tick()
    house.reap(process_of(service))
    assert (fresh(service).state, fresh(service).desired) == ("completed", "up")
    house.later(1000)
    assert process_of(service).attempt == 1

    start(service)
    house.tick()
    house.reap(process_of(service))
    assert fresh(service).state == "completed"
    assert process_of(service).attempt == 2


def test_one_that_forks_away(house: House, registered: Register, tmp_path: Path) -> None:
    """What it left running is ended with it: the next start finds nobody."""
    service = registered(script="setsid sleep 600 & echo $! > pid; exit 1", start=True)
    house.tick()
    house.reap(process_of(service))
    from tests.processes.conftest import running

    assert not running(int((tmp_path / "pid").read_text())) or process_of(service).attempt > 1
    assert kinds(service).count("died") == 1


def test_with_the_fast_path_switched_off_the_look_does_the_same(
    house: House, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = registered(start=True)
    house.tick()
    monkeypatch.setattr(house.supervisor, "before_end", lambda *_: None)
    monkeypatch.setattr(house.supervisor, "started", lambda _process: None)

    house.end(service)
    assert fresh(service).state == "running"  # nobody has noticed
    house.tick()
    house.tick()

    assert fresh(service).state == "running"
    assert process_of(service).attempt == 2
    assert kinds(service)[2:] == ["started", "died", "start_requested", "started"]


def test_with_the_look_switched_off_the_fast_path_does_it(
    house: House, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = registered(start=True)
    house.tick()
    monkeypatch.setattr(house.supervisor, "tick", lambda *_: [])
    for _ in range(2):
        house.end(service)
        Service.objects.update(failures=0, failed_at=[])
    assert fresh(service).state == "running"
    assert process_of(service).attempt == 3


@pytest.mark.parametrize("method", ["before_end", "started"])
def test_a_supervisor_that_stumbles_takes_no_end_with_it(
    method: str, house: House, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = registered(start=True)
    house.tick()
    with monkeypatch.context() as broken:

        def stumble(*_: Any) -> None:
            raise ZeroDivisionError

        broken.setattr(house.supervisor, method, stumble)
        first = house.end(service)
        assert first.ended_at is not None
    house.tick()
    house.tick()
    assert fresh(service).state == "running"
    assert process_of(service).attempt == 2
