"""Level-triggered: what tmux has becomes what the rows say. Runs once a second in the daemon, and before a start."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.utils import timezone

from common.errors import Conflict
from sessions.actions import record
from sessions.actions.ending import finish_stop
from sessions.drivers.tmux import PaneFacts, Snapshot
from sessions.models import Session
from sessions.server import changing, tmux_server
from sessions.states import SessionState

# Output moves a pane's activity every second; the row follows in steps, or 500 busy sessions would be 500 writes.
_ACTIVITY_STEP = timedelta(seconds=15)


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
    changes: dict[Session, dict[str, Any]] = {}
    unsettled = not panes.keys() <= {row.gaia_id for row in rows}
    for row in rows:
        pane = panes.get(row.gaia_id)
        if row.stop_requested_at is not None or (pane is None and row.state == SessionState.STARTING):
            unsettled = True
        elif pane is None:
            record.record_gone(row, "tmux no longer has it" if snapshot.server else "its tmux server has ended")
        elif shown := _follow(row, pane, snapshot):
            changes[row] = shown
    record.record_shown(changes)
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
    if ending:
        finish_stop(ending)
    for row in rows.values():
        if row.state != SessionState.STARTING:
            continue
        if row.gaia_id in panes:
            record.record_created(row, panes[row.gaia_id], now=timezone.now())
        else:
            record.record_failed(row, unborn)
    for gaia_id, pane in panes.items():
        if gaia_id not in rows:
            record.record_adopted(pane, snapshot)


def _follow(row: Session, pane: PaneFacts, snapshot: Snapshot) -> dict[str, Any]:
    """Follow what the pane shows. Returns: the fields that are to change without an event."""
    if row.state == SessionState.STARTING and not record.record_created(row, pane, now=timezone.now()):
        return {}  # its starter was faster; the next look goes on from there
    if pane.dead and row.state == SessionState.RUNNING:
        record.record_exited(row, pane)
    elif not pane.dead and row.state == SessionState.EXITED:
        record.record_running_again(row)
    tmux_name = "" if pane.session_name == row.name else pane.session_name[:200]
    if tmux_name != row.tmux_name:
        record.record_renamed(row, tmux_name)
    facts = record.shown(pane, snapshot)
    if pane.dead and row.exit_status is None:
        facts["exit_status"] = record.exit_status(pane)
    active_at = facts.pop("active_at")
    if row.active_at is None or active_at - row.active_at >= _ACTIVITY_STEP:
        facts["active_at"] = active_at
    different = {name: value for name, value in facts.items() if getattr(row, name) != value}
    return different | (record.process_of(pane.pane_pid) if "pane_pid" in different else {})
