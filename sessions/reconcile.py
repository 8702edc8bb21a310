"""Level-triggered: what GAIA's tmux has becomes what the rows say. Once a second in the daemon, and before a start."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.utils import timezone

from common.errors import Conflict
from sessions.actions import record
from sessions.actions.ending import finish_stop
from sessions.configured import shown_providers
from sessions.drivers.pane_programs import RunningNames
from sessions.drivers.tmux import PaneFacts, ServerIdentity
from sessions.models import Session
from sessions.programs import SHELLS, agents_of, judge
from sessions.providers import SYSTEM
from sessions.server import changing, tmux_server
from sessions.states import Runs, SessionState

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
    rows = list(Session.objects.live().own())
    snapshot = tmux_server().snapshot()
    panes = snapshot.by_gaia_id()
    changes: dict[Session, dict[str, Any]] = {}
    names, counts = RunningNames(), Counter(pane.session_id for pane in snapshot.panes)
    unsettled = not panes.keys() <= {row.gaia_id for row in rows}
    for row in rows:
        pane = panes.get(row.gaia_id)
        if row.stop_requested_at is not None or (pane is None and row.state == SessionState.STARTING):
            unsettled = True
        elif pane is None:
            record.record_gone(row, "tmux no longer has it" if snapshot.server else "its tmux server has ended")
        else:
            shown = follow(row, pane, snapshot.server)
            if counts[pane.session_id] != row.panes:
                shown["panes"] = counts[pane.session_id]
            if shown:
                changes[row] = shown
            judge_again(row, pane, names, thorough=row.runs == Runs.AGENT)
    record.record_shown(changes)
    return unsettled


def settle(*, unborn: str = "whoever started it was killed before tmux had it") -> None:
    """Finish what was left half done, and take in what has no row. The caller holds `changing()`: nobody is at it.

    Args:
        unborn: why a session that was asked for is not there.

    Raises: TmuxError; nothing is concluded then.
    """
    rows = {row.gaia_id: row for row in Session.objects.live().own()}
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
            record.record_found(pane, snapshot.server)


def follow(row: Session, pane: PaneFacts, server: ServerIdentity | None) -> dict[str, Any]:
    """Follow what the pane shows. Returns: the fields that are to change without an event."""
    if row.state == SessionState.STARTING and not record.record_created(row, pane, now=timezone.now()):
        return {}  # its starter was faster; the next look goes on from there
    if pane.dead and row.state == SessionState.RUNNING:
        record.record_exited(row, pane)
    elif not pane.dead and row.state == SessionState.EXITED:
        record.record_running_again(row)
    tmux_name = "" if pane.session_name == row.name else pane.session_name[:200]
    if tmux_name != row.tmux_name and not row.foreign:
        record.record_renamed(row, tmux_name)
    facts = record.shown(pane, server)
    if pane.dead and row.exit_status is None:
        facts["exit_status"] = record.exit_status(pane)
    active_at = facts.pop("active_at")
    if row.active_at is None or active_at - row.active_at >= _ACTIVITY_STEP:
        facts["active_at"] = active_at
    different = {name: value for name, value in facts.items() if getattr(row, name) != value}
    return different | (record.process_of(pane.pane_pid) if "pane_pid" in different else {})


def judge_again(row: Session, pane: PaneFacts, names: RunningNames, *, thorough: bool) -> None:
    """Tell when an agent gave way to a shell, or came back; a shell that runs for want of an agent stays one.

    Args:
        thorough: look into a shell though nothing suggests that something else runs in it than before: an agent that
            is a script of that shell's may have ended in it.
    """
    if pane.dead or row.provider == SYSTEM:
        return
    shell = pane.current_command.removeprefix("-") in SHELLS
    same = (row.command, row.pane_pid) == (pane.current_command[:100], pane.pane_pid)
    if (same and not (shell and thorough)) or (not shell and row.runs == Runs.AGENT):
        return
    known = shown_providers()
    verdict = judge(known.get(row.provider), pane.current_command, pane.pane_pid, names, agents_of(known))
    if (verdict.runs == Runs.AGENT) == (row.runs == Runs.AGENT):
        return
    if not names.ended(pane.pane_pid):  # else it is no shell without an agent, and the next look tells of its end
        record.record_runs(row, verdict)
