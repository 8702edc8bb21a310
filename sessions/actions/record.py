"""What became of a session, written by compare-and-swap with its event."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone

from events import log
from events.models import Level
from sessions.drivers.tmux import Created, PaneFacts
from sessions.models import Session
from sessions.states import Runs, SessionState


def record_created(session: Session, made: Created | PaneFacts, *, now: datetime) -> bool:
    """tmux has it."""
    what = "runs" if session.runs == Runs.AGENT else "runs a shell"
    why = f": {session.reason}" if session.reason else ""
    return log.change(
        session,
        SessionState.RUNNING,
        before=[SessionState.STARTING],
        kind="session.started",
        message=f"Session {session.name} {what}{why}",
        fields={
            "tmux_session": made.session_id,
            "tmux_pane": made.pane_id,
            "pane_pid": made.pane_pid,
            "started_at": now,
            "active_at": now,
        },
        gaia_id=session.gaia_id,
    )


def record_failed(session: Session, reason: str) -> bool:
    """tmux did not make it."""
    return log.change(
        session,
        SessionState.FAILED,
        kind="session.failed",
        message=f"Session {session.name} could not be started: {reason}",
        level=Level.ERROR,
        fields={"problem": reason, "ended_at": timezone.now()},
        gaia_id=session.gaia_id,
    )


def exit_status(pane: PaneFacts) -> int | None:
    """How its program ended: the exit code, or a signal's number below zero; tmux may know it a moment later."""
    return -pane.dead_signal if pane.dead_signal else pane.dead_status


def record_exited(session: Session, pane: PaneFacts) -> bool:
    """Its program ended; the pane stays so that one can read why."""
    status = exit_status(pane)
    how = "" if status is None else f" by signal {-status}" if status < 0 else f" with code {status}"
    return log.change(
        session,
        SessionState.EXITED,
        kind="session.exited",
        message=f"The program of session {session.name} ended{how}",
        level=Level.WARNING,
        fields={"exit_status": status},
        code=status,
        gaia_id=session.gaia_id,
    )


def record_running_again(session: Session) -> bool:
    """Somebody respawned the pane's program."""
    return log.change(
        session,
        SessionState.RUNNING,
        before=[SessionState.EXITED],
        kind="session.respawned",
        message=f"Session {session.name} runs again",
        fields={"exit_status": None},
        gaia_id=session.gaia_id,
    )


def record_gone(session: Session, problem: str) -> bool:
    """It vanished from tmux without GAIA's doing; not when somebody is ending it just now."""
    return log.change(
        session,
        SessionState.GONE,
        kind="session.gone",
        message=f"Session {session.name} is gone: {problem}",
        level=Level.WARNING,
        fields={"problem": problem, "ended_at": timezone.now()},
        only={"stop_requested_at": None},
        gaia_id=session.gaia_id,
    )


def record_stopped(session: Session) -> bool:
    """GAIA ended it."""
    return log.change(
        session,
        SessionState.STOPPED,
        kind="session.stopped",
        message=f"Session {session.name} was stopped",
        fields={"ended_at": timezone.now()},
        gaia_id=session.gaia_id,
    )


def record_renamed(session: Session, name: str) -> bool:
    """Somebody renamed it in tmux; here it keeps its name, by which the fleet knows it. Empty when renamed back."""
    told = f"is called {name} in tmux now" if name else "has its own name in tmux again"
    with log.atomic():
        changed = Session.objects.live().filter(pk=session.pk).exclude(tmux_name=name).update(tmux_name=name)
        if changed:
            log.emit("session.renamed", subject=session.key, message=f"Session {session.name} {told}", tmux_name=name)
    session.tmux_name = name
    return bool(changed)


def request_stop(sessions: Iterable[Session]) -> None:
    """Somebody is about to end them: whoever sees one vanish knows why, and whoever comes later finishes it."""
    now = timezone.now()
    with log.atomic():
        for session in sessions:
            live = Session.objects.live().filter(pk=session.pk, stop_requested_at=None)
            if live.update(stop_requested_at=now):
                session.stop_requested_at = now
                told = f"Stop of session {session.name} was asked for"
                log.emit("session.stop_requested", subject=session.key, message=told, gaia_id=session.gaia_id)
