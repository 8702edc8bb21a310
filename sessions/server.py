"""GAIA's own tmux server, as the settings describe it, and the right to change which sessions it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from common.files import file_lock
from common.home import Home
from common.run import CommandError
from sessions.drivers.pane_programs import Program, ended_for_sure, program_of
from sessions.drivers.tmux import TmuxError, TmuxServer, write_config
from sessions.drivers.tmux_others import OtherServer

if TYPE_CHECKING:  # needs no settings to be imported
    from sessions.models import Session

_WAIT_S = 30.0


@cache
def tmux_server() -> TmuxServer:
    """The driver for the server of this home; its configuration file is written when it differs."""
    home = settings.GAIA.home
    config = home.run / "tmux.conf"
    limit = settings.GAIA["sessions.history_limit"]
    write_config(config, history_limit=limit)
    return TmuxServer(home.tmux_socket_name, config=config, history_limit=limit)


def server_of(session: Session) -> TmuxServer | OtherServer:
    """The driver for the server that has a session: GAIA's own, or another's."""
    return OtherServer(Path(session.socket)) if session.socket else tmux_server()


def home_mark() -> str:
    """How this GAIA signs the panes of others that it has adopted."""
    return str(settings.GAIA.home.tmux_socket_name)


def end_server(home: Home) -> int:
    """End the tmux server of a home without a database, whose sessions no row tells of; how many there were.

    Needs neither settings nor a directory in the home.
    Raises: TmuxError when it does not end.
    """
    server = TmuxServer(home.tmux_socket_name)
    sessions: set[str] = set()
    programs: list[Program] = []
    with suppress(CommandError, TmuxError):  # it hangs, or there is no tmux any more: it is ended all the same
        snapshot = server.snapshot()
        sessions = {pane.session_id for pane in snapshot.panes}
        programs = [program_of(pane) for pane in snapshot.by_gaia_id().values()]
    with ended_for_sure(programs):
        server.kill_server()
    return len(sessions)


@contextmanager
def changing(*, wait: float = _WAIT_S) -> Iterator[None]:
    """Start or end sessions, alone: between a row and its pane nobody else may judge what is missing.

    The lock ends with its holder, so whoever gets it knows that a half-started session has no starter any more.

    Args:
        wait: seconds to wait for another holder.

    Raises: Conflict that names the holder.
    """
    lock = settings.GAIA.home.locks / "sessions.lock"
    with file_lock(lock, timeout=wait, what="the start or end of sessions"):
        yield
