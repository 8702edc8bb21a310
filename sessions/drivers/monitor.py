"""Watching a whole tmux server once a second: what is different since the last look, at the price of a look.

Every turn asks for what moves and what tmux has at hand: output, title, end. All the rest, above all command and
directory, for which tmux looks into processes, comes every few seconds; and at once when a pane is new, a program has
ended, or a window was renamed, which tmux does when another program runs in it. A screen is read when its window had
output since it was last read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sessions.drivers import tmux_process
from sessions.drivers.tmux_errors import NoServer, TmuxError
from sessions.drivers.tmux_facts import PaneFacts, ServerIdentity, Snapshot, listing, parse_listing
from sessions.drivers.tmux_link import TmuxLink
from sessions.drivers.tmux_script import command, line

DEAR_EVERY = 5.0  # seconds between two looks at everything
TAIL = 24  # lines of a screen's end that are kept
TIMEOUT = 2.0

_EMPTY = "no current target"
# In the order of `_Row`; the title is last, because its program chooses it. All are the pane's or its window's, so that
# a pane that is listed several times, in windows that are linked, has the same row every time.
_FIELDS = ("pane_id", "window_activity", "pane_dead", "window_name", "pane_title")
_COMPARED = (
    "pane_pid", "dead", "dead_status", "dead_signal", "width", "height", "activity", "attached", "in_mode",
    "session_name", "gaia_id", "tags", "title", "current_command", "cwd",
)  # fmt: skip


class Changed(NamedTuple):
    """A pane that is not as it was, and the names of the fields that are different."""

    pane: PaneFacts
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """What one turn found. `server` is None when none runs; panes of another server than before are all new."""

    server: ServerIdentity | None
    appeared: tuple[PaneFacts, ...] = ()
    changed: tuple[Changed, ...] = ()
    gone: tuple[PaneFacts, ...] = ()
    tails: Mapping[str, str] = field(default_factory=dict)  # pane id → the end of its screen, where that is another

    def __bool__(self) -> bool:
        return bool(self.appeared or self.changed or self.gone or self.tails)


class _Row(NamedTuple):
    """One line of the cheap listing, as text."""

    pane_id: str
    activity: str
    dead: str
    window_name: str
    title: str


class Monitor:
    """The panes of one server as they were at the last turn.

    Args:
        link: the way to the server.
        clock: seconds that only go on.
        dear_every: seconds between two looks at what is dear.
        tail: lines of a screen's end to keep; 0: no screen is read.
        timeout: seconds for a call.
    """

    def __init__(
        self,
        link: TmuxLink,
        *,
        clock: Callable[[], float] = time.monotonic,
        dear_every: float = DEAR_EVERY,
        tail: int = TAIL,
        timeout: float = TIMEOUT,
    ) -> None:
        self._link = link
        self._clock = clock
        self._dear_every = dear_every
        self._tail = tail
        self._timeout = timeout
        self._dear_at: float | None = None
        self._server: ServerIdentity | None = None
        self._rows: dict[str, str] = {}  # pane id → the row as it came
        self._panes: dict[str, PaneFacts] = {}
        self._not_ours: set[str] = set()
        self._tails: dict[str, str] = {}
        self._read: dict[str, tuple[int, int, int]] = {}  # pane id → when its screen was read, and its size

    def snapshot(self) -> Snapshot:
        """Everything as of the last turn; what is dear is up to `dear_every` seconds older."""
        return Snapshot(self._server, tuple(self._panes.values()))

    def tail(self, pane_id: str) -> str:
        """The end of a pane's screen as of the last turn; empty when none is known."""
        return self._tails.get(pane_id, "")

    def refresh(self) -> None:
        """Have the next turn look at everything; for when something was heard of, such as a session's new name."""
        self._dear_at = None

    def turn(self) -> Changes:
        """Look once.

        Returns: what is different since the last turn.
        Raises: TmuxHung, TmuxError: nothing is known then, and nothing was concluded.
        """
        try:
            server, now, rows = self._list_cheap()
        except NoServer:
            return self._conclude(None, {}, {}, {})
        panes = self._follow(server, rows)
        if panes is None:
            listed = self._list_dear()
            if listed.server != server:  # another one by now; the next turn sees all of it
                return self._conclude(None, {}, {}, {})
            panes = {pane.pane_id: pane for pane in listed.panes}
            known = self._not_ours if server == self._server else set()
            self._not_ours = known | (
                rows.keys() - panes.keys()
            )  # of control sessions; or gone since, and never seen again
            rows = {pane_id: row for pane_id, row in rows.items() if pane_id in panes}
            self._dear_at = self._clock()
        tails = self._read_tails(server, panes, now) if self._tail else {}
        if server is not None and any(pane.ended_unnoticed for pane in panes.values()):
            tmux_process.remind_of_children(server.pid)
            self.refresh()
        return self._conclude(server, rows, panes, tails)

    # Listing

    def _list_cheap(self) -> tuple[ServerIdentity | None, int, dict[str, str]]:
        """The server, its time in seconds since the epoch, and a row for each pane."""
        nonce = secrets.token_hex(6)
        row = "\t".join((nonce, *(f"#{{{name}}}" for name in _FIELDS)))
        head = command("display-message", "-p", "#{pid}\t#{start_time}\t%s")
        text = self._ask(line(head, command("list-panes", "-a", "-F", row)))
        about, *found = text.split(f"\n{nonce}\t")
        try:
            pid, started, now = map(int, about.split("\t"))
        except ValueError:
            raise TmuxError(f"tmux answered something that is no listing: {about[:120]!r}") from None
        rows = {row.partition("\t")[0]: row for row in found}
        return (
            ServerIdentity(pid, started),
            now,
            {pane: row for pane, row in rows.items() if pane not in self._not_ours},
        )

    def _list_dear(self) -> Snapshot:
        nonce = secrets.token_hex(6)
        words = listing(nonce)
        middle = words.index(";")
        return parse_listing(self._ask(line(command(*words[:middle]), command(*words[middle + 1 :]))), nonce)

    def _ask(self, text: str) -> str:
        [reply] = self._link.run([text], timeout=self._timeout, repeatable=True)
        if not reply.ok:
            if _EMPTY in reply.error:  # its last session has ended, and it is about to
                raise NoServer("the tmux server has no sessions")
            raise TmuxError(f"tmux: {reply.error[:300]}")
        return reply.text

    def _follow(self, server: ServerIdentity | None, rows: Mapping[str, str]) -> dict[str, PaneFacts] | None:
        """The panes with the cheap fields of now; None when what is dear has to be looked at, too."""
        due = self._dear_at is None or self._clock() - self._dear_at >= self._dear_every
        if due or server != self._server or rows.keys() - self._panes.keys():
            return None
        panes = {}
        for pane_id, row in rows.items():
            before = self._rows[pane_id]
            if row == before:
                panes[pane_id] = self._panes[pane_id]
                continue
            new, old = _row(row), _row(before)
            if (new.window_name, new.dead) != (old.window_name, old.dead):
                return None
            panes[pane_id] = _with(self._panes[pane_id], new)
        return panes

    # Screens

    def _read_tails(self, server: ServerIdentity | None, panes: Mapping[str, PaneFacts], now: int) -> dict[str, str]:
        """The screens that are different, of those in whose windows something was written since they were read."""
        read = self._read if server == self._server else {}
        moved = []
        for pane_id, pane in panes.items():
            # tmux tells the second only: what came later in the second of the last reading is not on it
            at, width, height = read.get(pane_id, (-1, 0, 0))
            if pane.activity >= at or (pane.width, pane.height) != (width, height):
                moved.append(pane)
        lines = [command("capture-pane", "-p", "-t", pane.pane_id) for pane in moved]
        replies = self._link.run(lines, timeout=self._timeout, repeatable=True) if lines else []
        self._read = {pane_id: seen for pane_id, seen in read.items() if pane_id in panes}
        tails = {}
        for pane, reply in zip(moved, replies, strict=True):
            if not reply.ok:  # it ended since; the next turn tells
                continue
            self._read[pane.pane_id] = (now, pane.width, pane.height)
            text = "\n".join(reply.text.rstrip().split("\n")[-self._tail :])
            if server != self._server or self._tails.get(pane.pane_id) != text:
                tails[pane.pane_id] = text
        return tails

    # What is different

    def _conclude(
        self,
        server: ServerIdentity | None,
        rows: dict[str, str],
        panes: dict[str, PaneFacts],
        tails: dict[str, str],
    ) -> Changes:
        before = self._panes
        known = before if server == self._server else {}
        appeared = tuple(pane for pane_id, pane in panes.items() if pane_id not in known)
        changed = tuple(
            Changed(pane, fields)
            for pane_id, pane in panes.items()
            if pane_id in known and pane is not known[pane_id] and (fields := _differences(known[pane_id], pane))
        )
        gone = tuple(pane for pane_id, pane in before.items() if pane_id not in panes or pane_id not in known)
        kept = self._tails if server == self._server else {}
        self._tails = {pane_id: text for pane_id, text in (kept | tails).items() if pane_id in panes}
        self._server, self._rows, self._panes = server, rows, panes
        if server is None:
            self._dear_at, self._read, self._not_ours = None, {}, set()
        if panes.keys() - rows.keys():  # one was made between the two listings
            self._dear_at = None
        return Changes(server, appeared, changed, gone, tails)


def _row(text: str) -> _Row:
    fields = text.split("\t", len(_FIELDS) - 1)
    if len(fields) < len(_FIELDS):
        raise TmuxError(f"tmux left fields out of a listing: {text[:120]!r}")
    return _Row(*fields)


def _with(pane: PaneFacts, row: _Row) -> PaneFacts:
    """The pane with what a row says."""
    try:
        return pane._replace(activity=int(row.activity), title=row.title)
    except ValueError:
        raise TmuxError(f"tmux answered something that is no listing: {row!r:.120}") from None


def _differences(old: PaneFacts, new: PaneFacts) -> tuple[str, ...]:
    return tuple(name for name in _COMPARED if getattr(old, name) != getattr(new, name))
