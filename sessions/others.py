"""The tmux servers of the user that are not GAIA's: what they have becomes what the rows say. Nothing there changes."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import Conflict, GaiaError
from sessions.actions import record, seen
from sessions.actions.ending import finish_stop
from sessions.actions.seen import Eye, Seen
from sessions.configured import fleet, more_sockets, shown_providers, socket_directories
from sessions.drivers import tmux_others
from sessions.drivers.tmux import SNAPSHOT_TIMEOUT, PaneFacts, TmuxError
from sessions.drivers.tmux_others import LOOK_TIMEOUT, OtherServer
from sessions.drivers.tmux_sockets import distinct, find_sockets, holder, server_lives
from sessions.models import Session
from sessions.programs import agents_of
from sessions.reconcile import follow, judge_again
from sessions.server import changing, home_mark, tmux_server
from sessions.states import Origin

_AT_ONCE = 8  # servers asked at the same time, so that one that hangs keeps nobody waiting
_FIRST_REST_S = 2.0
_LONGEST_REST_S = 30.0
_THOROUGH_S = 5.0

_ENDED = "its tmux server has ended"
_Answer = tmux_others.Seen | None | TmuxError


class Lookout:
    """Looks at those servers again and again, at one that does not answer less and less often.

    Args:
        clock: seconds that only ever grow.
        patience: seconds a server has to answer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, patience: float = LOOK_TIMEOUT) -> None:
        self._clock, self._patience = clock, patience
        self._resting: dict[Path, tuple[int, float]] = {}
        self._thorough_at = clock()

    def look(self) -> None:
        """Ask every server what it has, and write down the differences.

        Rows are read before the servers are asked: what is adopted in between is judged the next time.
        """
        rows: dict[Path, list[Session]] = defaultdict(list)
        for row in Session.objects.live().of_others():
            rows[Path(row.socket)].append(row)
        found = [*sorted(rows), *find_sockets(socket_directories(), more_sockets())]
        sockets = distinct(found, but=tmux_server().socket_path)
        answers = self._ask(socket for socket in sockets if self._due(socket))
        if not answers:
            return
        known = shown_providers()
        comparison = _Comparison(Eye(fleet(), known, thorough=self._thorough()), frozenset(agents_of(known)))
        for socket, answer in answers.items():
            comparison.compare(socket, rows[socket], answer)
        comparison.write()
        if comparison.unsettled:
            with suppress(Conflict), changing(wait=0):
                settle(comparison.marks)

    def _ask(self, sockets: Iterable[Path]) -> dict[Path, _Answer]:
        chosen = list(sockets)
        ask = partial(_ask, patience=self._patience)
        if len(chosen) <= 1:
            answers = [ask(socket) for socket in chosen]
        else:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="others") as pool:
                answers = list(pool.map(ask, chosen))
        for socket, answer in zip(chosen, answers, strict=True):
            self._remember(socket, silent=isinstance(answer, TmuxError))
        return dict(zip(chosen, answers, strict=True))

    def _thorough(self) -> bool:
        """Whether it is time to look into shells again that look as they did: that reads the table of processes."""
        if self._clock() < self._thorough_at:
            return False
        self._thorough_at = self._clock() + _THOROUGH_S
        return True

    def _due(self, socket: Path) -> bool:
        return socket not in self._resting or self._clock() >= self._resting[socket][1]

    def _remember(self, socket: Path, *, silent: bool) -> None:
        if not silent:
            self._resting.pop(socket, None)
            return
        times = self._resting.get(socket, (0, 0.0))[0] + 1
        rest = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0 ** min(times - 1, 10))
        self._resting[socket] = (times, self._clock() + rest)


def look() -> None:
    """One look, for who has nobody that looks all the time; what cannot be seen is left as it is."""
    Lookout(patience=SNAPSHOT_TIMEOUT).look()


def _ask(socket: Path, *, patience: float) -> _Answer:
    """What a server has; None when nobody listens; the error when that cannot be told. Touches no database."""
    try:
        who = holder(socket)
        if who is None:
            return None
        if who.uid != os.getuid():
            return TmuxError(f"the tmux server on {socket} is another user's")
        return OtherServer(socket).look(timeout=patience)
    except TmuxError as error:
        return error
    except GaiaError as error:  # no tmux, or a path that is too long
        return TmuxError(error.what)


class _Comparison:
    """What a look found to be different, written in a few statements at its end."""

    def __init__(self, eye: Eye, programs: frozenset[str]) -> None:
        self._eye, self._programs = eye, programs
        self._new: list[Seen] = []
        self._changes: dict[Session, dict[str, Any]] = {}
        self.marks: list[tuple[Path, PaneFacts]] = []
        self.unsettled = False

    def compare(self, socket: Path, rows: Sequence[Session], answer: _Answer) -> None:
        """One server."""
        self.unsettled |= any(row.stop_requested_at is not None for row in rows)
        if isinstance(answer, TmuxError):
            seen.record_unanswered(rows)
            return
        if answer is None or answer.server is None:
            self._without_server(rows)
            return
        server = (answer.server.pid, answer.server.start_time)
        known = set()
        for row in rows:
            if (row.tmux_server_pid, row.tmux_server_started) != server:
                record.record_gone(row, _ENDED)
            elif self._compare_one(row, answer):
                known.add(row.tmux_session)
        for session_id, panes in answer.sessions.items():
            if session_id not in known:
                pane = seen.representative(panes, self._programs)
                self._new.append(Seen(socket, answer.server, pane, len(panes)))
        self._look_for_marks(socket, rows, answer)

    def write(self) -> None:
        """Into the database."""
        record.record_shown(self._changes)
        seen.record_seen(self._new, self._eye)

    def _without_server(self, rows: Sequence[Session]) -> None:
        """Nobody listens: it has ended, or somebody deleted its socket while it goes on."""
        lost = {row.tmux_server_pid for row in rows if _lives(row)}
        seen.record_unanswered([row for row in rows if row.tmux_server_pid in lost])
        for row in rows:
            if row.tmux_server_pid not in lost:
                record.record_gone(row, _ENDED)

    def _compare_one(self, row: Session, answer: tmux_others.Seen) -> bool:
        """Returns: whether the row goes on telling of that session."""
        panes = answer.sessions.get(row.tmux_session, ())
        pane = next((pane for pane in panes if pane.pane_id == row.tmux_pane), None)
        if row.origin == Origin.ADOPTED:
            if pane is None:
                record.record_gone(row, "its pane was closed or moved")
                return False
            if pane.gaia_id != row.gaia_id:
                seen.record_released(row, why="somebody took GAIA's mark off its pane")
        elif not panes:
            record.record_gone(row, "tmux no longer has it")
            return False
        self._follow(row, pane or seen.representative(panes, self._programs), len(panes), answer)
        return True

    def _follow(self, row: Session, pane: PaneFacts, count: int, answer: tmux_others.Seen) -> None:
        assert answer.server is not None  # noqa: S101  `compare` has looked
        facts: dict[str, Any] = {"panes": count, **({"problem": ""} if row.problem == seen.UNANSWERED else {})}
        if row.foreign:
            facts |= self._eye.describe_again(row, Seen(Path(row.socket), answer.server, pane, count))
        else:
            judge_again(row, pane, self._eye.names, thorough=self._eye.thorough)
        changes = follow(row, pane, answer.server)
        changes |= {name: value for name, value in facts.items() if getattr(row, name) != value}
        if changes:
            self._changes[row] = changes

    def _look_for_marks(self, socket: Path, rows: Sequence[Session], answer: tmux_others.Seen) -> None:
        """Marks of this GAIA on panes it has not adopted: whoever adopted or let go of them is at it, or was killed."""
        adopted = {row.gaia_id for row in rows if row.origin == Origin.ADOPTED}
        marked = [pane for pane in answer.panes() if pane.gaia_id and pane.gaia_id not in adopted]
        ours = [pane for pane in marked if pane.tags.get("home") == home_mark()]
        self.marks += [(socket, pane) for pane in ours]
        self.unsettled |= bool(ours)


def settle(marks: Iterable[tuple[Path, PaneFacts]]) -> None:
    """Finish what was left half done. The caller holds `changing()`: nobody is at it.

    Args:
        marks: panes that had this GAIA's mark without being adopted.
    """
    adopted = {row.gaia_id: row for row in Session.objects.live().filter(origin=Origin.ADOPTED)}
    for socket, pane in marks:
        if pane.gaia_id not in adopted:
            with suppress(TmuxError):
                OtherServer(socket).unmark(pane.pane_id, pane.gaia_id)
    for row in adopted.values():
        if row.stop_requested_at is not None:
            with suppress(TmuxError):
                finish_stop([row])


def _lives(row: Session) -> bool:
    return bool(row.tmux_server_pid) and server_lives(row.tmux_server_pid or 0, row.tmux_server_started or 0)
