"""What became of a session, written by compare-and-swap with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from events import log
from events.models import Level
from sessions.drivers.tmux import Created
from sessions.models import Session
from sessions.states import SESSION_ACTIVE, SessionState


def record_created(session: Session, made: Created, *, now: datetime) -> bool:
    """tmux has it."""
    what = (
        "runs" if session.runs == "agent" else f"runs a shell: {session.reason}" if session.reason else "runs a shell"
    )
    return _move(
        session,
        (SessionState.STARTING,),
        SessionState.RUNNING,
        kind="session.started",
        message=f"Session {session.name} {what}",
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


def record_exited(session: Session, status: int | None) -> bool:
    """Its program ended; the pane stays so that one can read why."""
    return _move(
        session,
        (SessionState.STARTING, SessionState.RUNNING),
        SessionState.EXITED,
        kind="session.exited",
        message=f"The program of session {session.name} ended" + ("" if status is None else f" with code {status}"),
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
    """It vanished from tmux without GAIA's doing."""
    return _move(
        session,
        SESSION_ACTIVE,
        SessionState.GONE,
        kind="session.gone",
        message=f"Session {session.name} is gone: {problem}",
        level=Level.WARNING,
        fields={"problem": problem, "ended_at": timezone.now()},
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


def _move(
    session: Session,
    before: Sequence[str],
    after: str,
    *,
    kind: str,
    message: str,
    level: str = Level.INFO,
    fields: Mapping[str, Any] | None = None,
    **data: Any,
) -> bool:
    changes = {"state": after, **(fields or {})}
    with log.atomic():
        changed = Session.objects.filter(pk=session.pk, state__in=before).update(**changes)
        if changed:
            log.emit(kind, subject=session.key, message=message, level=level, gaia_id=session.gaia_id, **data)
    for name, value in changes.items() if changed else ():
        setattr(session, name, value)
    return bool(changed)
