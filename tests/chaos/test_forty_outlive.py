"""kill -9 of every GAIA process while 20 services and 20 long commands run (invariants 2 to 5)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from events.models import Event
from processes.models import Process
from processes.states import ProcessState
from services.models import Service
from services.states import ServiceState
from tests.chaos.conftest import ADOPTED_S
from tests.chaos.fleet import Fleet, kill
from tests.installation import Gaia
from tests.processes.conftest import running
from tests.waiting import until

SERVICES = [f"service{number}" for number in range(20)]
COMMANDS = {f"command{number}": number for number in range(20)}
"""Name and the exit code it ends with."""
MEANWHILE = [f"command{number}" for number in range(0, 20, 2)]

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(300)
def test_forty_outlive_gaia(gaia: Gaia, tmp_path: Path) -> None:
    gaia.up()
    fleet = Fleet(tmp_path / "fleet")
    fleet.start(fleet.register(SERVICES))
    commands = {name: fleet.command(name, code) for name, code in COMMANDS.items()}
    until(lambda: all(fleet.began(name) for name in COMMANDS))
    before = picture(fleet)
    seen = Event.objects.latest("id").pk

    kill_every_process_of(gaia)
    for name in MEANWHILE:
        fleet.end(name)
    until(lambda: not any(fleet.alive(name) for name in MEANWHILE))
    until(lambda: not any(running(row.pid) for row in rows() if row.owner.removeprefix("test/") in MEANWHILE))
    gaia.up()
    until(lambda: Event.objects.filter(kind="node.adopted", id__gt=seen).exists(), ADOPTED_S)
    until(lambda: rows().filter(owner__startswith="test/").count() == len(COMMANDS) - len(MEANWHILE), ADOPTED_S)

    assert picture(fleet) == before, "nobody was started again"
    assert all(fleet.alive(name) == pids for name, pids in before.items() if name not in MEANWHILE)
    assert fleet.twice() == {}
    assert set(fleet.tokens().values()) == {1}
    for name in MEANWHILE:
        commands[name].refresh_from_db()
        found = commands[name].state, commands[name].exit_code, commands[name].exit_source
        assert found == (ProcessState.EXITED, COMMANDS[name], "journal"), name
    assert set(Service.objects.filter(name__in=SERVICES).values_list("state", flat=True)) == {ServiceState.RUNNING}
    told = Event.objects.filter(id__gt=seen, subject__startswith="service/").values_list("kind", flat=True)
    assert set(told) <= {"process.adopted"}, "to the services nothing has happened"

    goes_on(fleet, commands)


def goes_on(fleet: Fleet, commands: dict[str, Process]) -> None:
    """What was adopted is kept up and told of like what the daemon has started itself."""
    assert kill(fleet.alive(SERVICES[0])[0], fleet.token(SERVICES[0]))
    until(lambda: len(fleet.began(SERVICES[0])) == 2)
    left = [name for name in COMMANDS if name not in MEANWHILE]
    for name in left:
        fleet.end(name)
    until(lambda: not rows().filter(owner__startswith="test/").exists())
    for name in left:
        commands[name].refresh_from_db()
        assert (commands[name].state, commands[name].exit_code) == (ProcessState.EXITED, COMMANDS[name])
    assert fleet.twice() == {}


def kill_every_process_of(gaia: Gaia) -> None:
    """Daemon, console and jobs, their shims and children, until none is left."""
    while victims := [one for one in gaia.processes() if one.role in {"node", "web", "jobs"}]:
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)


def picture(fleet: Fleet) -> dict[str, Any]:
    """Pids of all that have ever begun."""
    return {name: fleet.began(name) for name in (*SERVICES, *COMMANDS)}


def rows() -> Any:
    """Live rows of the fleet."""
    live = Process.objects.filter(state=ProcessState.RUNNING)
    return live.filter(owner__startswith="service/") | live.filter(owner__startswith="test/")
