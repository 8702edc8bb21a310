"""Level-triggered: what tmux has becomes what the rows say. Runs once a second in the daemon, and before a start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from events import log
from events.models import Level
from sessions.actions import record
from sessions.drivers.tmux import Created, PaneFacts, Snapshot
from sessions.models import Session
from sessions.server import tmux_server
from sessions.states import Runs, SessionState

# A session younger than this may not be in tmux yet: whoever starts it is between the row and the call.
_START_GRACE = timedelta(seconds=20)
# Output moves a pane's activity every second; the row follows in steps, or 500 busy sessions would be 500 writes.
_ACTIVITY_STEP = timedelta(seconds=15)


def look() -> None:
    """Compare every live row with one snapshot of tmux and write the differences.

    Rows are read before the snapshot: a session that is started in between is judged the next time.
    Raises: TmuxError when tmux hangs; nothing is concluded then.
    """
    rows = list(Session.objects.live())
    snapshot = tmux_server().snapshot()
    panes = snapshot.by_gaia_id()
    changed: list[Session] = []
    for row in rows:
        pane = panes.get(row.gaia_id)
        if pane is None:
            _absent(row, snapshot)
        elif _present(row, pane, snapshot):
            changed.append(row)
    if changed:
        Session.objects.bulk_update(
            changed,
            ["name", "command", "title", "active_at", "tmux_session", "tmux_pane", "pane_pid", "tmux_server_pid"],
        )
    known = {row.gaia_id for row in rows}
    strangers = [pane for gaia_id, pane in panes.items() if gaia_id not in known]
    if strangers:
        _adopt(strangers, snapshot)


def _absent(row: Session, snapshot: Snapshot) -> None:
    if row.state == SessionState.STARTING:
        if timezone.now() - row.created_at > _START_GRACE:
            record.record_failed(row, "whoever started it was killed before tmux had it")
        return
    record.record_gone(row, "tmux no longer has it" if snapshot.server else "its tmux server has ended")


def _present(row: Session, pane: PaneFacts, snapshot: Snapshot) -> bool:
    """Follow what the pane shows; True when fields changed that need no event."""
    server_pid = snapshot.server.pid if snapshot.server else None
    if row.state == SessionState.STARTING:
        made = Created(pane.session_name, pane.session_id, pane.pane_id, pane.pane_pid)
        record.record_created(row, made, now=timezone.now())
    if pane.dead and row.state == SessionState.RUNNING:
        record.record_exited(row, pane.dead_status)
    elif not pane.dead and row.state == SessionState.EXITED:
        record.record_running_again(row)
    facts = {
        "command": pane.current_command[:100],
        "title": pane.title[:300],
        "tmux_session": pane.session_id,
        "tmux_pane": pane.pane_id,
        "pane_pid": pane.pane_pid,
        "tmux_server_pid": server_pid,
    }
    active_at = datetime.fromtimestamp(pane.activity, UTC)
    if row.active_at is None or active_at - row.active_at >= _ACTIVITY_STEP:
        facts["active_at"] = active_at
    different = {name: value for name, value in facts.items() if getattr(row, name) != value}
    for name, value in different.items():
        setattr(row, name, value)
    return bool(different)


def _adopt(panes: list[PaneFacts], snapshot: Snapshot) -> None:
    """Panes with GAIA's tag and no live row: the database was restored from a backup, or their row ended too early."""
    for pane in panes:
        past = Session.objects.filter(gaia_id=pane.gaia_id).first()
        if past is not None:
            continue  # a terminal state never changes; the operator sees the pane in `gaia tmux ls` and may kill it
        with log.atomic():
            session = Session.objects.create(
                gaia_id=pane.gaia_id,
                name=pane.session_name[:64],
                group=pane.tags.get("group") or "other",
                provider=pane.tags.get("provider") or "system",
                role=pane.tags.get("role") or "",
                runs=pane.tags.get("runs") or Runs.SHELL,
                cwd=pane.cwd,
                state=SessionState.RUNNING,
                tmux_session=pane.session_id,
                tmux_pane=pane.pane_id,
                tmux_server_pid=snapshot.server.pid if snapshot.server else None,
                pane_pid=pane.pane_pid,
                started_at=datetime.fromtimestamp(pane.created, UTC),
                active_at=datetime.fromtimestamp(pane.activity, UTC),
            )
            log.emit(
                "session.adopted",
                subject=session.key,
                message=f"Session {session.name} was found in tmux",
                level=Level.WARNING,
            )
