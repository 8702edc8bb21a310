"""Fifty services under GAIA and under supervisord, circus, pm2 and runit, in the same run.

Run: python bench/services.py [--quick] [--json] [--rounds N]

start: all of them asked for, until the last one runs. crash: kill -9 of one, until its successor runs; one of each
supervisor in turn. stop: all of them asked for, until the last one has ended and the supervisor has said so; apart from
that, the supervisor told to end with its services. idle: processor time and memory of the supervisor itself. At last
it gets a kill -9 and is started again: how many services run twice then, and how many were restarted.

A service says by itself that it runs, as its first act, into a pipe; its end is seen through a pidfd. Everybody has his
default settings and is asked over his own control interface: XML-RPC, circus' and pm2's client in a warm process, sv,
GAIA's actions. The peers come from PyPI, npm and Debian into a temporary directory; who cannot be had is left out.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from bench.supervisors import (  # noqa: E402, the path comes first
    CIRCUS,
    PM2,
    SUPERVISOR,
    Circus,
    Pm2,
    Runit,
    Supervisor,
    Supervisord,
    install_pm2,
    install_python,
    install_runit,
)
from bench.table import Bench  # noqa: E402
from bench.witness import Witness, processor_seconds, proportional_bytes  # noqa: E402

COUNT = 50
TIMES = 10
ORPHANS = 10
IDLE_S = 10.0
QUICK_CRASHES = 15
SLOW = ("circus",)  # it looks every five seconds: the others do not wait for it
_SPACING_S = 0.04  # between two crashes
_MS = 1000.0


class Fleets:
    """Makes supervisors with services, and ends them with the block."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        self._bench = bench
        self._directory = directory
        self._ending = ExitStack()
        self._witness = self._ending.enter_context(Witness(directory))
        with ThreadPoolExecutor() as pool:
            python, pm2, runit = (pool.submit(each, directory) for each in (install_python, install_pm2, install_runit))
            set_up_gaia(directory)
            self._python, self._pm2, self._runit = python.result(), pm2.result(), runit.result()
        missing = {"supervisord, circus": self._python, "pm2": self._pm2, "runit": self._runit}
        for names in [names for names, place in missing.items() if place is None]:
            bench.note(f"{names}: could not be had here")

    def make(self, count: int, names: Sequence[str] = ()) -> dict[str, Supervisor]:
        """One fleet of each supervisor, up, with its services down. Give names to have only those."""
        from bench.gaia_engine import Gaia

        kinds: dict[str, tuple[Any, ...]] = {"gaia": (Gaia,)}
        if self._python:
            kinds |= {"supervisord": (Supervisord, self._python), "circus": (Circus, self._python)}
        if self._pm2:
            kinds["pm2"] = (Pm2, self._pm2)
        if self._runit:
            kinds["runit"] = (Runit, self._runit)
        found = {}
        for name, (kind, *places) in kinds.items():
            if not names or name in names:
                self._bench.say(f"{name} with {count}")
                supervisor = kind(self._witness, self._directory / f"{name}{count}", count, *places)
                self._ending.callback(supervisor.down)
                supervisor.up()
                found[name] = supervisor
        return found

    def __enter__(self) -> Fleets:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()


def main() -> int:
    bench = Bench("services", sys.argv[1:], description=__doc__)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a pidfd for every start
    with tempfile.TemporaryDirectory(prefix="gaia-bench-", ignore_cleanup_errors=True) as name:
        begin_anew(Path(name))
        with Fleets(bench, Path(name)) as fleets:
            measure(bench, fleets)
    bench.note(f"{SUPERVISOR}, {CIRCUS}, {PM2}; load average {os.getloadavg()[0]:.1f}")
    return bench.finish()


def measure(bench: Bench, fleets: Fleets) -> None:
    """Every case."""
    fifty = fleets.make(COUNT)
    begin_and_end(bench, fifty, COUNT)
    crashes(bench, fifty, COUNT)
    idle(bench, fifty)
    with aside(lambda: shutdowns(bench, fifty)):  # supervisord takes its time and nobody else's
        orphans(bench, fleets.make(ORPHANS))
    scale(bench, fleets)
    budgets(bench)


def begin_and_end(bench: Bench, supervisors: dict[str, Supervisor], count: int) -> None:
    """Start and stop of all, in turn; at the end all of them run."""
    rounds = 3 if bench.quick else max(5, bench.rounds)
    starts: dict[str, list[float]] = {name: [] for name in supervisors}
    stops: dict[str, list[float]] = {name: [] for name in supervisors}
    for number in range(rounds):
        for name, supervisor in supervisors.items():
            if number:
                stops[name].append(supervisor.stop_all())
            starts[name].append(supervisor.start_all())
            bench.say(f"start of {count}: {name}: {starts[name][-1]:.4g} s, stop: {(stops[name] or [0])[-1]:.4g} s")
        for supervisor in supervisors.values():
            supervisor.settle()
    for name in supervisors:
        bench.record(name, f"start of {count}", statistics.median(starts[name]), "s")
        bench.record(name, f"stop of {count}", statistics.median(stops[name]), "s")


def crashes(bench: Bench, supervisors: dict[str, Supervisor], count: int) -> None:
    """kill -9 of one service of each, until they run again; then the next ones.

    Each service dies once: a second death soon after has to wait its turn. Who takes seconds misses some rounds.
    """
    took: dict[str, list[float]] = {name: [] for name in supervisors}
    waiting: dict[str, tuple[int, float]] = {}
    for number in range(QUICK_CRASHES if bench.quick else COUNT):
        for name in [name for name in supervisors if name not in waiting]:
            waiting[name] = (number, supervisors[name].crash(number))
            time.sleep(_SPACING_S)
        for name in [name for name in waiting if name not in SLOW]:
            took[name].append(supervisors[name].recovered(*waiting.pop(name)) * _MS)
        for name in [name for name in waiting if supervisors[name].has_recovered(*waiting[name])]:
            took[name].append(supervisors[name].recovered(*waiting.pop(name)) * _MS)
    for name, values in took.items():
        values += [supervisors[name].recovered(*waiting.pop(name)) * _MS] if name in waiting else []
        bench.say(f"crash of {count}: {name}: {', '.join(f'{value:.1f}' for value in values)} ms")
        bench.record(name, f"crash → running, {count}, p50", statistics.median(values), "ms")
        bench.record(name, f"crash → running, {count}, max", max(values), "ms")


def idle(bench: Bench, supervisors: dict[str, Supervisor]) -> None:
    """All of them at once, for so long: what they use is far less than what there is."""
    pids = {name: supervisor.supervisors() for name, supervisor in supervisors.items()}
    gaia: Any = supervisors["gaia"]
    pids["gaia, console and jobs"] = gaia.parts()
    time.sleep(2.0)
    before = {name: processor_seconds(each) for name, each in pids.items()}
    began = time.monotonic()
    time.sleep(IDLE_S)
    for name, each in pids.items():
        share = (processor_seconds(each) - before[name]) / (time.monotonic() - began)
        bench.record(name, f"idle processor, {COUNT}", 100 * share, "%")
        bench.record(name, f"memory, {COUNT}", proportional_bytes(each) / 1e6, "MB")


def shutdowns(bench: Bench, supervisors: dict[str, Supervisor]) -> None:
    """The supervisor ends and takes its services with it. GAIA's is the one that goes on."""
    for name, supervisor in supervisors.items():
        if name != "gaia":
            bench.record(name, f"shutdown with {COUNT}", supervisor.shut_down(), "s")


def orphans(bench: Bench, supervisors: dict[str, Supervisor]) -> None:
    """kill -9 of the supervisor; it is started again as its manual says, and has time to look around."""
    before = {}
    for supervisor in supervisors.values():
        supervisor.start_all()
    for name, supervisor in supervisors.items():
        supervisor.settle()
        before[name] = [starts[0].pid for starts in supervisor.running()]
        supervisor.kill()
        supervisor.revive()
    time.sleep(3.0)
    for name, supervisor in supervisors.items():
        found = supervisor.running()
        twice = sum(max(0, len(starts) - 1) for starts in found)
        again = sum(old not in [start.pid for start in starts] for old, starts in zip(before[name], found, strict=True))
        bench.record(name, f"kill -9 of the supervisor of {ORPHANS}: duplicates", twice, "")
        bench.record(name, f"kill -9 of the supervisor of {ORPHANS}: restarts", again, "")


def scale(bench: Bench, fleets: Fleets) -> None:
    """Ten times as many."""
    count = COUNT * TIMES
    many = fleets.make(count, ("gaia",) if bench.quick else ("gaia", "supervisord", "runit"))
    for name, supervisor in many.items():
        bench.record(name, f"start of {count}", supervisor.start_all(), "s")
        supervisor.settle()
    crashes(bench, many, count)
    for name, supervisor in many.items():
        bench.record(name, f"stop of {count}", supervisor.stop_all(), "s")


def budgets(bench: Bench) -> None:
    """The figures that count."""
    crash, stop, shutdown = f"crash → running, {COUNT}, p50", f"stop of {COUNT}", f"shutdown with {COUNT}"
    ours = bench.value("gaia", crash)
    bench.figure("crash → running, p50, ms", ours, budget=10, better="lower")
    if any(row.engine == "supervisord" for row in bench.rows):
        bench.ratio("crash → running: supervisord / gaia", case=crash, fast="gaia", slow="supervisord", budget=100)
        slow = bench.value("supervisord", shutdown)
        bench.figure(
            f"stop of {COUNT}: supervisord's shutdown / gaia", slow / bench.value("gaia", stop),
            budget=100, better="higher",
        )  # fmt: skip
    for what in ("duplicates", "restarts"):
        value = bench.value("gaia", f"kill -9 of the supervisor of {ORPHANS}: {what}")
        bench.figure(f"kill -9 of the daemon: {what}", value, budget=0, better="lower")
    tenfold = bench.value("gaia", f"crash → running, {COUNT * TIMES}, p50")
    bench.figure(f"crash → running of {COUNT * TIMES} / of {COUNT}", tenfold / ours, budget=3, better="lower")


# -- the ground


def set_up_gaia(directory: Path) -> None:
    """The database of a new home, and this process as one of GAIA's doors."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "gaia_site.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, stdout=(directory / "migrate.log").open("w"))


def begin_anew(directory: Path) -> None:
    """A home of GAIA's own in this directory, and nobody's settings."""
    for name in [name for name in os.environ if name.startswith(("GAIA_", "DJANGO_"))]:
        del os.environ[name]
    os.environ |= {"GAIA_HOME": str(directory / "home"), "GAIA_SESSIONS_SOCKET_DIRS": str(directory / "sockets")}


@contextmanager
def aside(work: Any) -> Iterator[None]:
    """Run this in another thread during the block. Raises what it raised."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        yield
        running.result()


if __name__ == "__main__":
    sys.exit(main())
