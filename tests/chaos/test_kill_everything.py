"""kill -9 of any of GAIA's processes, in any order, at any moment (invariant 5).

Fifty times on one installation with five environments, the fleet in tmux, three launched stages and an operation
a random part of the daemon, the console and the jobs (shims, parents, workers) is killed, often while a `gaia up` is
still at it; then `gaia up` again. Sessions, stages and the operation must not notice, nothing may be
there twice, and everything is adopted within 5 s. `CHAOS_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from common.home import gaia_home
from events.actor import acting_as
from events.models import Event
from processes.actions.operations import request_operation
from processes.models import Operation, Process
from processes.states import PROCESS_TERMINAL, OperationState, ProcessState
from tests.installation import Found, Gaia, until
from tests.processes.conftest import running
from tests.processes.operation_settings import KINDS

KILLS = 50
ADOPTED_S = 5.0
STAGES = (("dev1", "dev"), ("dev2", "qa"))
BY_SCRIPT = ("dev3", "staging")

pytestmark = pytest.mark.chaos


class Chaos:
    """The installation, what must stay as it is, and who is killed."""

    def __init__(self, gaia: Gaia, dice: random.Random) -> None:
        self.gaia = gaia
        self.dice = dice
        self.times = 0
        self.kills: Counter[str] = Counter()
        self.events: set[int] = set()

    def furnish(self) -> None:
        """Five environments, 26 sessions, three stages, an operation that goes on until it is told to end."""
        self.gaia.up("--demo")
        for name, stage in STAGES:
            self.gaia("env", "launch", name, stage)
        subprocess.run(
            ["sh", "launch.sh", BY_SCRIPT[1]], cwd=gaia_home().root / "demo" / f"demo-{BY_SCRIPT[0]}",
            env=clean_environment(), check=True, timeout=60, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.operation = self.operate("first")
        until(lambda: Process.objects.active().filter(owner__startswith="environment/").count() == 3)
        self.before = self.picture()
        assert len(self.before["sessions"]) == 26
        assert len(self.before["processes"]) == 4

    def operate(self, name: str) -> Operation:
        """A long operation that runs until `finish` tells it to end."""
        place = self.gaia.place
        with acting_as("user:tester"):
            operation = request_operation(
                "test.wait_for",
                f"Wait for {name}",
                subject=f"test/{name}",
                params={"path": str(place / f"{name}.end"), "began": str(place / f"{name}.began")},
            )
        until((place / f"{name}.began").exists)
        return operation

    def picture(self) -> dict[str, Any]:
        """Whom nobody may touch: panes by tmux's word, stages and operations by their rows and the process table."""
        panes = ["tmux", "-L", gaia_home().tmux_socket_name, "list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]
        lines = subprocess.run(panes, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        rows = Process.objects.filter(state=ProcessState.RUNNING).exclude(owner__startswith="gaia/")
        by_the_clock = Operation.objects.exclude(kind="test.wait_for").values_list("pk", flat=True)
        rows = rows.exclude(owner__in=[f"operation/{pk}" for pk in by_the_clock])  # they come and go
        live = {process.owner: (process.pk, process.pid) for process in rows}
        assert all(running(pid) for _, pid in live.values()), live
        return {"sessions": sorted(lines), "processes": live}

    # -- killing

    def kill(self) -> bool:
        """kill -9 of a random part, in random order. Returns: whether the daemon was among them."""
        victims = self.victims()
        if not victims:  # all of them are dead and `gaia up` has only just begun
            return False
        self.times += 1
        kinds = sorted({kind(victim) for victim in victims})
        chosen = []
        for each in self.dice.sample(kinds, 1 if self.dice.random() < 0.5 else self.dice.randint(1, len(kinds))):
            of_kind = [victim for victim in victims if kind(victim) == each]
            chosen += self.dice.sample(of_kind, self.dice.randint(1, len(of_kind)))
        group = self.dice.random() < 0.1
        for victim in chosen:
            with suppress(ProcessLookupError):
                if group and victim.session == victim.pid:
                    os.killpg(victim.pid, signal.SIGKILL)
                else:
                    os.kill(victim.pid, signal.SIGKILL)
                self.kills[kind(victim)] += 1
        return any(kind(victim) == "daemon" for victim in chosen)

    def victims(self) -> list[Found]:
        """The daemon, the console, the jobs, and the shims of the last two; nobody else."""
        return [one for one in self.gaia.processes() if one.role in {"node", "web", "jobs"}]

    # -- looking

    def up(self) -> None:
        self.gaia.up()

    def adopted(self, since: int) -> None:
        """Within 5 s of `gaia up`."""
        until(lambda: Event.objects.filter(kind="node.adopted", id__gt=since).exists(), ADOPTED_S)

    def check(self) -> None:
        """Nothing is missing, nothing is there twice, everything is told."""
        # A cluster that lost a child ends a moment after `gaia up` has seen it alive. After so many failures the
        # daemon's next try is up to a minute away, and an operator who sees that does not wait for it.
        with suppress(AssertionError):
            until(self.whole, 10)
        if not self.whole():
            self.up()
        try:
            until(self.whole, 30)
        except AssertionError as error:
            raise AssertionError(self.broken()) from error
        assert self.picture() == self.before
        self.check_events()

    def whole(self) -> bool:
        """One daemon, one console, one cluster, one shim for each live row of theirs, and nobody else.

        A second daemon that a killed `gaia up` had begun does not get the lock, and goes.
        """
        rows = Process.objects.filter(state=ProcessState.RUNNING)
        own = {row.token for row in rows if row.owner.startswith(("gaia/", "operation/"))}
        shims = Counter(one.token for one in self.gaia.processes() if one.shim)
        return self.gaia.whole() and shims == Counter(own)

    def broken(self) -> str:
        """What there is, for whoever wants to know why it is not whole."""
        rows = Process.objects.exclude(state__in=PROCESS_TERMINAL).order_by("id")
        told = [f"{row.owner} attempt {row.attempt} {row.state} pid {row.pid} {row.token}" for row in rows]
        found = [str(one) for one in self.gaia.processes()]
        events = [f"{event.at:%T.%f} {event.kind} {event.message}" for event in Event.objects.order_by("-id")[:40]]
        return "\n".join(["it is not whole", *told, *found, *reversed(events), self.gaia.logs()])

    def check_events(self) -> None:
        """None that was there is gone, and what each row says is what its events say."""
        events = list(Event.objects.order_by("id").values_list("id", "kind", "subject", "data"))
        ids = {event[0] for event in events}
        assert self.events <= ids, f"lost: {sorted(self.events - ids)}"
        self.events = ids
        told: dict[tuple[str, int], list[str]] = {}
        for _, kind_, subject, data in events:
            if kind_.startswith("process.") and "attempt" in data:
                told.setdefault((subject, data["attempt"]), []).append(kind_.removeprefix("process."))
        for process in Process.objects.exclude(owner__startswith="environment/"):
            kinds = told[process.owner, process.attempt]
            assert len(kinds) == len(set(kinds)), f"{process}: {kinds}"
            assert kinds[0] == "requested", f"{process}: {kinds}"
            last = {"exited": {"exited", "stopped"}, "running": {"started", "adopted"}, "starting": {"requested"}}
            assert kinds[-1] in last.get(process.state, {process.state}), f"{process} is {process.state}: {kinds}"


def kind(victim: Found) -> str:
    if victim.role == "node":
        return "daemon"
    return f"{victim.role} shim" if victim.shim else victim.role


def clean_environment() -> dict[str, str]:
    """What an operator's shell has who has never heard of GAIA."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("GAIA_", "DJANGO_"))}


@pytest.mark.timeout(600)
def test_kill_everything(gaia: Gaia, tmp_path: Path, settings: Any) -> None:
    settings.GAIA_OPERATIONS = {**settings.GAIA_OPERATIONS, **KINDS}
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"CHAOS_SEED={seed}")
    chaos = Chaos(gaia, random.Random(seed))
    chaos.furnish()
    rounds(chaos, KILLS // 2)
    harvested_meanwhile(chaos)
    rounds(chaos, KILLS)
    (tmp_path / "second.end").write_text("the end")
    until(lambda: Operation.objects.filter(state=OperationState.SUCCEEDED, result={"text": "the end"}).exists())
    print(chaos.times, dict(chaos.kills))
    assert min(chaos.kills[each] for each in ("daemon", "web", "jobs", "web shim", "jobs shim")) > 0
    gaia("down", "--all")
    until(lambda: gaia.processes() == [])
    assert not any(running(pid) for _, pid in chaos.before["processes"].values())
    assert not Process.objects.exclude(state__in=PROCESS_TERMINAL).exists()


def rounds(chaos: Chaos, times: int) -> None:
    """Kill and start again until it has been killed so many times."""
    while chaos.times < times:
        newest = Event.objects.latest("id").pk
        daemon = chaos.kill()
        if chaos.dice.random() < 0.3:  # while the next one is at it
            half_way = chaos.gaia.begin(*chaos.gaia.up_words)
            time.sleep(chaos.dice.uniform(0, 1.0))
            until_now = Event.objects.latest("id").pk
            if chaos.kill():
                daemon, newest = True, until_now
            half_way.kill()
            half_way.communicate()
        chaos.up()
        if daemon:
            chaos.adopted(newest)
        chaos.check()


def harvested_meanwhile(chaos: Chaos) -> None:
    """Everything is killed, the operation ends while nobody watches: its true result and code are there afterwards."""
    place = chaos.gaia.place
    for victim in chaos.victims():
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
    (place / "first.end").write_text("while nobody watched")
    until(lambda: Operation.objects.filter(pk=chaos.operation.pk, state=OperationState.SUCCEEDED).exists())
    process = Process.objects.get(owner=chaos.operation.owner)
    until(lambda: not running(process.pid))
    assert process.state == ProcessState.RUNNING
    chaos.up()
    until(lambda: Process.objects.filter(pk=process.pk, state=ProcessState.EXITED).exists(), ADOPTED_S)
    process.refresh_from_db()
    assert (process.exit_code, process.exit_source) == (0, "journal")
    assert (place / "first.began").read_text().count("\n") == 1, "it ran once"
    chaos.operation.refresh_from_db()
    assert chaos.operation.result == {"text": "while nobody watched"}
    chaos.operate("second")
    chaos.before = chaos.picture()
