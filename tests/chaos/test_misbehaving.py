"""Services that do what programs do: under the daemon as `gaia up` starts it, all at once, beside one that behaves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from events.actor import acting_as
from processes.drivers import ports
from processes.models import Process
from services.actions.definitions import register
from services.actions.running import find_service, start, start_all, stop
from services.models import Service
from services.spec import parse_spec
from services.states import ServiceState
from tests.chaos.fleet import Fleet, bears, kill
from tests.environments.places import free_ports
from tests.installation import Gaia
from tests.processes.conftest import running
from tests.waiting import until

FLOOD_MB = 1024 if int(os.environ.get("GAIA_CHAOS_KILLS") or 0) >= 500 else 64
LOG_MB = 1
PROGRAMS = {
    # it puts itself into the background, as daemons once did, and its first process ends well
    "forks": """
        setsid sh -c 'exec 8>>"$0.lock"; flock -n 8 || echo x >>"$0.twice"; exec sleep 1000000' "$1" &
        sleep 0.2
        exit 0
    """,
    "dies": 'echo "no configuration" >&2; exit 3',
    "floods": """
        yes "a line of some length, again and again" | head -c "$2"
        echo "the end of it"
        exec sleep 1000000
    """,
    "eats": "all=xxxxxxxxxxxxxxxx; while :; do all=$all$all; done",
    # a child in a session of its own listens, and outlives it
    "port": 'setsid "$3" -c "$4" "$PORT" & wait',
}
_NOTE = 'echo "$$ $GAIA_ATTEMPT_TOKEN" >>"$1.began"\n'
LISTEN = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(1000000)
"""

pytestmark = pytest.mark.chaos


class Crowd:
    """The services, and what became of them."""

    def __init__(self, place: Path, python: str) -> None:
        self.fleet = Fleet(place / "fleet")
        self.python = python
        for name, program in PROGRAMS.items():
            (self.fleet.directory / f"{name}.sh").write_text(_NOTE + program)

    def register(self, name: str, program: str, **fields: Any) -> Service:
        directory = self.fleet.directory
        words = [str(directory / f"{program}.sh"), str(directory / name), str(FLOOD_MB * 2**20), self.python, LISTEN]
        definition = {
            "name": name,
            "command": ["/bin/sh", *words],
            "cwd": str(directory),
            "restart": "always",
            **fields,
        }
        with acting_as("user:tester"):
            return register(parse_spec(definition))

    def state(self, name: str) -> str:
        return find_service(name).state

    def logs(self, name: str) -> int:
        """Bytes on the disk that a service's log and its archives take."""
        path = Path(Process.objects.filter(owner=find_service(name).owner).latest("pk").log)
        return sum(each.stat().st_blocks * 512 for each in path.parent.glob(f"{path.stem}*"))


@pytest.mark.timeout(300)
def test_misbehaving_services(gaia: Gaia, tmp_path: Path) -> None:
    gaia.up(GAIA_PROCESSES_LOG_MB=str(LOG_MB))
    with free_ports() as port:
        pass
    crowd = Crowd(tmp_path, sys.executable)
    crowd.register("behaves", "plain")
    crowd.register("deaf", "deaf", stop_grace=0.3)
    crowd.register("port", "port", port=port)
    crowd.register("eats", "eats", limits={"memory": "64MB"})
    for name in ("forks", "dies", "floods"):
        crowd.register(name, name)
    with acting_as("user:tester"):
        start_all(Service.objects.filter(owner__startswith="service/"))
    until(lambda: crowd.state("behaves") == ServiceState.RUNNING and crowd.fleet.alive("behaves"))
    calm = crowd.fleet.began("behaves")

    # it ignores TERM: it gets its grace, then KILL, with all it has started
    until(lambda: crowd.fleet.alive("deaf"))
    with acting_as("user:tester"):
        stop(find_service("deaf"))
    until(lambda: crowd.state("deaf") == ServiceState.STOPPED)
    assert not crowd.fleet.alive("deaf")

    # it dies at once: three times are enough; it says why, and may be tried again by somebody
    until(lambda: crowd.state("dies") == ServiceState.FAILED)
    assert len(crowd.fleet.began("dies")) == 3
    assert find_service("dies").last_death["lines"][-1] == "no configuration"
    with acting_as("user:tester"):
        start(find_service("dies"))
    until(lambda: len(crowd.fleet.began("dies")) > 3)

    # it forks away: what it leaves is ended before the next one, and in the end it is given up
    until(lambda: crowd.state("forks") == ServiceState.FAILED)
    token = crowd.fleet.token("forks")
    assert not [pid for pid in psutil.pids() if bears(pid, token)]

    # it eats memory: it is ended for that, and not for ever
    until(lambda: find_service("eats").last_death.get("cause") == "memory")

    # its child has the port when it is killed: the port is free again before the next start
    until(lambda: ports.holder(port) is not None)
    first = crowd.fleet.began("port")[0]
    assert kill(first, crowd.fleet.token("port"))
    until(lambda: len(crowd.fleet.began("port")) == 2)
    until(lambda: ports.holder(port) is not None)
    assert crowd.state("port") in (ServiceState.STARTING, ServiceState.RUNNING)

    # it floods its log: the disk does not fill, and its last line is there
    until(lambda: "the end of it" in gaia("service", "logs", "floods"))
    until(lambda: crowd.logs("floods") < 8 * LOG_MB * 2**20)

    assert crowd.fleet.began("behaves") == calm
    assert running(calm[0])
    assert crowd.fleet.twice() == {}
    gaia("down", "--all")
    assert not any(crowd.fleet.alive(name) for name in (*PROGRAMS, "behaves", "deaf"))
    assert ports.holder(port) is None
