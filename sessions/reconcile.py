"""Level-triggered: what tmux has becomes what the rows say. Runs once a second in the daemon, and before a start."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from common.errors import Conflict
from common.names import slugify
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from events import log
from events.models import Level
from sessions.actions import record
from sessions.drivers.tmux import PaneFacts, Snapshot
from sessions.models import Session
from sessions.server import changing, tmux_server
from sessions.states import Runs, SessionState

# Output moves a pane's activity every second; the row follows in steps, or 500 busy sessions would be 500 writes.
_ACTIVITY_STEP = timedelta(seconds=15)
_FOLLOWED = ("command", "title", "active_at", "exit_status", "tmux_session", "tmux_pane", "pane_pid", "tmux_server_pid")


def look() -> None:
    """Compare every live row with one snapshot of tmux and write the differences.

    What somebody is starting or ending is left to him while he lives, and settled when he does not.

    Raises: TmuxError when tmux hangs; nothing is concluded then.
    """
    if compare():
        with suppress(Conflict), changing(wait=0):
            settle()


def compare() -> bool:
    """One comparison. Returns: True when something is left that `settle` has to judge.

    Rows are read before the snapshot: a session that is started in between is judged the next time.
    Raises: TmuxError; nothing is concluded then.
    """
    rows = list(Session.objects.live())
    snapshot = tmux_server().snapshot()
    panes = snapshot.by_gaia_id()
    changed: list[Session] = []
    unsettled = not panes.keys() <= {row.gaia_id for row in rows}
    for row in rows:
        pane = panes.get(row.gaia_id)
        if row.stop_requested_at is not None or (pane is None and row.state == SessionState.STARTING):
            unsettled = True
        elif pane is None:
            record.record_gone(row, "tmux no longer has it" if snapshot.server else "its tmux server has ended")
        elif _follow(row, pane, snapshot):
            changed.append(row)
    if changed:
        Session.objects.bulk_update(changed, _FOLLOWED)
    return unsettled


def settle(*, unborn: str = "whoever started it was killed before tmux had it") -> None:
    """Finish what was left half done, and take in what has no row. The caller holds `changing()`: nobody is at it.

    Args:
        unborn: why a session that was asked for is not there.

    Raises: TmuxError; nothing is concluded then.
    """
    rows = {row.gaia_id: row for row in Session.objects.live()}
    snapshot = tmux_server().snapshot()
    panes = snapshot.by_gaia_id()
    ending = [row for row in rows.values() if row.stop_requested_at is not None]
    tmux_server().kill(panes[row.gaia_id].window_id for row in ending if row.gaia_id in panes)
    for row in ending:
        record.record_stopped(row)
    for row in rows.values():
        if row.state != SessionState.STARTING:
            continue
        if row.gaia_id in panes:
            record.record_created(row, panes[row.gaia_id], now=timezone.now())
        else:
            record.record_failed(row, unborn)
    for gaia_id, pane in panes.items():
        if gaia_id not in rows:
            _adopt(pane, snapshot)


def _follow(row: Session, pane: PaneFacts, snapshot: Snapshot) -> bool:
    """Follow what the pane shows; True when fields changed that need no event."""
    if row.state == SessionState.STARTING and not record.record_created(row, pane, now=timezone.now()):
        return False  # its starter was faster; the next look goes on from there
    if pane.dead and row.state == SessionState.RUNNING:
        record.record_exited(row, pane)
    elif not pane.dead and row.state == SessionState.EXITED:
        record.record_running_again(row)
    tmux_name = "" if pane.session_name == row.name else pane.session_name[:200]
    if tmux_name != row.tmux_name:
        record.record_renamed(row, tmux_name)
    facts = _facts(pane, snapshot)
    if pane.dead and row.exit_status is None:
        facts["exit_status"] = record.exit_status(pane)
    active_at = facts.pop("active_at")
    if row.active_at is None or active_at - row.active_at >= _ACTIVITY_STEP:
        facts["active_at"] = active_at
    different = {name: value for name, value in facts.items() if getattr(row, name) != value}
    for name, value in different.items():
        setattr(row, name, value)
    return bool(different)


def _facts(pane: PaneFacts, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "command": pane.current_command[:100],
        "title": pane.title[:300],
        "active_at": datetime.fromtimestamp(pane.activity, UTC),
        "tmux_session": pane.session_id,
        "tmux_pane": pane.pane_id,
        "pane_pid": pane.pane_pid,
        "tmux_server_pid": snapshot.server.pid if snapshot.server else None,
    }


def _adopt(pane: PaneFacts, snapshot: Snapshot) -> None:
    """A pane with GAIA's tag and no live row: the database was lost or restored from a backup, or its row ended early.

    A past life of the pane stays as it is; what runs gets a new one.
    """
    name = _free_name(slugify(pane.tags.get("name") or pane.session_name) or "session")
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
            **_facts(pane, snapshot),
        )
        log.emit(
            "session.adopted",
            subject=session.key,
            message=f"Session {name} was found in tmux",
            level=Level.WARNING,
            gaia_id=pane.gaia_id,
        )


def _free_name(wanted: str) -> str:
    """The name, or with a number behind it when a live session has it."""
    taken = set(Session.objects.live().filter(name__startswith=wanted[:58]).values_list("name", flat=True))
    names = (wanted if number == 1 else f"{wanted[:58]}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _environment(directory: str) -> Environment | None:
    if not directory:
        return None
    return Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE, path__endswith=f"/{directory}").first()
