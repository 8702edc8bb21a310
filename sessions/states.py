"""States of sessions, as data."""

from __future__ import annotations

from django.db.models import TextChoices


class SessionState(TextChoices):
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    EXITED = "exited", "Exited"  # its program has ended, tmux keeps the pane so that one can read why
    STOPPED = "stopped", "Stopped"  # GAIA ended it
    GONE = "gone", "Gone"  # it vanished from tmux without GAIA's doing
    FAILED = "failed", "Failed"  # tmux did not make it


SESSION_ACTIVE = (SessionState.STARTING, SessionState.RUNNING, SessionState.EXITED)
SESSION_TERMINAL = (SessionState.STOPPED, SessionState.GONE, SessionState.FAILED)
SESSION_TRANSITIONS: dict[str, tuple[str, ...]] = {
    SessionState.STARTING: (SessionState.RUNNING, SessionState.STOPPED, SessionState.FAILED),
    SessionState.RUNNING: (SessionState.EXITED, SessionState.STOPPED, SessionState.GONE),
    SessionState.EXITED: (SessionState.RUNNING, SessionState.STOPPED, SessionState.GONE),
}  # fmt: skip


class Origin(TextChoices):
    """Who started a session, and so what GAIA may do with it."""

    GAIA = "gaia", "GAIA's"  # on GAIA's own tmux server
    ADOPTED = "adopted", "adopted"  # somebody else's, which GAIA works with until it lets go of it
    FOREIGN = "foreign", "not GAIA's"  # somebody else's, which GAIA only looks at


class Runs(TextChoices):
    """What runs in a session's pane."""

    AGENT = "agent", "Agent"
    SHELL = "shell", "Shell"
    OTHER = "other", "Another program"


class AgentState(TextChoices):
    """What the agent in a session does; `sessions.detection` tells."""

    DETECTING = "detecting", "Detecting"  # it looks idle, and has not for long enough
    WORKING = "working", "Working"
    WAITING = "waiting", "Waiting"  # it asks for a permission, or a question
    IDLE = "idle", "Idle"
    DIALOG = "dialog", "Dialog"  # first run, trust, login, a choice of models: a person must decide
    EXITED = "exited", "Exited"  # it has ended; a shell may have its place
    UNKNOWN = "unknown", "Unknown"


class SendOutcome(TextChoices):
    """What became of a text or key that was to be typed."""

    SENDING = "sending", "Sending"  # whoever is at it holds the session's keyboard; nobody does: nobody knows
    SENT = "sent", "Sent"
    UNSURE = "unsure", "Unsure"  # some of it may have arrived
