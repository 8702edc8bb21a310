"""What became of a session, written by compare-and-swap with its event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from events import log
from events.models import Level
from sessions.drivers.tmux import Created, PaneFacts
from sessions.models import Session
from sessions.states import SESSION_ACTIVE, Runs, SessionState


def record_created(session: Session, made: Created | PaneFacts, *, now: datetime) -> bool:
    """tmux has it."""
    what = "runs" if session.runs == Runs.AGENT else "runs a shell"
    why = f": {session.reason}" if session.reason else ""
    return _move(
        session,
        (SessionState.STARTING,),
        SessionState.RUNNING,
        kind="session.started",
        message=f"Session {session.name} {what}{why}",
        fields={
            "tmux_session": made.session_id,
            "tmux_pane": made.pane_id,
            "pane_pid": made.pane_pid,
            "started_at": now,
            "active_at": now,
        },
    )


def record_failed(session: Session, reason: str) -> bool:
    """tmux did not make it."""
    return _move(
        session,
        (SessionState.STARTING,),
        SessionState.FAILED,
        kind="session.failed",
        message=f"Session {session.name} could not be started: {reason}",
        level=Level.ERROR,
        fields={"problem": reason, "ended_at": timezone.now()},
    )


def exit_status(pane: PaneFacts) -> int | None:
    """How its program ended: the exit code, or a signal's number below zero; tmux may know it a moment later."""
    return -pane.dead_signal if pane.dead_signal else pane.dead_status


def record_exited(session: Session, pane: PaneFacts) -> bool:
    """Its program ended; the pane stays so that one can read why."""
    status = exit_status(pane)
    how = "" if status is None else f" by signal {-status}" if status < 0 else f" with code {status}"
    return _move(
        session,
        (SessionState.RUNNING,),
        SessionState.EXITED,
        kind="session.exited",
        message=f"The program of session {session.name} ended{how}",
        level=Level.WARNING,
        fields={"exit_status": status},
        code=status,
    )


def record_running_again(session: Session) -> bool:
    """Somebody respawned the pane's program."""
    return _move(
        session,
        (SessionState.EXITED,),
        SessionState.RUNNING,
        kind="session.respawned",
        message=f"Session {session.name} runs again",
        fields={"exit_status": None},
    )


def record_gone(session: Session, problem: str) -> bool:
    """It vanished from tmux without GAIA's doing; not when somebody is ending it just now."""
    return _move(
        session,
        SESSION_ACTIVE,
        SessionState.GONE,
        kind="session.gone",
        message=f"Session {session.name} is gone: {problem}",
        level=Level.WARNING,
        fields={"problem": problem, "ended_at": timezone.now()},
        only={"stop_requested_at": None},
    )


def record_stopped(session: Session) -> bool:
    """GAIA ended it."""
    return _move(
        session,
        SESSION_ACTIVE,
        SessionState.STOPPED,
        kind="session.stopped",
        message=f"Session {session.name} was stopped",
        fields={"ended_at": timezone.now()},
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


def _move(
    session: Session,
    before: Sequence[str],
    after: str,
    *,
    kind: str,
    message: str,
    level: str = Level.INFO,
    fields: Mapping[str, Any] | None = None,
    only: Mapping[str, Any] | None = None,
    **data: Any,
) -> bool:
    changes = {"state": after, **(fields or {})}
    with log.atomic():
        changed = Session.objects.filter(pk=session.pk, state__in=before, **(only or {})).update(**changes)
        if changed:
            log.emit(kind, subject=session.key, message=message, level=level, gaia_id=session.gaia_id, **data)
    for name, value in changes.items() if changed else ():
        setattr(session, name, value)
    return bool(changed)
