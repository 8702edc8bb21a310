"""Windows and panes of one tmux session: what there is, and opening, splitting, resizing, closing them.

libtmux forks once for each of these and finds a pane by a number that a restarted server has given to another one. Here
tmux compares server, pane and process (`tmux_facts.PROCESS`) in the same step in which it acts.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.errors import Conflict, InvalidInput
from sessions.drivers.tmux_client import failed
from sessions.drivers.tmux_create import EXEC
from sessions.drivers.tmux_errors import PaneMissing, TmuxError
from sessions.drivers.tmux_facts import GAIA_ID, PROCESS
from sessions.drivers.tmux_keys import check_id, check_process
from sessions.drivers.tmux_panes import TIMEOUT, TmuxPanes
from sessions.drivers.tmux_script import check_text, command, literal_format

LONGEST_NAME = 100  # characters of a window's name
SMALLEST, LARGEST = 1, 10_000  # cells

_LOOK_TIMEOUT = 2.0
_SESSION = re.compile(r"\$\d+")
_OPENED = re.compile(r"^gaia-opened (@\d+) (%\d+)$", re.MULTILINE)
_OTHER, _DONE, _KEPT = "gaia-other", "gaia-done", "gaia-kept"


@dataclass(frozen=True)
class Pane:
    """One pane of a window, sizes and places in cells."""

    pane_id: str
    index: int
    active: bool  # it has its window's focus
    process: str  # server and process, as `PROCESS` gives them
    pid: int
    dead: bool
    dead_status: int | None
    in_mode: bool
    width: int
    height: int
    left: int
    top: int
    history: int  # lines of scrollback
    gaia_id: str  # empty for panes that are no session's own
    title: str
    command: str
    cwd: str


@dataclass(frozen=True)
class Window:
    """One window of a session, with its panes by their index."""

    session_id: str
    window_id: str
    index: int
    name: str
    active: bool  # it is what an attached terminal shows
    width: int
    height: int
    panes: tuple[Pane, ...]


class Opened(NamedTuple):
    """A window or pane that was made."""

    window_id: str
    pane_id: str


_NUMBERS = (
    "window_index", "window_active", "window_width", "window_height", "pane_index", "pane_active", "pane_pid",
    "pane_dead", "pane_dead_status", "pane_in_mode", "pane_width", "pane_height", "pane_left", "pane_top",
    "history_size",
)  # fmt: skip
# What a program can choose comes last, see `tmux_facts`. Nothing but the directory may hold a newline.
_FIELDS = (
    "session_id",
    "window_id",
    "pane_id",
    *_NUMBERS,
    GAIA_ID,
    "window_name",
    "pane_title",
    "pane_current_command",
)
_ROW = "\t".join((PROCESS, *(f"#{{{field}}}" for field in (*_FIELDS, "pane_current_path"))))


def list_windows(server: TmuxPanes, session_id: str) -> tuple[Window, ...]:
    """The windows of a session, by their index.

    Raises: PaneMissing when there is no such session; NoServer, TmuxHung, TmuxError.
    """
    if not _SESSION.fullmatch(session_id):
        raise InvalidInput(f"{session_id!r} is not the id of a tmux session")
    nonce = secrets.token_hex(6)
    words = ["list-panes", "-s", "-t", session_id, "-F", f"{nonce}\t{_ROW}"]
    completed = server.client.call(words, timeout=_LOOK_TIMEOUT)
    if not completed.ok:
        if "can't find" in completed.stderr:
            raise PaneMissing(f"there is no tmux session {session_id}", fix="`gaia session list` shows what runs.")
        raise failed(completed)
    _, *rows = f"\n{completed.stdout}".split(f"\n{nonce}\t")
    windows: dict[str, tuple[Mapping[str, str], list[Pane]]] = {}
    for row in rows:
        fields = _parse(row)
        windows.setdefault(fields["window_id"], (fields, []))[1].append(_pane(fields))
    found = [_window(fields, panes) for fields, panes in windows.values()]
    return tuple(sorted(found, key=lambda window: window.index))


def open_window(
    server: TmuxPanes, session_id: str, witness: Pane, *, name: str, cwd: Path, argv: Sequence[str]
) -> Opened:
    """Open a window behind the session's others; what attached terminals show stays as it is.

    Args:
        witness: a pane of that session; that it is still there proves that the session is the one that is meant.
        name: of the window; empty for the program's.
        cwd: an existing directory.
        argv: the program, which becomes the pane's own process.

    Raises: InvalidInput; PaneMissing; NoServer, TmuxHung, TmuxError.
    """
    named = ["-n", literal_format(_check_name(name))] if name else []
    words = ["-d", *_print(), "-t", f"{session_id}:", *named, *_program(cwd, argv)]
    return _opened(server, witness, command("new-window", *words))


def split_pane(server: TmuxPanes, pane: Pane, *, beside: bool, percent: int, cwd: Path, argv: Sequence[str]) -> Opened:
    """Split a pane in two; the focus stays where it is.

    Args:
        beside: the new one comes to its right, else below it.
        percent: how much of the place the new one gets.
        cwd, argv: as for `open_window`.

    Raises: Conflict when there is no room; as `open_window`.
    """
    if not 1 <= percent <= 99:
        raise InvalidInput(f"{percent} % is no part of a pane", fix="Give 1 to 99.")
    words = ["-d", "-h" if beside else "-v", "-l", f"{percent}%", *_print(), "-t", pane.pane_id, *_program(cwd, argv)]
    return _opened(server, pane, command("split-window", *words))


def close_pane(server: TmuxPanes, pane: Pane) -> None:
    """Close a pane that is no session's own, with what runs in it; its window goes with its last pane.

    Raises: Conflict when it is a session's own by now; PaneMissing; NoServer, TmuxHung, TmuxError.
    """
    _close(server, pane, f"#{{{GAIA_ID}}}", command("kill-pane", "-t", pane.pane_id))


def close_window(server: TmuxPanes, window: Window) -> None:
    """Close a window that holds no session's own pane, with what runs in it.

    Raises: as `close_pane`.
    """
    pane = window.panes[0]
    _close(server, pane, f"#{{P:#{{{GAIA_ID}}}}}", command("kill-window", "-t", check_id(window.window_id)))


def resize_pane(server: TmuxPanes, pane: Pane, *, width: int | None, height: int | None) -> None:
    """Give a pane another size, as far as its neighbours can give or take; a window's only pane has its window's.

    Raises: InvalidInput; PaneMissing; NoServer, TmuxHung, TmuxError.
    """
    _guarded(server, pane, [command("resize-pane", "-t", pane.pane_id, *_size(width, height))])


def resize_window(server: TmuxPanes, window: Window, *, width: int | None, height: int | None) -> None:
    """Give a window a size that stays whoever looks at it; with neither, it follows its terminals again.

    Raises: as `resize_pane`.
    """
    check_id(window.window_id)
    if width is None and height is None:
        line = command("set-option", "-w", "-u", "-t", window.window_id, "window-size")
    else:
        line = command("resize-window", "-t", window.window_id, *_size(width, height))
    _guarded(server, window.panes[0], [line])


def make_read_only(server: TmuxPanes) -> int:
    """Make read-only every terminal that is attached to the server, for good; programs' clients (tmux -C) stay.

    Returns: how many there were that could write.
    Raises: NoServer, TmuxHung, TmuxError.
    """
    words = ["list-clients", "-F", "#{client_readonly}#{client_control_mode}\t#{client_name}"]
    completed = server.client.call(words, timeout=_LOOK_TIMEOUT)
    if not completed.ok:
        raise failed(completed)
    writing = [name for kind, _, name in (row.partition("\t") for row in completed.stdout.splitlines()) if kind == "00"]
    lines = [command("refresh-client", "-t", name, "-f", "read-only") for name in writing]
    if lines:
        server.client.script(lines, timeout=TIMEOUT)  # one that has left meanwhile is no failure
    return len(writing)


def _parse(row: str) -> dict[str, str]:
    names = ("process", *_FIELDS, "cwd")
    fields = row.removesuffix("\n").split("\t", len(names) - 1)
    if len(fields) != len(names):
        raise TmuxError(f"tmux answered something that is no listing: {row[:120]!r}")
    return dict(zip(names, fields, strict=True))


def _pane(fields: Mapping[str, str]) -> Pane:
    try:
        return Pane(
            fields["pane_id"], int(fields["pane_index"]), fields["pane_active"] == "1", fields["process"],
            int(fields["pane_pid"]), fields["pane_dead"] == "1",
            int(fields["pane_dead_status"]) if fields["pane_dead_status"] else None,
            fields["pane_in_mode"] not in ("", "0"), int(fields["pane_width"]), int(fields["pane_height"]),
            int(fields["pane_left"]), int(fields["pane_top"]), int(fields["history_size"] or 0), fields[GAIA_ID],
            fields["pane_title"], fields["pane_current_command"], fields["cwd"],
        )  # fmt: skip
    except ValueError:
        raise TmuxError(f"tmux answered something that is no listing: {dict(fields)!r:.200}") from None


def _window(fields: Mapping[str, str], panes: Sequence[Pane]) -> Window:
    return Window(
        fields["session_id"],
        fields["window_id"],
        int(fields["window_index"]),
        fields["window_name"],
        fields["window_active"] == "1",
        int(fields["window_width"]),
        int(fields["window_height"]),
        tuple(sorted(panes, key=lambda pane: pane.index)),
    )


def _check_name(name: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"a window's name is one line of at most {LONGEST_NAME} characters")
    return check_text(name, what="the window's name")


def _print() -> list[str]:
    return ["-P", "-F", "gaia-opened #{window_id} #{pane_id}"]


def _program(cwd: Path, argv: Sequence[str]) -> list[str]:
    if not argv or not argv[0]:
        raise InvalidInput("no program was given")
    for word in argv:
        check_text(word, what="an argument")
    return ["-c", literal_format(check_text(str(cwd), what="the directory's name")), "--", *EXEC, *argv]


def _size(width: int | None, height: int | None) -> list[str]:
    for cells in (width, height):
        if cells is not None and not SMALLEST <= cells <= LARGEST:
            raise InvalidInput(f"{cells} cells are no size", fix=f"Give {SMALLEST} to {LARGEST}.")
    return [
        word
        for flag, cells in (("-x", width), ("-y", height))
        if cells is not None
        for word in (flag, str(cells))
    ]  # fmt: skip


def _opened(server: TmuxPanes, pane: Pane, line: str) -> Opened:
    answer = _ask(server, pane, [line])
    found = _OPENED.search(answer)
    if found is None:
        raise TmuxError(f"tmux did not say what it opened: {answer[:120]!r}")
    return Opened(found[1], found[2])


def _close(server: TmuxPanes, pane: Pane, marks: str, line: str) -> None:
    """Run the line if these marks are empty; what it closes may take the server with it."""
    test = command("if-shell", "-F", "-t", pane.pane_id, marks)
    with suppress(_Ended):
        if _KEPT in _ask(server, pane, [f"{test} {{ {_say(_KEPT)} }} {{ {_say(_DONE)} ; {line} }}"]):
            raise Conflict("a session's own pane is there by now", fix="gaia session windows NAME shows what there is.")


def _guarded(server: TmuxPanes, pane: Pane, lines: Sequence[str]) -> None:
    _ask(server, pane, [*lines, _say(_DONE)])


class _Ended(TmuxError):
    """The server went away while it did what it was asked."""


def _ask(server: TmuxPanes, pane: Pane, lines: Sequence[str]) -> str:
    """Run the commands if the pane is still that process on that server. Raises: PaneMissing, Conflict, TmuxError."""
    same = f"#{{==:{PROCESS},{check_process(pane.process)}}}"
    test = command("if-shell", "-F", "-t", check_id(pane.pane_id), same)
    completed = server.client.script(
        [f"{test} {{ {' ; '.join(lines)} }} {{ {_say(_OTHER)} }}"], timeout=TIMEOUT, tries=1
    )
    if _OTHER in completed.stdout.splitlines() or "can't find" in completed.stderr:
        raise PaneMissing(f"there is no pane {pane.pane_id} any more", fix="gaia session windows NAME shows them.")
    if "no space for" in completed.stderr:
        raise Conflict(
            "there is no room to split this pane", fix="Resize its window first, or open one: gaia session open NAME."
        )
    if not completed.ok:
        raise _Ended("the tmux server ended") if _DONE in completed.stdout else failed(completed)
    return completed.stdout


def _say(word: str) -> str:
    return command("display-message", "-p", word)
