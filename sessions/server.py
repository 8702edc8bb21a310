"""GAIA's own tmux server, as the settings describe it, and the right to change which sessions it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings

from common.files import file_lock
from sessions.drivers.tmux import TmuxServer, write_config

_WAIT_S = 30.0


@cache
def tmux_server() -> TmuxServer:
    """The driver for the server of this home; its configuration file is written when it differs."""
    home = settings.GAIA.home
    config = home.run / "tmux.conf"
    limit = settings.GAIA["sessions.history_limit"]
    write_config(config, history_limit=limit)
    return TmuxServer(home.tmux_socket_name, config=config, history_limit=limit)


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
