"""What tmux says about every pane, in one listing, parsed without trusting what the panes' programs put into it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sessions.drivers.control_session import is_control_session
from sessions.drivers.tmux_errors import TmuxError

# GAIA's marks on a pane, read back with every listing as `PaneFacts.tags`. They are pane options: a window that is
# linked into another session would show that session's options, but keeps its panes' own.
TAGS = ("name", "provider", "group", "role", "environment", "protected", "runs", "home")
GAIA_ID = "@gaia_id"
GAIA_HOME = "@gaia_home"  # on adopted panes: whose mark it is, as the name of that GAIA's own socket
PROCESS = "#{pid}/#{start_time}/#{pane_pid}"  # a pane's number means nothing without its server
HOME_SESSION = "@gaia_session"  # the session the pane was made in: a linked pane is listed under several


class ServerIdentity(NamedTuple):
    """Which tmux server it was: pane ids mean nothing without it, the next server counts from %0 again."""

    pid: int
    start_time: int  # seconds since the epoch


class PaneFacts(NamedTuple):
    """One pane as tmux sees it. Times are seconds since the epoch."""

    pane_pid: int
    dead: bool
    dead_status: int | None  # exit code of the ended program; unknown for a moment after `dead` turns true
    dead_signal: int | None  # signal that ended it (tmux ≥ 3.3)
    width: int
    height: int
    activity: int  # last output; window_activity, because session_activity ignores output
    created: int
    attached: int  # clients attached to the session
    in_mode: bool  # somebody scrolls: keys would go to tmux
    session_id: str
    window_id: str
    pane_id: str
    session_name: str
    gaia_id: str  # empty for panes that GAIA did not start
    tags: Mapping[str, str]
    title: str
    current_command: str
    cwd: str

    def process(self, server: ServerIdentity) -> str:
        """Server and process, as `PROCESS` gives them."""
        return f"{server.pid}/{server.start_time}/{self.pane_pid}"

    @property
    def ended_unnoticed(self) -> bool:
        """Whether the program has ended and tmux does not know how."""
        return self.dead and self.dead_status is None and self.dead_signal is None


@dataclass(frozen=True)
class Snapshot:
    """Everything one server has at one moment; `server` is None when none runs."""

    server: ServerIdentity | None
    panes: tuple[PaneFacts, ...]

    def by_gaia_id(self) -> dict[str, PaneFacts]:
        """The panes that GAIA started, by their id."""
        return {pane.gaia_id: pane for pane in self.panes if pane.gaia_id}


_NUMBERS = (
    "pane_pid", "pane_dead", "pane_dead_status", "pane_dead_signal", "pane_width", "pane_height",
    "window_activity", "session_created", "session_attached", "pane_in_mode",
)  # fmt: skip
_IDS = ("session_id", "window_id", "pane_id")
# Last what a program in the pane can choose: title, name of its executable, directory. A TAB in those cannot
# shift the fields before them.
_MARKS = (GAIA_ID, HOME_SESSION, *(f"@gaia_{tag}" for tag in TAGS))
_TEXTS = ("session_name", *_MARKS, "pane_title", "pane_current_command", "pane_current_path")
_FIELDS = (*_NUMBERS, *_IDS, *_TEXTS)
_LAST = len(_FIELDS) - 1
_TAGS_FROM = len(_NUMBERS) + len(_IDS) + 3
_TAGS_TO = _TAGS_FROM + len(TAGS)
_SERVER = re.compile(r"(\d+)\t(\d+)\n?")


def listing(nonce: str) -> list[str]:
    """The tmux words that list every pane of the server, after a line about the server itself.

    Args:
        nonce: a word nobody can guess that starts each row, so that a newline in a directory's name makes no row.
    """
    row = "\t".join((nonce, *(f"#{{{field}}}" for field in _FIELDS)))
    return ["display-message", "-p", "#{pid}\t#{start_time}", ";", "list-panes", "-a", "-F", row]


def parse_listing(text: str, nonce: str) -> Snapshot:
    """The snapshot in what the `listing` words printed, each linked pane once, without the panes of control sessions.

    Raises: TmuxError when it is no such listing.
    """
    server, rows = parse_rows(text, nonce)
    panes: dict[str, PaneFacts] = {}
    at_home: set[str] = set()
    for pane, is_home in rows:
        if is_control_session(pane.session_name) and not pane.gaia_id:
            continue
        if pane.pane_id not in panes or (is_home and pane.pane_id not in at_home):
            panes[pane.pane_id] = pane
        if is_home:
            at_home.add(pane.pane_id)
    return Snapshot(server, tuple(panes.values()))


def parse_rows(text: str, nonce: str) -> tuple[ServerIdentity, list[tuple[PaneFacts, bool]]]:
    """The server and its panes in what the `listing` words printed, a linked one as often as it is listed.

    With each whether it is listed in the session it was made in. Raises: TmuxError when it is no such listing.
    """
    head, *rows = text.split(f"\n{nonce}\t")
    server = _SERVER.fullmatch(head)
    if server is None:
        raise TmuxError(f"tmux answered something that is no listing: {text[:120]!r}")
    return ServerIdentity(int(server[1]), int(server[2])), [_parse_row(row) for row in rows]


def _parse_row(row: str) -> tuple[PaneFacts, bool]:
    fields = row.removesuffix("\n").split("\t", _LAST)
    if len(fields) <= _LAST:
        raise TmuxError(f"tmux left fields out of a listing: {row[:120]!r}")
    (
        pid,
        dead,
        status,
        signal,
        width,
        height,
        activity,
        created,
        attached,
        mode,
        session,
        window,
        pane,
        name,
        gaia_id,
    ) = fields[:15]
    home = fields[15]
    tags = {tag: value for tag, value in zip(TAGS, fields[_TAGS_FROM:_TAGS_TO], strict=True) if value}
    title, command, cwd = fields[_TAGS_TO:]
    try:
        facts = PaneFacts(
            int(pid), dead == "1", int(status) if status else None, _signal(signal), int(width), int(height),
            int(activity), int(created), int(attached), mode not in ("", "0"), session, window, pane, name, gaia_id,
            tags, title, command, cwd,
        )  # fmt: skip
    except ValueError:
        raise TmuxError(f"tmux answered something that is no listing: {row[:120]!r}") from None
    return facts, session == home


def _signal(text: str) -> int | None:
    """tmux gives the number; some builds give the name."""
    if not text:
        return None
    if text.isdigit():
        return int(text) or None
    import signal

    name = text if text.startswith("SIG") else f"SIG{text}"
    return int(getattr(signal, name.upper(), 0)) or None
