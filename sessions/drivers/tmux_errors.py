"""What can go wrong between GAIA and tmux."""

from __future__ import annotations

from common.errors import Conflict, NotFound, Unavailable


class TmuxError(Unavailable):
    """tmux did not do what it was asked; nothing may be concluded about the sessions."""

    code = "tmux_failed"


class NoServer(TmuxError):
    """No tmux server listens on GAIA's socket."""

    code = "tmux_no_server"


class TmuxHung(TmuxError):
    """The tmux server did not answer in time."""

    code = "tmux_hung"


class PaneMissing(NotFound):
    """The pane, window or session is not there any more."""

    code = "pane_missing"


class PaneDead(Conflict):
    """The pane's program has ended: nobody would read what is typed."""

    code = "pane_dead"


class PaneInMode(Conflict):
    """Somebody scrolls in the pane (copy mode): tmux would take the keys, not the program."""

    code = "pane_in_mode"


class NotSubmitted(Conflict):
    """The text was written into the pane, and the Enter that should have followed was not pressed, or perhaps not."""

    code = "pane_not_submitted"


NOTHING_WRITTEN = (PaneDead, PaneInMode, PaneMissing, NoServer)
"""Errors after which it is certain that nothing reached the pane."""
