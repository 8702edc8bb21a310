"""`gaia session windows`, `open`, `split`, `close` and `resize`."""

from __future__ import annotations

import json
import os
import shlex
from argparse import Namespace
from typing import Any

from common.errors import InvalidInput
from common.text import plain
from gaia_site.cli.ground import called_from, ready
from gaia_site.cli.session import socket_given


def windows(arguments: Namespace) -> int:
    """Show the windows and panes of a session. Returns: the exit code."""
    ready()
    from sessions.actions import control
    from sessions.windows import describe, windows_of

    session = control.find(arguments.name, socket=socket_given(arguments))
    found = describe(session, windows_of(session))
    print(json.dumps(found) if arguments.json else "\n".join(plain(line) for each in found for line in _picture(each)))
    return 0


def _picture(window: dict[str, Any]) -> list[str]:
    shown = ", shown" if window["active"] else ""
    lines = [f"window {window['index']} ({window['id']}) {window['name']}: {window['width']}x{window['height']}{shown}"]
    for pane in window["panes"]:
        status = "" if pane["exit_status"] is None else f" with {pane['exit_status']}"
        words = [
            f"{pane['width']}x{pane['height']}",
            f"ended{status}" if pane["dead"] else f"{pane['command']} (pid {pane['pid']})",
            *(["the session's own"] if pane["own"] else []),
            *(["somebody scrolls"] if pane["in_mode"] else []),
        ]
        lines.append(f"  pane {pane['index']} ({pane['id']}) {', '.join(words)}")
    return lines


def open_(arguments: Namespace) -> int:
    """Open a window. Returns: the exit code."""
    ready()
    from sessions.actions import control
    from sessions.actions import windows as actions

    session = control.find(arguments.name)
    command, cwd = _command(arguments), _directory(arguments)
    opened = actions.open_window(session, name=arguments.title, command=command, cwd=cwd)
    return _told_opened(arguments, opened)


def split(arguments: Namespace) -> int:
    """Split a pane. Returns: the exit code."""
    ready()
    from sessions.actions import control
    from sessions.actions import windows as actions

    opened = actions.split(
        control.find(arguments.name),
        arguments.window,
        arguments.pane,
        beside=arguments.beside,
        percent=arguments.percent,
        command=_command(arguments),
        cwd=_directory(arguments),
    )
    return _told_opened(arguments, opened)


def close(arguments: Namespace) -> int:
    """Close a pane, or a window when no pane is named. Returns: the exit code."""
    if not arguments.window and not arguments.pane:
        raise InvalidInput(
            "no window and no pane is named",
            meaning="Nothing was closed.",
            fix=f"gaia session close {arguments.name} --window 1; the whole session: gaia session destroy "
            f"{arguments.name}.",
        )
    ready()
    from sessions.actions import control
    from sessions.actions import windows as actions

    session = control.find(arguments.name)
    if arguments.pane:
        actions.close_pane(session, arguments.window, arguments.pane)
    else:
        actions.close_window(session, arguments.window)
    what = f"pane {arguments.pane}" if arguments.pane else f"window {arguments.window}"
    print(json.dumps({"closed": True}) if arguments.json else f"{what.capitalize()} of {session.name} is closed.")
    return 0


def resize(arguments: Namespace) -> int:
    """Give a pane, or a window when no pane is named, another size. Returns: the exit code."""
    ready()
    from sessions.actions import control
    from sessions.actions import windows as actions

    session, size = control.find(arguments.name), {"width": arguments.width, "height": arguments.height}
    if arguments.pane:
        actions.resize_pane(session, arguments.window, arguments.pane, **size)
    else:
        actions.resize_window(session, arguments.window, **size)
    if arguments.json:
        print(json.dumps({"resized": True}))
    return 0


def _told_opened(arguments: Namespace, opened: Any) -> int:
    if arguments.json:
        print(json.dumps({"window": opened.window_id, "pane": opened.pane_id}))
    else:
        print(f"Pane {opened.pane_id} in window {opened.window_id} of {arguments.name} is open.")
    return 0


def _command(arguments: Namespace) -> list[str]:
    try:
        return shlex.split(arguments.command)
    except ValueError as error:
        raise InvalidInput(f"--command cannot be read: {error}", fix="Close every quotation mark.") from error


def _directory(arguments: Namespace) -> str:
    return os.path.normpath(called_from() / os.path.expanduser(arguments.cwd)) if arguments.cwd else ""
