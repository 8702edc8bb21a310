"""What became of a session: its state by compare-and-swap with its event, and what its pane shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from common.names import slugify
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from events import log
from events.models import Level
from processes.drivers.liveness import boot_id, identify
from sessions.drivers.tmux import Created, PaneFacts, ServerIdentity
from sessions.models import Session
from sessions.programs import Verdict
from sessions.states import Runs, SessionState


def process_of(pane_pid: int) -> dict[str, Any]:
    """Fields that tell a pane's process from a later one with its pid."""
    found = identify(pane_pid)
    return {"pane_pid": pane_pid, "pane_start_ticks": found.start_ticks if found else None, "boot_id": boot_id()}


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
            "started_at": now,
            "active_at": now,
            **process_of(made.pane_pid),
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
        level=_level(session),
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
        level=_level(session),
        fields={"problem": problem, "ended_at": timezone.now()},
        only={"stop_requested_at": None},
        gaia_id=session.gaia_id,
    )


def _level(session: Session) -> Level:
    """What others do with their own sessions needs nobody's attention."""
    return Level.INFO if session.foreign else Level.WARNING


def record_runs(session: Session, verdict: Verdict) -> bool:
    """Something else runs in its pane than was written down: a shell where its agent was, or its agent again."""
    before, fields = session.runs, {"runs": verdict.runs, "reason": verdict.reason[:300]}
    back = verdict.runs == Runs.AGENT
    told = "its agent runs again" if back else verdict.reason
    with log.atomic():
        changed = Session.objects.live().filter(pk=session.pk, runs=before).update(**fields)
        if changed:
            log.emit(
                "session.agent_back" if back else "session.agent_missing",
                subject=session.key,
                message=f"Session {session.name}: {told}",
                level=Level.INFO if back else Level.WARNING,
                gaia_id=session.gaia_id,
            )
    session.runs, session.reason = fields["runs"], fields["reason"]
    return bool(changed)


def record_stopped(session: Session, *, left: Sequence[int] = ()) -> bool:
    """GAIA ended it.

    Args:
        left: pids of it that could not be ended.
    """
    problem = f"still there, and cannot be killed: pid {', '.join(map(str, left))}" if left else ""
    return log.change(
        session,
        SessionState.STOPPED,
        kind="session.stopped",
        message=f"Session {session.name} was stopped" + (f"; {problem}" if problem else ""),
        level=Level.WARNING if problem else Level.INFO,
        fields={"ended_at": timezone.now(), **({"problem": problem} if problem else {})},
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


def shown(pane: PaneFacts, server: ServerIdentity | None) -> dict[str, Any]:
    """What a pane shows, as fields of its session."""
    return {
        "command": pane.current_command[:100],
        "title": pane.title[:300],
        "active_at": datetime.fromtimestamp(pane.activity, UTC),
        "tmux_session": pane.session_id,
        "tmux_pane": pane.pane_id,
        "pane_pid": pane.pane_pid,
        "tmux_server_pid": server.pid if server else None,
    }


def record_shown(changes: Mapping[Session, Mapping[str, Any]]) -> None:
    """What their panes show now; no event, or the log would hold nothing else. One that has ended stays as it is.

    Args:
        changes: fields by session.
    """
    for session, fields in changes.items():
        for name, value in fields.items():
            setattr(session, name, value)
    if changes:
        Session.objects.live().bulk_update(changes, sorted({name for fields in changes.values() for name in fields}))


def record_found(pane: PaneFacts, server: ServerIdentity | None) -> Session:
    """A pane with GAIA's tag and no live row: the database was lost or restored from a backup, or its row ended early.

    A past life of the pane stays as it is; what runs gets a new one.
    """
    name = free_name(slugify(pane.tags.get("name") or pane.session_name) or "session")
    past = Session.objects.filter(gaia_id=pane.gaia_id).order_by("-id").first()
    with log.atomic():
        session = Session.objects.create(
            gaia_id=pane.gaia_id,
            name=name,
            group=pane.tags.get("group", "other")[:40],
            provider=pane.tags.get("provider", "system")[:40],
            role=pane.tags.get("role", "")[:60],
            protected=pane.tags.get("protected") == "yes",
            environment=_environment(pane.tags.get("environment", "")),
            runs=Runs.AGENT if pane.tags.get("runs") == Runs.AGENT else Runs.SHELL,
            argv=past.argv if past else [],
            reason=past.reason if past else "",
            cwd=(past.cwd if past else pane.cwd)[:1000],
            state=SessionState.RUNNING,
            tmux_name="" if pane.session_name == name else pane.session_name[:200],
            started_at=datetime.fromtimestamp(pane.created, UTC),
            **{**shown(pane, server), **process_of(pane.pane_pid)},
        )
        log.emit(
            "session.found",
            subject=session.key,
            message=f"Session {name} was found in tmux",
            level=Level.WARNING,
            gaia_id=pane.gaia_id,
        )
    return session


def free_name(wanted: str) -> str:
    """The name, or with a number behind it when a live session has it."""
    taken = set(Session.objects.live().managed().filter(name__startswith=wanted[:58]).values_list("name", flat=True))
    names = (wanted if number == 1 else f"{wanted[:58]}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _environment(directory: str) -> Environment | None:
    if not directory:
        return None
    return Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE, path__endswith=f"/{directory}").first()


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
