"""What a tmux server has now."""

from __future__ import annotations

from sessions.drivers.tmux import PaneFacts, TmuxServer


def pane_of(server: TmuxServer, name: str) -> PaneFacts:
    """The pane of a session, as the server has it now."""
    return next(pane for pane in server.snapshot().panes if pane.session_name == name)
