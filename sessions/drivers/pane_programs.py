"""The programs in panes, as processes: whose they are, and their certain end.

tmux ends a window by hanging up: it closes the terminal, and the kernel sends SIGHUP. A program that ignores that goes
on without a terminal, with nobody who could see or reach it. So whoever ends a pane makes sure of its program, too.

What belongs to a pane: its first process leads an OS session (tmux makes one for each pane), and with it everybody in
that session. Not what has left it, such as GAIA's daemon or a tmux server that were started from there, nor what GAIA
runs under its shim, such as a stage.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from processes.drivers.liveness import Identity, identify
from processes.drivers.shim import TOKEN_VARIABLE
from processes.drivers.stop import send_signal, wait_until_ended
from processes.drivers.table import Row, table
from sessions.drivers.tmux_facts import PaneFacts

MARK = "GAIA_SESSION_ID"
"""Environment variable of a pane's program: the pane's @gaia_id."""

_NAMING = 6  # arguments: `node --flag --flag /usr/bin/codex`, `sh -c 'exec "$0" "$@"' /usr/bin/claude`
_GRACE = 3.0  # seconds between TERM and KILL
_HANGUP = 0.5  # seconds for the hang-up to do what it does to nearly all
_KILL = 5.0  # seconds of killing before those who remain are called survivors
_RESCAN = 0.1  # seconds after which the process table is read again


@dataclass(frozen=True)
class Program:
    """What was started in a pane.

    `pid` is its first process's and the number of its OS session; `start_ticks` tells it from a later process with
    that pid, None when it was not recorded. Both mean nothing after the machine was started again.
    """

    gaia_id: str
    pid: int
    start_ticks: int | None


def program_of(pane: PaneFacts) -> Program:
    """The program of a pane that tmux has just told of."""
    found = None if pane.dead else identify(pane.pane_pid)
    return Program(pane.gaia_id, pane.pane_pid, found.start_ticks if found else None)


class RunningNames:
    """The names under which the processes of panes run, from one reading of the process table when first asked."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Row]] | None = None

    def of_leader(self, pane_pid: int) -> set[str]:
        """Names of a pane's first process alone, for which nothing else is read."""
        return set(_names(pane_pid))

    def ended(self, pane_pid: int) -> bool:
        """Whether a pane's first process has ended, perhaps since tmux told of it."""
        row = table().row(pane_pid)
        return row is None or row.dead

    def of(self, pane_pid: int, *, beside_leader: bool = False) -> set[str]:
        """Names of the programs and scripts in a pane's OS session.

        Args:
            beside_leader: only of its first process and those in the same process group: what a shell with job control
                has put into the background or stopped is not among them.
        """
        if self._rows is None:
            self._rows = {}
            for row in filter(None, map(table().row, table().pids())):
                self._rows.setdefault(row.session, []).append(row)
        rows = [row for row in self._rows.get(pane_pid, []) if not row.dead]
        chosen = [row for row in rows if row.group == pane_pid] if beside_leader else rows
        return {name for row in chosen for name in _names(row.pid)}


def _names(pid: int) -> Iterator[str]:
    """What a process is called: its program, and the script or command that its first arguments name."""
    for word in table().command_line(pid).split(b"\0")[:_NAMING]:
        name = os.path.basename(word.decode(errors="replace")).lstrip("-")
        yield name
        yield name.partition(".")[0] if name.endswith((".js", ".mjs", ".cjs")) else name


class Survivors(dict[str, tuple[int, ...]]):
    """Pids that did not even end by SIGKILL (of another user, or stuck in the kernel), by @gaia_id."""


@contextmanager
def ended_for_sure(programs: Iterable[Program]) -> Iterator[Survivors]:
    """The block ends panes; afterwards none of what ran in them is left: TERM for who ignored the hang-up, then KILL.

    Yields: who is still there, filled in when the block has been left.
    """
    ending = _Ending(programs)
    survivors = Survivors()
    try:
        yield survivors
    finally:
        survivors.update(ending.run())


class _Ending:
    def __init__(self, programs: Iterable[Program]) -> None:
        self._programs = {program.pid: program for program in programs}
        self._known: dict[Identity, str] = {}  # whose it is; who was seen once is ours though its leader ends
        if self._programs:
            self._left()

    def run(self) -> dict[str, tuple[int, ...]]:
        if not self._programs:
            return {}
        self._wait(_HANGUP)
        if self._left():
            self._send(signal.SIGTERM)
            self._send(signal.SIGCONT)  # a stopped process gets no TERM
            self._wait(_GRACE)
            self._kill()
        by_pane: dict[str, tuple[int, ...]] = {}
        for identity, gaia_id in self._left().items():
            by_pane[gaia_id] = (*by_pane.get(gaia_id, ()), identity.pid)
        return by_pane

    def _wait(self, seconds: float) -> None:
        for _ in range(round(seconds / _RESCAN)):
            if not self._known:
                return
            wait_until_ended(self._known, _RESCAN)
            self._left()

    def _send(self, number: signal.Signals) -> None:
        for identity in self._known:
            send_signal(identity, number)

    def _kill(self) -> None:
        for _ in range(round(_KILL / _RESCAN)):
            if not self._left():
                return
            self._send(signal.SIGKILL)
            wait_until_ended(self._known, _RESCAN)

    def _left(self) -> dict[Identity, str]:
        """Who of them is there now; from here on they are known."""
        rows = {row.pid: row for pid in table().pids() if (row := table().row(pid)) is not None}
        ours = {row.pid: gaia_id for row in rows.values() if (gaia_id := self._owner(row, rows))}
        ours.pop(os.getpid(), None)  # `gaia down --all` may be typed in a pane
        self._known = {Identity.of(rows[pid]): gaia_id for pid, gaia_id in ours.items() if not rows[pid].dead}
        return self._known

    def _owner(self, row: Row, rows: Mapping[int, Row]) -> str:
        """The pane whose OS session it is in, or to which it belonged before; empty for others.

        A session's number comes again once everybody in it has ended. It is the pane's if its leader is; without a
        leader, if this process carries the pane's mark.
        """
        known = self._known.get(Identity.of(row))
        program = self._programs.get(row.session)
        if known is not None or program is None:
            return known or ""
        leader = rows.get(row.session)
        if leader is not None and leader.start_ticks == program.start_ticks:
            return "" if _is_an_attempt(row.pid) else program.gaia_id
        proof = leader or row
        return program.gaia_id if _variable(proof.pid, MARK) == program.gaia_id and not _is_an_attempt(row.pid) else ""


def _is_an_attempt(pid: int) -> bool:
    """Whether it is a process that GAIA runs under its shim, which has a life and an end of its own."""
    return bool(_variable(pid, TOKEN_VARIABLE))


def _variable(pid: int, name: str) -> str:
    """The value of a variable in the environment a process was started with; empty when none can be read."""
    prefix = name.encode() + b"="
    for entry in (table().environment(pid) or b"").split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return ""
