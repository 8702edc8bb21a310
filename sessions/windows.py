"""Which windows and panes a session's tmux session has, besides its agent's pane: looked up when somebody asks.

A session's row is one pane. The others are people's and agents' own and have no row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from common.errors import Conflict, NotFound
from sessions.actions.control import pane_of
from sessions.drivers import tmux_windows
from sessions.drivers.tmux import PaneMissing
from sessions.drivers.tmux_windows import Pane, Window
from sessions.models import Session
from sessions.server import server_of

_NUMBER = re.compile(r"[0-9]{1,9}")


def windows_of(session: Session) -> tuple[Window, ...]:
    """What a session's tmux session has now, by the windows' index.

    Raises: Conflict when it has ended or tmux no longer has it; TmuxError.
    """
    own = pane_of(session)
    try:
        found = tmux_windows.list_windows(server_of(session), own.session_id)
    except PaneMissing:
        found = ()
    panes = [pane for window in found for pane in window.panes]
    if not any((pane.pane_id, pane.pid, pane.gaia_id) == (own.pane_id, own.pane_pid, own.gaia_id) for pane in panes):
        raise Conflict(f"session {session.name} changed while it was looked at", fix="Try again.")
    return found


def describe(session: Session, windows: Sequence[Window]) -> list[dict[str, Any]]:
    """Windows as every door shows them."""
    return [
        {
            "id": window.window_id,
            "index": window.index,
            "name": window.name,
            "active": window.active,
            "width": window.width,
            "height": window.height,
            "panes": [_described(session, pane) for pane in window.panes],
        }
        for window in windows
    ]


def _described(session: Session, pane: Pane) -> dict[str, Any]:
    return {
        "id": pane.pane_id,
        "index": pane.index,
        "active": pane.active,
        "own": is_own(session, pane),
        "pid": pane.pid,
        "command": pane.command,
        "title": pane.title,
        "cwd": pane.cwd,
        "dead": pane.dead,
        "exit_status": pane.dead_status,
        "in_mode": pane.in_mode,
        "width": pane.width,
        "height": pane.height,
        "left": pane.left,
        "top": pane.top,
        "history": pane.history,
    }


def is_own(session: Session, pane: Pane) -> bool:
    """Whether it is the pane that the session's row tells of."""
    if session.foreign:
        return (pane.pane_id, pane.pid) == (session.tmux_pane, session.pane_pid)
    return pane.gaia_id == session.gaia_id


def find_window(session: Session, windows: Sequence[Window], name: str) -> Window:
    """One of a session's windows, by its id (`@3`) or its index.

    Raises: NotFound.
    """
    wanted = _index(name, "@")
    for window in windows:
        if name == window.window_id or wanted == window.index:
            return window
    has = ", ".join(f"{window.index} ({window.window_id})" for window in windows)
    raise NotFound(f"session {session.name} has no window {name}", fix=f"Windows: {has}.")


def find_pane(session: Session, windows: Sequence[Window], window: str = "", pane: str = "") -> tuple[Window, Pane]:
    """One of a session's panes, by its window and its own id (`%3`) or index.

    Args:
        window: empty: whichever has the pane of that id, else the agent's.
        pane: empty: the agent's if it is in that window, else the one with the focus.

    Raises: NotFound.
    """
    wanted = _index(pane, "%")
    if window:
        chosen = find_window(session, windows, window)
    else:
        chosen = next(each for each in windows for one in each.panes if is_own(session, one))
    among = [(each, one) for each in (windows if not window and wanted is None else (chosen,)) for one in each.panes]
    if not pane:
        among = [(each, one) for each, one in among if each is chosen]
        among.sort(key=lambda both: (not is_own(session, both[1]), not both[1].active))
        return among[0]
    for each, one in among:
        if pane == one.pane_id or wanted == one.index:
            return each, one
    has = ", ".join(f"{one.index} ({one.pane_id})" for one in chosen.panes)
    raise NotFound(f"window {chosen.index} of session {session.name} has no pane {pane}", fix=f"Panes: {has}.")


def place(window: Window, pane: Pane) -> str:
    """As tmux writes it: `0.1`."""
    return f"{window.index}.{pane.index}"


def _index(name: str, sign: str) -> int | None:
    if _NUMBER.fullmatch(name):
        return int(name)
    if name and not (name.startswith(sign) and _NUMBER.fullmatch(name[1:])):
        kind = "window" if sign == "@" else "pane"
        raise NotFound(f"{name[:40]!r} is no {kind}", fix=f"Give its index, such as 0, or its id, such as {sign}3.")
    return None
