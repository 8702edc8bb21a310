"""What every door shows of the sessions: plain data, few queries."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from sessions.fleet import Fleet
from sessions.models import Session


def sessions_overview() -> list[dict[str, Any]]:
    """Every live session; one query."""
    return [describe(session) for session in Session.objects.live().select_related("environment")]


def describe(session: Session) -> dict[str, Any]:
    """One session as every door shows it."""
    return {
        "id": session.pk,
        "name": session.name,
        "group": session.group,
        "provider": session.provider,
        "role": session.role,
        "protected": session.protected,
        "environment": session.environment.directory if session.environment else None,
        "cwd": session.cwd,
        "runs": session.runs,
        "reason": session.reason,
        "problem": session.problem,
        "state": session.state,
        "command": session.command,
        "title": session.title,
        "pane_pid": session.pane_pid,
        "exit_status": session.exit_status,
        "started_at": session.started_at and session.started_at.isoformat(),
        "active_at": session.active_at and session.active_at.isoformat(),
        "ended_at": session.ended_at and session.ended_at.isoformat(),
        "age_s": int((timezone.now() - (session.started_at or session.created_at)).total_seconds()),
    }


def groups_overview(fleet: Fleet, sessions: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The fleet's groups in their order, each with its sessions; names the fleet does not know come last.

    Returns: `[{key, label, short, sessions, expected, running}]`, where `expected` counts the fleet's own.
    """
    shown = sessions_overview() if sessions is None else sessions
    order = {one.name: number for number, one in enumerate(fleet.sessions)}
    known = {group.key for group in fleet.groups}
    by_group: dict[str, list[dict[str, Any]]] = {group.key: [] for group in fleet.groups}
    for session in sorted(shown, key=lambda each: (order.get(each["name"], len(order)), each["name"])):
        by_group.setdefault(session["group"] if session["group"] in known else "other", []).append(session)
    return [
        {
            "key": group.key,
            "label": group.label,
            "short": group.short,
            "sessions": by_group[group.key],
            "expected": sum(one.group == group.key for one in fleet.sessions),
            "running": sum(session["state"] == "running" for session in by_group[group.key]),
        }
        for group in fleet.groups
    ]
