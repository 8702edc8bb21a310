"""Waiting for what another process does: ask again until it is so, never sleep and hope."""

from __future__ import annotations

from collections.abc import Callable

from libtmux.test.retry import retry_until

from sessions.drivers.tmux import PaneFacts, TmuxServer


def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Return when the condition holds; fail when it does not within so many seconds."""
    assert retry_until(lambda: bool(condition()), seconds, interval=0.02, raises=False), "it did not come to pass"


def pane_of(server: TmuxServer, name: str) -> PaneFacts:
    """The pane of a session, as the server has it now."""
    return next(pane for pane in server.snapshot().panes if pane.session_name == name)
