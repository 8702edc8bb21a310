"""kill -9 of whatever there is while services and commands come and go (invariants 2 to 5).

Services, what they have started, their shims, commands and theirs, the console, the jobs and the daemon are killed in
random order, in bursts, while somebody starts, stops and restarts services and asks for new commands all the time. 50
kills in every run; `GAIA_CHAOS_KILLS=500` for a night. `CHAOS_SEED` repeats the choices, never the moments.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from common.errors import GaiaError
from events import log
from events.actor import acting_as
from events.models import Event
from processes.actions.nodes import daemon_runs
from processes.models import Process
from processes.states import PROCESS_ACTIVE, PROCESS_TERMINAL, ProcessState
from services.actions import running as services
from services.models import Service
from services.states import ServiceState
from tests.chaos import fleet
from tests.chaos.conftest import ADOPTED_S, KILLS
from tests.chaos.fleet import Fleet
from tests.installation import Gaia
from tests.waiting import until

NAMES = [f"s{number}" for number in range(12)]
DECK = {
    "service": 15, "service child": 6, "service shim": 8, "command": 4, "command shim": 4,
    "daemon": 5, "web": 2, "jobs": 2, "web shim": 2, "jobs shim": 2,
}  # fmt: skip
"""What fifty kills are made of."""
PATIENCE_S = 5.0
"""Then an operator does not wait for the next try any more."""
ENDS = ("process.exited", "process.stopped", "process.lost", "process.not_started")

pytestmark = pytest.mark.chaos


@dataclass(frozen=True)
class Victim:
    """A process, the attempt it is of, and whose it is."""

    pid: int
    token: str
    name: str


class Load:
    """Somebody who wants something new of services and commands all the time, and remembers what was promised."""

    def __init__(self, own: Fleet, dice: random.Random) -> None:
        self.fleet = own
        self.dice = dice
        self.noted: list[int] = []
        self.commands: dict[str, int] = {}
        self.failure: BaseException | None = None
        self._over = threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _work(self) -> None:
        try:
            with acting_as("user:tester"):
                while not self._over.wait(self.dice.uniform(0.02, 0.2)):
                    self._act()
        except BaseException as error:
            self.failure = error
        finally:
            connection.close()

    def _act(self) -> None:
        self.dice.choice(
            (self._note, self._command, self._command, self._start, self._start, self._stop, self._restart)
        )()

    def _note(self) -> None:
        number = len(self.noted)
        with log.atomic():
            log.emit("test.noted", subject="test/noted", message=f"Number {number}", number=number)
        self.noted.append(number)  # it was acknowledged, so it may never be lost

    def _command(self) -> None:
        name, code = f"c{len(self.commands)}", self.dice.randrange(100)
        self.commands[name] = code
        self.fleet.command(name, code, seconds=round(self.dice.uniform(0, 0.5), 2))

    def _start(self) -> None:
        """All that are down, as an operator does who sees them in a crash loop."""
        services.start_all(Service.objects.filter(name__in=NAMES).exclude(state=ServiceState.RUNNING))

    def _stop(self) -> None:
        services.stop(services.find_service(self.dice.choice(NAMES)), graceful=self.dice.random() < 0.7)

    def _restart(self) -> None:
        with suppress(GaiaError):  # it changes all the time
            services.restart(services.find_service(self.dice.choice(NAMES)), graceful=self.dice.random() < 0.7)


class Storm:
    """Who is killed, and what must be true whoever it was."""

    def __init__(self, gaia: Gaia, own: Fleet, load: Load, dice: random.Random) -> None:
        self.gaia = gaia
        self.fleet = own
        self.load = load
        self.dice = dice
        self.kills: Counter[str] = Counter()
        self.touched: set[str] = set()  # commands that were killed, or what watches them
        self.terminal: dict[int, Any] = {}
        self.events: set[int] = set()

    # -- killing

    def blow(self, times: int) -> None:
        """So many kills, in bursts; a dead daemon is started again after each."""
        deck: list[str] = []
        while (left := times - sum(self.kills.values())) > 0:
            for _ in range(min(left, self.dice.randint(1, 6))):
                if not deck:
                    deck = [kind for kind, count in DECK.items() for _ in range(count)]
                    self.dice.shuffle(deck)
                self.kill(deck.pop())
                time.sleep(self.dice.uniform(0, 0.1))
            self.revive()
            self.check()

    def kill(self, kind: str) -> None:
        """One process of this kind; when there is none, as soon as there is one again."""
        patience = time.monotonic() + PATIENCE_S
        while not (victims := self.victims(kind)):
            self.revive()
            if time.monotonic() > patience:  # the console's next try may be a minute away
                self.gaia.up()
                patience = time.monotonic() + PATIENCE_S
            time.sleep(0.05)
        victim = self.dice.choice(victims)
        if kind.startswith("command"):
            self.touched.add(victim.name)
        self.kills[kind] += kill(victim.pid, victim.token)

    def victims(self, kind: str) -> list[Victim]:
        """Who there is of a kind; the daemon has no token."""
        if kind in ("service", "command"):
            names = NAMES if kind == "service" else list(self.load.commands)[-8:]
            return [Victim(pid, self.fleet.token(name), name) for name in names for pid in self.fleet.alive(name)]
        if kind == "service child":
            return [replace(each, pid=pid) for each in self.victims("service") for pid in children(each.pid)]
        if kind in ("service shim", "command shim"):
            owner = "service/" if kind == "service shim" else "test/"
            live = Process.objects.filter(state=ProcessState.RUNNING, owner__startswith=owner)
            return [Victim(row.pid, row.token, row.owner.removeprefix("test/")) for row in live if row.pid]
        if kind == "daemon":
            return [Victim(one.pid, "", kind) for one in self.gaia.daemons()]
        role, _, shim = kind.partition(" ")
        found = [one for one in self.gaia.processes() if one.role == role and one.shim == bool(shim)]
        return [Victim(one.pid, one.token, kind) for one in found]

    def revive(self) -> None:
        """`gaia up`, if the daemon is dead; within 5 s it has adopted what runs."""
        if daemon_runs():
            return
        newest = Event.objects.latest("id").pk
        self.gaia.up()
        until(lambda: Event.objects.filter(kind="node.adopted", id__gt=newest).exists(), ADOPTED_S)

    # -- looking

    def check(self) -> None:
        """What is true at any moment: nobody twice, nothing lost, and what has ended stays as it ended."""
        assert self.fleet.twice() == {}, self.fleet.told()
        assert set(self.fleet.tokens().values()) <= {1}, "an attempt ran twice"
        ended = Process.objects.filter(state__in=PROCESS_TERMINAL)
        now = {row[0]: row[1:] for row in ended.values_list("pk", "state", "exit_code", "exit_source", "ended_at")}
        assert {pk: now.get(pk) for pk in self.terminal} == self.terminal, "a terminal state changed"
        self.terminal = now
        ids = set(Event.objects.values_list("id", flat=True))
        assert self.events <= ids, "an event was lost"
        self.events = ids

    def settle(self) -> None:
        """Everything is up once more; nothing is there that should not be."""
        self.revive()
        with suppress(AssertionError):
            until(self.gaia.whole, 10)
        if not self.gaia.whole():  # its next try may be a minute away, and an operator does not wait for that
            self.gaia.up()
        try:
            until(self.all_run)
            until(lambda: not Process.objects.filter(owner__startswith="test/", state__in=PROCESS_ACTIVE).exists())
            until(self.gaia.whole, 30)
        except AssertionError as error:
            raise AssertionError(self.broken()) from error
        self.check()

    def broken(self) -> str:
        """What there is, for whoever wants to know why it is not whole."""
        alive = {name: self.fleet.alive(name) for name in NAMES}
        told = [
            f"{each.name} {each.state} desired {each.desired} {each.problem!r} next {each.next_start_at} "
            f"alive {alive.get(each.name)}"
            for each in Service.objects.all()
        ]
        live = Process.objects.filter(state__in=PROCESS_ACTIVE)
        told += [
            f"{row.owner} attempt {row.attempt} {row.state} pid {row.pid} stop {row.stop_requested_at}" for row in live
        ]
        events = [
            f"{each.at:%T.%f} {each.subject} {each.kind} {each.message}" for each in Event.objects.order_by("-id")[:60]
        ]
        return "\n".join(
            ["it is not whole", *told, *map(str, self.gaia.processes()), *reversed(events), self.gaia.logs()]
        )

    def all_run(self) -> bool:
        with acting_as("user:tester"):
            services.start_all(Service.objects.filter(name__in=NAMES).exclude(state=ServiceState.RUNNING))
        up = Service.objects.filter(name__in=NAMES, state=ServiceState.RUNNING).count() == len(NAMES)
        return up and all(len(self.fleet.alive(name)) == 1 for name in NAMES)

    def check_commands(self) -> None:
        """Those that nobody killed have ended with their true codes, each of them run once."""
        for name, code in self.load.commands.items():
            row = Process.objects.get(owner=f"test/{name}")
            if name not in self.touched:
                assert (row.state, row.exit_code) == (ProcessState.EXITED, code), f"{name}: {row.state} {row.problem}"
                assert self.fleet.ended(name) == {row.token: code}

    def check_events(self) -> None:
        """Each attempt has ended once, and everything that was acknowledged is there. Trials of a crash loop are told
        of by their service.
        """
        told = Counter(
            (subject, data["attempt"])
            for subject, data in Event.objects.filter(kind__in=ENDS).values_list("subject", "data")
        )
        ended = Process.objects.filter(state__in=PROCESS_TERMINAL)
        trials = set(ended.filter(silent=True).values_list("owner", "attempt"))
        rows = Counter(ended.values_list("owner", "attempt"))
        assert max(told.values()) == 1
        assert {each: count for each, count in told.items() if each not in trials} == {
            each: count for each, count in rows.items() if each not in trials
        }
        noted = Event.objects.filter(kind="test.noted").order_by("id").values_list("data", flat=True)
        assert [data["number"] for data in noted] == self.load.noted
        tokens = set(Process.objects.values_list("token", flat=True))
        assert set(self.fleet.tokens()) <= tokens, "somebody runs whom no row knows"


def children(pid: int) -> list[int]:
    with suppress(psutil.Error):
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    return []


def kill(pid: int, token: str) -> bool:
    """kill -9. Whether there was anybody to kill."""
    if token:
        return fleet.kill(pid, token)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


@pytest.mark.timeout(120 + 4 * KILLS)
def test_kill_services(gaia: Gaia, tmp_path: Path) -> None:
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"CHAOS_SEED={seed}")
    dice = random.Random(seed)
    gaia.up()
    own = Fleet(tmp_path / "fleet")
    own.start(own.register(NAMES, stop_grace=1))
    load = Load(own, random.Random(seed))
    storm = Storm(gaia, own, load, dice)
    with load():
        storm.blow(KILLS)
    storm.settle()
    storm.check_commands()
    storm.check_events()
    print(dict(storm.kills), len(load.commands), "commands,", len(load.noted), "notes")
    assert min(storm.kills[kind] for kind in DECK) > 0
    gaia("down", "--all")
    until(lambda: not gaia.processes())
    assert not any(own.alive(name) for name in NAMES)
    assert not Process.objects.exclude(state__in=PROCESS_TERMINAL).exists()
