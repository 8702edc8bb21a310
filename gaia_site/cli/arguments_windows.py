"""The grammar of the verbs for windows and panes of a session, and of `gaia panic`."""

from __future__ import annotations

import argparse

from gaia_site.cli.grammar import SESSION, Parser, Verbs, add_verb, completed_by, number

_CELLS = number("a size in cells", 1, 10_000)


def add_windows(session: Verbs[Parser]) -> None:
    """`gaia session windows`, `open`, `split`, `close`, `resize`."""
    windows = add_verb(session, "windows", "window:windows", "windows and panes of a session")
    _session(windows)
    windows.add_argument("--socket", default="", help="of its tmux server, a path or its last part, such as default")
    open_ = add_verb(session, "open", "window:open_", "open a window in a session, beside its agent's")
    _session(open_)
    open_.add_argument("--name", dest="title", default="", metavar="TITLE", help="of the window (default: its program)")
    _program(open_)
    split = add_verb(session, "split", "window:split", "split a pane of a session in two")
    _session(split)
    add_place(split)
    split.add_argument("--beside", action="store_true", help="the new one comes to its right, else below it")
    percent = number("a part in percent", 1, 99)
    split.add_argument("--percent", type=percent, default=50, metavar="N", help="of the place for it (default 50)")
    _program(split)
    close = add_verb(session, "close", "window:close", "close a window, or a pane, with what runs in it")
    _session(close)
    add_place(close)
    resize = add_verb(session, "resize", "window:resize", "give a window, or a pane, another size")
    _session(resize)
    add_place(resize)
    resize.add_argument("--width", type=_CELLS, metavar="N", help="in cells")
    resize.add_argument(
        "--height", type=_CELLS, metavar="N", help="in cells; with no size a window follows its terminals"
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Which window and pane."""
    parser.add_argument("--window", default="", metavar="W", help="by index or id, such as 1 or @3")
    parser.add_argument("--pane", default="", metavar="P", help="by index or id, such as 0 or %%3")


def add_panic(verbs: Verbs[Parser]) -> None:
    """`gaia panic`."""
    panic = add_verb(verbs, "panic", "panic:panic", "refuse all input to all sessions, until --lift; agents go on")
    panic.add_argument("reason", nargs="*", default=[], metavar="REASON", help="why, for those who are refused")
    panic.add_argument("--lift", action="store_true", help="let people and programs type again")
    panic.add_argument("--status", action="store_true", help="say whether a panic holds; ends with 1 when one does")


def _session(parser: argparse.ArgumentParser) -> None:
    completed_by(parser.add_argument("name", metavar="NAME", help="which session"), SESSION)


def _program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--command", default="", help="program and arguments, in one word (default: a shell)")
    parser.add_argument("--cwd", default="", metavar="DIR", help="directory (default: the session's)")
