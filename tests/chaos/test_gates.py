"""A chain of five services whose readiness gates are opened by the test, under the daemon as `gaia up` starts it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from events.actor import acting_as
from services.actions.definitions import register
from services.actions.running import find_service, restart_all, start_all
from services.models import Service
from services.spec import parse_spec
from services.states import SERVICE_DOWN, ServiceState
from tests.installation import Gaia
from tests.processes.conftest import running
from tests.waiting import until

NAMES = ["one", "two", "three", "four", "five"]
# It is ready while it holds its lock, which it takes when the test lets it. At its start it looks for itself whether
# the one that it depends on holds his.
PROGRAM = """
if [ -n "$2" ] && flock -n "$2.ready" true; then echo "$2 is not ready" >>"$1.early"; fi
echo "$$" >>"$1.began"
until [ -e "$1.go" ]; do sleep 0.05; done
exec 8>>"$1.ready"
flock 8
exec sleep 1000000
"""

pytestmark = pytest.mark.chaos


class Chain:
    """one ◀── two ◀── three ◀── four ◀── five"""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "program.sh").write_text(PROGRAM)
        with acting_as("user:tester"):
            for name, before in zip(NAMES, [None, *NAMES], strict=False):
                self._register(name, before)

    def _register(self, name: str, before: str | None) -> None:
        program = ["/bin/sh", str(self.place / "program.sh"), str(self.place / name)]
        asks = ["/bin/sh", "-c", '[ -e "$1" ] && ! flock -n "$1" true', "-", str(self.place / f"{name}.ready")]
        definition = {
            "name": name,
            "command": [*program, str(self.place / before) if before else ""],
            "cwd": str(self.place),
            "restart": "always",
            "probes": [{"type": "exec", "command": asks, "purpose": "readiness", "interval": "1s"}],
            "depends_on": [before] if before else [],
        }
        register(parse_spec(definition))

    def begun(self) -> list[int]:
        """How often each has begun."""
        return [len(self.pids(name)) for name in NAMES]

    def pids(self, name: str) -> list[int]:
        path = self.place / f"{name}.began"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kill(self, name: str) -> None:
        """kill -9, and wait until the daemon has noticed."""
        attempts = find_service(name).restarts
        os.kill(self.pids(name)[-1], signal.SIGKILL)
        until(lambda: state(name) != ServiceState.RUNNING or find_service(name).restarts > attempts)

    def close_gates(self) -> None:
        for name in NAMES:
            (self.place / f"{name}.go").unlink()

    def pass_gates(self, begun: list[int]) -> None:
        """Let one after the other become ready. Only then the next one begins, and it begins once.

        Args:
            begun: how often each had begun before.
        """
        for number, name in enumerate(NAMES):
            until(lambda number=number: self.begun()[number] == begun[number] + 1)
            now = [count + (place <= number) for place, count in enumerate(begun)]
            until(lambda name=name: state(name) == ServiceState.UNREADY)
            assert self.begun() == now, "nobody begins before its gate is open"
            assert {state(each) for each in NAMES[number + 1 :]} <= {*SERVICE_DOWN}
            (self.place / f"{name}.go").touch()
        until(lambda: all(state(name) == ServiceState.RUNNING for name in NAMES))
        assert not list(self.place.glob("*.early"))


def state(name: str) -> str:
    return Service.objects.get(name=name).state


@pytest.mark.timeout(180)
def test_a_chain_of_five_passes_its_gates(gaia: Gaia, tmp_path: Path) -> None:
    gaia.up()
    chain = Chain(tmp_path)
    with acting_as("user:tester"):
        start_all(Service.objects.filter(name__in=NAMES).order_by("-name"))
    until(lambda: state("two") == ServiceState.HELD)
    assert "waits for one to be ready" in find_service("two").problem
    chain.pass_gates([0] * 5)

    # one in the middle dies: its gate is open, so it is back at once, and nobody behind it is touched
    chain.kill("three")
    until(lambda: chain.begun() == [1, 1, 2, 1, 1])
    until(lambda: state("three") == ServiceState.RUNNING)
    assert all(running(chain.pids(name)[-1]) for name in NAMES)

    # all of them die: each waits at its gate again
    chain.close_gates()
    for name in NAMES:
        chain.kill(name)
    chain.pass_gates([1, 1, 2, 1, 1])

    # somebody restarts all of them
    chain.close_gates()
    with acting_as("user:tester"):
        restart_all(Service.objects.filter(name__in=NAMES))
    chain.pass_gates([2, 2, 3, 2, 2])
