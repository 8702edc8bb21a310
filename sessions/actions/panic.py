"""What a panic means for terminals: nothing is typed, from nowhere; agents go on, and their screens stay.

Whatever types into a session, however it came, asks `check_typing` at the last moment before it does; `keyboard` does
that for all of GAIA's own doors. A terminal that gives a person tmux itself asks before it is opened; those that are
open when a panic is declared go on as read-only ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from common.errors import GaiaError
from policy import panic
from sessions.drivers.tmux_windows import make_read_only
from sessions.models import Session
from sessions.server import tmux_server

LOOKING = frozenset(
    (
        "capture-pane", "display-message", "has-session", "info", "list-buffers", "list-clients", "list-commands",
        "list-keys", "list-panes", "list-sessions", "list-windows", "server-info", "show-environment", "show-hooks",
        "show-messages", "show-options", "show-window-options",
        "capturep", "display", "has", "lsb", "lsc", "lscm", "lsk", "lsp", "ls", "lsw", "showenv", "show", "showmsgs",
        "showw",
    )
)  # fmt: skip
"""Commands of tmux that only look, and their short forms, see tmux(1)."""


def check_typing(session: Session) -> None:
    """Refuse to type into a session while a panic holds.

    Raises: PanicHolds.
    """
    panic.check_calm(f"nothing was typed into {session.name}")


def check_tmux(words: Sequence[str]) -> None:
    """Refuse tmux itself while a panic holds, unless its commands only look.

    Args:
        words: of a tmux command line, `;` between commands.

    Raises: PanicHolds.
    """
    begins = [word for before, word in zip((";", *words), words, strict=False) if before.endswith(";")]
    if not begins or not {word.removesuffix(";") for word in begins} <= LOOKING:
        panic.check_calm("tmux may only be asked what there is")


def still_terminals() -> None:
    """Make every terminal that is attached to GAIA's tmux server a read-only one, until it attaches again."""
    with suppress(GaiaError):  # no server, or one that hangs: nobody types there, either
        make_read_only(tmux_server())


def keep_still() -> None:
    """For every host's daemon, again and again: a terminal that was attached since, or elsewhere, only shows, too."""
    if panic.standing() is not None:
        still_terminals()
