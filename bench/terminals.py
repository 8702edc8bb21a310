"""Terminals in tmux: watching 500 sessions and typing into one, against raw tmux and libtmux on the same server.

Run: python bench/terminals.py [--quick] [--json] [--rounds N]

The raw peer is a control client that does nothing but write commands and read until they are answered: what tmux itself
costs. The snapshot: every pane with GAIA's fields and marks, as objects, against the same listing read raw, and against
libtmux's `server.sessions` and `server.panes`. The screens: all of them through GAIA's link, against 64 captures in
flight on the raw pipe. Monitoring: turns of `Monitor` as the daemon makes them once a second, processor time of GAIA,
the control client and tmux together, as a share of one core. Typing: a key written into a program that echoes it, until
the echo is back, against a command that does nothing. Every server is on a socket of its own and is ended whatever
happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from bench.sessions import LIBTMUX, PROGRAM, fill, tmux_server  # noqa: E402, the path comes first
from bench.table import Bench, Peer, scratch  # noqa: E402
from sessions.drivers.control_client import ControlClient  # noqa: E402
from sessions.drivers.control_notifications import Ended  # noqa: E402
from sessions.drivers.control_parser import Notification, Output  # noqa: E402
from sessions.drivers.control_session import Purpose, attach_argv, new_name  # noqa: E402
from sessions.drivers.monitor import DEAR_EVERY, Monitor  # noqa: E402
from sessions.drivers.tmux import Created, NewSession, TmuxServer  # noqa: E402
from sessions.drivers.tmux_facts import Snapshot, listing, parse_listing  # noqa: E402
from sessions.drivers.tmux_link import ControlLink  # noqa: E402
from sessions.drivers.tmux_script import command, line  # noqa: E402

LOOKED_AT = (50, 500)
WINDOW = 64
NOISY = 30
TURNS = 25
DEAR_TURNS = int(DEAR_EVERY)  # of so many turns one asks for everything
KEYS = 100
TIMEOUT = 30.0


def main() -> int:
    bench = Bench("terminals", sys.argv[1:], description=__doc__)
    with scratch("terminals") as name:
        directory = Path(name)
        with Peer(directory, ["libtmux==0.62.0"], LIBTMUX) as libtmux:
            if libtmux.note:
                bench.note(libtmux.note)
            for count in LOOKED_AT:
                with filled(directory, count) as server:
                    compare_looking(bench, libtmux, server, directory, count)
                    measure_monitoring(bench, server, count)
        compare_typing(bench, directory)
    bench.note(f"load average: {os.getloadavg()[0]:.1f}")
    return bench.finish()


# Looking


def compare_looking(bench: Bench, libtmux: Peer, server: TmuxServer, directory: Path, count: int) -> None:
    """One look at all sessions, and at all screens."""
    about = json.dumps(
        {"socket": str(server.socket_path), "config": str(directory / "tmux.conf"), "do": "list", "count": count + 2}
    )
    panes = [pane.pane_id for pane in server.snapshot().panes]
    lines = [command("capture-pane", "-p", "-t", pane_id) for pane_id in panes]
    with RawControl(server) as raw, linked(server) as link:

        def snapshot() -> None:
            assert len(look(link).panes) == count

        def captures() -> None:
            assert all(reply.ok for reply in link.run(lines, timeout=TIMEOUT, repeatable=True))

        case = f"snapshot of {count}"
        bench.compare(
            case,
            {
                "gaia": snapshot,
                "raw control pipe": lambda: raw.measure([listing_line("x")]),
                "libtmux": lambda: libtmux.measure(about),
            },
            rounds=2 * bench.rounds,
        )
        screens = f"screens of {count}"
        bench.compare(screens, {"gaia": captures, "raw control pipe": lambda: raw.measure(lines)})
    if count == max(LOOKED_AT):
        ratio = bench.value("gaia", case) / bench.value("raw control pipe", case)
        bench.figure(f"{case}: GAIA / raw control pipe", ratio, budget=1.5, better="lower")
        bench.ratio(f"{case}: libtmux / GAIA", case=case, fast="gaia", slow="libtmux", budget=6.0)
        ratio = bench.value("gaia", screens) / bench.value("raw control pipe", screens)
        bench.figure(f"{screens}: GAIA / raw control pipe", ratio, budget=1.2, better="lower")


def listing_line(nonce: str) -> str:
    """The listing with all fields, as one line of commands."""
    words = listing(nonce)
    middle = words.index(";")
    return line(command(*words[:middle]), command(*words[middle + 1 :]))


def look(link: ControlLink) -> Snapshot:
    """The listing, read into objects."""
    [reply] = link.run([listing_line("x")], timeout=TIMEOUT, repeatable=True)
    return parse_listing(reply.text, "x")


class RawControl:
    """A control client without anything around it: what it costs tmux to be asked.

    Its session is there for the time of a `with` block.
    """

    def __init__(self, server: TmuxServer) -> None:
        argv = attach_argv(server.client, new_name(Purpose.COMMAND), Purpose.COMMAND)
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, bufsize=0, stdin=pipe, stdout=pipe, env=dict(server.environment))

    def measure(self, lines: Sequence[str]) -> float:
        """Seconds until all of them are answered, at most `WINDOW` in flight."""
        started = time.perf_counter()
        for start in range(0, len(lines), WINDOW):
            self._ask(lines[start : start + WINDOW])
        return time.perf_counter() - started

    def _ask(self, lines: Sequence[str]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        last = f"last-{time.perf_counter_ns()}"
        self._process.stdin.write(("\n".join([*lines, command("display-message", "-p", last)]) + "\n").encode())
        end, read = f"\n{last}\n".encode(), b""
        while end not in read[-len(end) - 100 :]:
            data = os.read(self._process.stdout.fileno(), 1 << 18)
            assert data, "tmux ended the client"
            read = read[-len(end) - 100 :] + data

    def __enter__(self) -> RawControl:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)


# Monitoring


def measure_monitoring(bench: Bench, server: TmuxServer, count: int) -> None:
    """The processor time of as many turns as the daemon makes in some seconds, without the seconds between them."""
    identity = server.snapshot().server
    assert identity is not None
    tmux = psutil.Process(identity.pid)
    for noisy in (0, NOISY):
        with linked(server) as link:
            clock = Steps()
            monitor = Monitor(link, clock=clock)
            panes = [pane.pane_id for pane in server.snapshot().panes][:noisy]
            monitor.turn()
            time.sleep(1.1)  # output in the second of a look has its screen read again
            monitor.turn()
            spent: list[float] = []
            for turn in range(TURNS):
                lines = [command("send-keys", "-l", "-t", pane_id, f"{turn % 10}") for pane_id in panes]
                link.run([*lines, command("display-message", "-p", "")], timeout=TIMEOUT)
                time.sleep(0.02)  # the programs echo
                before = cpu(tmux)
                clock.now += 1
                monitor.turn()
                spent.append(cpu(tmux) - before)
        case = f"monitoring {count}, {noisy} noisy"
        # every fifth turn asks for more; medians of each, so that what else the machine does counts for little
        full = max(range(DEAR_TURNS), key=lambda first: statistics.median(spent[first::DEAR_TURNS]))
        cheap = [value for turn, value in enumerate(spent) if turn % DEAR_TURNS != full]
        mean = (statistics.median(cheap) * (DEAR_TURNS - 1) + statistics.median(spent[full::DEAR_TURNS])) / DEAR_TURNS
        bench.record("gaia", case, 100 * mean, "% of a core")
        if count == max(LOOKED_AT) and not noisy:
            bench.figure(f"{case}, at 1 Hz, % of a core", 100 * mean, budget=1.0, better="lower")


class Steps:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def cpu(tmux: psutil.Process) -> float:
    """Seconds of processor time of the server and of this process, to the nanosecond where the kernel tells."""
    schedstat = Path(f"/proc/{tmux.pid}/schedstat")
    exact = schedstat.exists()
    theirs = int(schedstat.read_text().split()[0]) / 1e9 if exact else sum(tmux.cpu_times()[:2])
    return theirs + time.process_time()


# Typing


def compare_typing(bench: Bench, directory: Path) -> None:
    """A key until its echo is back, against a command that does nothing."""
    with tmux_server(directory) as server:
        [made] = server.create([NewSession("typed", "id", directory, (PROGRAM,))])
        assert isinstance(made, Created)
        case = "a key until its echo"
        for name, value in asyncio.run(type_keys(server, made, bench.rounds)).items():
            bench.record(name, case, value, "s")
    ratio = bench.value("gaia", case) / bench.value("a no-op", case)
    bench.figure("keystroke to echo / no-op round trip", ratio, budget=3.0, better="lower")


async def type_keys(server: TmuxServer, made: Created, rounds: int) -> dict[str, float]:
    """The median seconds of a key and of a no-op, in turns."""
    seen = asyncio.Event()

    def listener(item: Notification | Ended) -> None:
        if isinstance(item, Output):
            seen.set()

    client = ControlClient(server.client, Purpose.VIEW, listener=listener)
    await client.open()
    times: dict[str, list[float]] = {"gaia": [], "a no-op": []}
    try:
        await client.command("link-window", "-d", "-s", made.window_id, "-t", f"={client.session}:7", timeout=TIMEOUT)
        for _ in range(KEYS * rounds):
            started = time.perf_counter()
            await client.command("display-message", "-p", "", timeout=TIMEOUT)
            times["a no-op"].append(time.perf_counter() - started)
            seen.clear()
            started = time.perf_counter()
            await client.command("send-keys", "-l", "-t", made.pane_id, "x", timeout=TIMEOUT)
            await seen.wait()
            times["gaia"].append(time.perf_counter() - started)
    finally:
        await client.close()
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}


# Servers


@contextmanager
def filled(directory: Path, count: int) -> Iterator[TmuxServer]:
    """A server with so many sessions, whose programs run."""
    with tmux_server(directory) as server:
        fill(server, directory, count)
        while any(pane.current_command != Path(PROGRAM).name for pane in server.snapshot().panes):
            time.sleep(0.1)
        write_screens(server)
        yield server


def write_screens(server: TmuxServer) -> None:
    """Text on every screen, which its program echoes."""
    text = "".join(f"{number:3} {'the quick brown fox jumps over the lazy dog ' * 2}\n" for number in range(20))
    with linked(server) as link:
        lines = [command("set-buffer", "-b", "text", "--", text)]
        lines += [command("paste-buffer", "-b", "text", "-t", pane.pane_id) for pane in server.snapshot().panes]
        assert all(reply.ok for reply in link.run(lines, timeout=TIMEOUT))
    time.sleep(1)  # it is written to the screens


@contextmanager
def linked(server: TmuxServer) -> Iterator[ControlLink]:
    """GAIA's way to the server."""
    link = ControlLink(server.client)
    try:
        link.run([command("display-message", "-p", "")], timeout=TIMEOUT)
        yield link
    finally:
        link.close()


if __name__ == "__main__":
    sys.exit(main())
