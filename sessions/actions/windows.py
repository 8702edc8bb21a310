"""What one does with windows and panes of a session besides its agent's pane.

Opening, splitting, resizing and closing is for GAIA's own sessions; of one that it has adopted only the pane is GAIA's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import Conflict, GaiaError, InvalidInput
from events import log
from events.models import Level
from policy.panic import check_calm
from processes.drivers.liveness import identify
from sessions.actions.control import check_managed, check_text, enter_delay
from sessions.actions.keyboard import Keys, type_once
from sessions.actions.start import launch_of
from sessions.drivers import tmux_windows
from sessions.drivers.pane_programs import Program, ended_for_sure
from sessions.drivers.tmux_capture import PAGE
from sessions.drivers.tmux_keys import check_key
from sessions.drivers.tmux_windows import LARGEST, LONGEST_NAME, SMALLEST, Opened, Pane
from sessions.models import Session
from sessions.providers import SYSTEM
from sessions.server import server_of, tmux_server
from sessions.windows import find_pane, find_window, is_own, place, windows_of

__all__ = [
    "LARGEST",
    "LONGEST_NAME",
    "PAGE",
    "SMALLEST",
    "Opened",
    "capture",
    "close_pane",
    "close_window",
    "open_window",
    "resize_pane",
    "resize_window",
    "send_key",
    "send_keys",
    "split",
]


def open_window(session: Session, *, name: str = "", command: Sequence[str] = (), cwd: str = "") -> Opened:
    """Open a window in a session; what attached terminals show stays as it is.

    Args:
        name: of the window; empty for the program's.
        command: the program and its arguments, which becomes the pane's own process; empty for a shell.
        cwd: absolute path of a directory; empty for the session's.

    Raises: Conflict when the session is not GAIA's own or has ended; PanicHolds; InvalidInput; TmuxError.
    """
    _check_own(session)
    check_calm(f"nothing was opened in {session.name}")
    directory = _directory(session, cwd)
    window, own = find_pane(session, windows_of(session))
    with _told(session, "session.window_opened", f"A window is opened in {session.name}"):
        return tmux_windows.open_window(
            tmux_server(), window.session_id, own, name=name, cwd=directory, argv=_argv(command)
        )  # fmt: skip


def split(
    session: Session,
    window: str = "",
    pane: str = "",
    *,
    beside: bool = False,
    percent: int = 50,
    command: Sequence[str] = (),
    cwd: str = "",
) -> Opened:
    """Split a pane of a session in two.

    Args:
        window, pane: as for `find_pane`.
        beside: the new one comes to its right, else below it.
        percent: how much of the place the new one gets.
        command, cwd: as for `open_window`.

    Raises: Conflict, also when there is no room; NotFound; as `open_window`.
    """
    _check_own(session)
    check_calm(f"nothing was opened in {session.name}")
    directory = _directory(session, cwd)
    found, chosen = find_pane(session, windows_of(session), window, pane)
    with _told(session, "session.pane_opened", f"Pane {place(found, chosen)} of {session.name} is split"):
        return tmux_windows.split_pane(
            tmux_server(), chosen, beside=beside, percent=percent, cwd=directory, argv=_argv(command)
        )  # fmt: skip


def close_pane(session: Session, window: str, pane: str) -> None:
    """Close a pane with what runs in it, also what ignores that. The agent's own is not closed this way.

    Raises: Conflict, NotFound; TmuxError.
    """
    _check_own(session)
    found, chosen = find_pane(session, windows_of(session), window, pane)
    _check_closable(session, (chosen,))
    told = f"Pane {place(found, chosen)} of {session.name} is closed"
    with _told(session, "session.pane_closed", told), ended_for_sure(_programs(session, (chosen,))):
        tmux_windows.close_pane(tmux_server(), chosen)


def close_window(session: Session, window: str) -> None:
    """Close a window with what runs in it, also what ignores that. The agent's own is not closed this way.

    Raises: Conflict, NotFound; TmuxError.
    """
    _check_own(session)
    found = find_window(session, windows_of(session), window)
    _check_closable(session, found.panes)
    told = f"Window {found.index} of {session.name} is closed"
    with _told(session, "session.window_closed", told), ended_for_sure(_programs(session, found.panes)):
        tmux_windows.close_window(tmux_server(), found)


def resize_pane(session: Session, window: str, pane: str, *, width: int | None, height: int | None) -> None:
    """Give a pane another size, in cells, as far as its neighbours can give or take.

    Raises: InvalidInput when neither is given; Conflict, NotFound; TmuxError.
    """
    _check_own(session)
    if width is None and height is None:
        raise InvalidInput("there is no size", fix="Give a width, a height, or both.")
    found, chosen = find_pane(session, windows_of(session), window, pane)
    with _told(session, "session.resized", f"Pane {place(found, chosen)} of {session.name} is resized"):
        tmux_windows.resize_pane(tmux_server(), chosen, width=width, height=height)


def resize_window(session: Session, window: str, *, width: int | None, height: int | None) -> None:
    """Give a window a size, in cells, that stays whoever looks at it; with neither, it follows its terminals again.

    Args:
        window: empty: the one with the agent's pane.

    Raises: InvalidInput, Conflict, NotFound; TmuxError.
    """
    _check_own(session)
    found, _ = find_pane(session, windows_of(session), window)
    with _told(session, "session.resized", f"Window {found.index} of {session.name} is resized"):
        tmux_windows.resize_window(tmux_server(), found, width=width, height=height)


def send_keys(
    session: Session, window: str, pane: str, text: str, *, enter: bool = True, idempotency_key: str | None = None
) -> None:
    """`control.send_keys` into one of a session's panes.

    Raises: as that; NotFound.
    """
    check_text(text, enter=enter)

    def write(chosen: Pane) -> None:
        delay = enter_delay(session) if enter and text and is_own(session, chosen) else 0.0
        server_of(session).send_keys(
            chosen.pane_id, text, enter=enter, enter_delay=delay, process=chosen.process
        )  # fmt: skip

    told = f"{len(text)} characters go" if text else "Enter goes"
    keys = Keys("session.keys_sent", f"{told} to pane {window}.{pane}", ("text", text, enter, window, pane))
    type_once(session, keys, _typed_into(window, pane), write, idempotency_key=idempotency_key)


def send_key(session: Session, window: str, pane: str, key: str, *, idempotency_key: str | None = None) -> None:
    """`control.send_key` into one of a session's panes.

    Raises: as that; NotFound.
    """
    check_key(key)

    def write(chosen: Pane) -> None:
        server_of(session).send_key(chosen.pane_id, key, process=chosen.process)

    keys = Keys("session.key_sent", f"{key} goes to pane {window}.{pane}", ("key", key, window, pane))
    type_once(session, keys, _typed_into(window, pane), write, idempotency_key=idempotency_key)


def capture(
    session: Session, window: str, pane: str, *, lines: int | None = None, before: int | None = None, ansi: bool = False
) -> dict[str, Any]:
    """A page of what a pane shows and has shown.

    Args:
        lines: how many, at most 2,000: reading 50,000 at once stops tmux for half a second. None: as many as it shows.
        before: the page ends before the line of this number, 0 being the oldest that tmux still has; None for the end.

    Returns: `text`; `first`, the number of its first line; `total`, how many there are; `before`, which gives the page
        above this one, None when there is none.
    Raises: InvalidInput, Conflict, NotFound; TmuxError.
    """
    if lines is not None and not 1 <= lines <= PAGE:
        raise InvalidInput(f"lines must be 1 to {PAGE}, not {lines}", fix="Ask for the rest with before=.")
    if before is not None and before < 0:
        raise InvalidInput(f"before must be 0 or more, not {before}")
    _, chosen = find_pane(session, windows_of(session), window, pane)
    page = server_of(session).capture_page(
        chosen.pane_id,
        lines=min(lines or chosen.height, PAGE),
        height=chosen.height,
        before=before,
        ansi=ansi,
        process=chosen.process,
    )
    above = page.first or None
    return {"text": "\n".join(page.rows), "first": page.first, "total": page.total, "before": above}


def _typed_into(window: str, pane: str) -> Callable[[Session], Pane]:
    def find(session: Session) -> Pane:
        check_managed([session])
        found, chosen = find_pane(session, windows_of(session), window, pane)
        if session.socket and not is_own(session, chosen):
            raise _only_its_pane(session)
        if chosen.dead:
            raise Conflict(
                f"the program in pane {place(found, chosen)} of {session.name} has ended, so nothing was typed",
                meaning="tmux keeps its screen; nobody would read what is typed there.",
            )
        return chosen

    return find


def _check_own(session: Session) -> None:
    check_managed([session])
    if session.socket:
        raise _only_its_pane(session)


def _only_its_pane(session: Session) -> Conflict:
    return Conflict(
        f"of session {session.name} only its pane is adopted",
        meaning=f"What else its tmux session on {session.socket} has, GAIA looks at and leaves alone.",
        fix="Do it in tmux yourself.",
        socket=session.socket,
    )


def _check_closable(session: Session, panes: Sequence[Pane]) -> None:
    if any(is_own(session, pane) for pane in panes):
        raise Conflict(
            f"the agent of session {session.name} runs there",
            meaning="Its pane is the session.",
            fix=f"End it with the session: gaia session destroy {session.name}.",
        )
    if any(pane.gaia_id for pane in panes):
        raise Conflict(
            "another session's agent runs there",
            meaning="Somebody moved its pane into this window.",
            fix="gaia session list names the sessions; gaia session destroy NAME ends one.",
        )


def _programs(session: Session, panes: Sequence[Pane]) -> list[Program]:
    """As the session's: what they start carries its mark, too."""
    living = [(pane.pid, identify(pane.pid)) for pane in panes if not pane.dead]
    return [Program(session.gaia_id, pid, found.start_ticks) for pid, found in living if found is not None]


def _directory(session: Session, cwd: str) -> Path:
    chosen = cwd or session.cwd
    if not (os.path.isabs(chosen) and os.path.isdir(chosen)):
        raise InvalidInput(
            f"{chosen} is not a directory", fix="Give the absolute path of one that exists.", path=chosen
        )
    return Path(chosen)


def _argv(command: Sequence[str]) -> Sequence[str]:
    return command or launch_of(SYSTEM).argv


@contextmanager
def _told(session: Session, kind: str, message: str) -> Iterator[None]:
    """The event comes first, so that whoever is killed leaves a trace; a failure gets a second one."""
    with log.atomic():
        log.emit(kind, subject=session.key, message=message, gaia_id=session.gaia_id)
    try:
        yield
    except GaiaError as error:
        with log.atomic():
            log.emit(
                "session.window_failed", subject=session.key, message=f"{message}: it did not come to that",
                level=Level.WARNING, gaia_id=session.gaia_id, code=error.code,
            )  # fmt: skip
        raise
