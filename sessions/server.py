"""GAIA's own tmux server, as the settings describe it."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from sessions.drivers.tmux import TmuxServer, write_config


@cache
def tmux_server() -> TmuxServer:
    """The driver for the server of this home; its configuration file is written when it differs."""
    home = settings.GAIA.home
    config = home.run / "tmux.conf"
    limit = settings.GAIA["sessions.history_limit"]
    write_config(config, history_limit=limit)
    return TmuxServer(home.tmux_socket_name, config=config, history_limit=limit)
