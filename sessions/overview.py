"""What every door shows of the sessions: plain data, few queries."""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Max
from django.utils import timezone

from sessions.fleet import Fleet
from sessions.models import Session
from sessions.programs import SHELLS, agent_program
from sessions.states import Origin, Runs, SessionState

_PAST_LIMIT = 500


def sessions_overview(**only: Any) -> list[dict[str, Any]]:
    """Every live session, or those with these values; one query."""
    now = timezone.now()
    return [describe(session, now) for session in Session.objects.live().filter(**only).select_related("environment")]


def past_sessions(**only: str) -> list[dict[str, Any]]:
    """Past lives, or those with these values, newest first, at most 500; one query."""
    now = timezone.now()
    past = Session.objects.exclude(ended_at=None).filter(**only).select_related("environment").order_by("-id")
    return [describe(session, now) for session in past[:_PAST_LIMIT]]


def missing_overview(fleet: Fleet) -> list[dict[str, Any]]:
    """The fleet's sessions that ran and should, but are gone or could not be started; at most three queries.

    When the whole fleet was stopped since, nothing is missing.
    """
    fleets = Session.objects.managed().filter(name__in=[one.name for one in fleet.sessions])
    newest = fleets.exclude(name__in=fleets.live().values("name")).values("name").annotate(newest=Max("id"))
    missing = fleets.filter(id__in=newest.values("newest"), state__in=[SessionState.GONE, SessionState.FAILED])
    lost = list(missing.select_related("environment"))
    if lost and not fleets.live().exists():
        stopped = fleets.filter(state=SessionState.STOPPED).aggregate(last=Max("ended_at"))["last"]
        lost = [session for session in lost if stopped is None or not session.ended_at or session.ended_at > stopped]
    return [describe(session) for session in lost]


def describe(session: Session, now: datetime | None = None) -> dict[str, Any]:
    """One session as every door shows it."""
    return {
        "id": session.pk,
        "name": session.name,
        "origin": session.origin,
        "socket": session.socket,
        "panes": session.panes,
        "tmux_name": session.tmux_name or session.name,
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
        "program": _program(session),
        "command": session.command,
        "title": session.title,
        "pane_pid": session.pane_pid,
        "exit_status": session.exit_status,
        "started_at": session.started_at and session.started_at.isoformat(),
        "active_at": session.active_at and session.active_at.isoformat(),
        "ended_at": session.ended_at and session.ended_at.isoformat(),
        "age_s": _age(session, now or timezone.now()),
    }


def _program(session: Session) -> str:
    """The agent's program: as it was started, or, where somebody else started it, as tmux names it."""
    if session.runs != Runs.AGENT:
        return ""
    started = os.path.basename(session.argv[0]) if session.argv else ""
    return started if started and started not in SHELLS else agent_program(session.command, session.provider)


def _age(session: Session, now: datetime) -> int:
    """Seconds it has lived, or did."""
    lived = (session.ended_at or now) - (session.started_at or session.created_at)
    return max(0, int(lived.total_seconds()))


def groups_overview(fleet: Fleet, sessions: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The fleet's groups in their order, each with its sessions; names the fleet does not know come last.

    Sessions that GAIA only looks at stand behind the others of their group.

    Returns: `[{key, label, short, sessions, expected, missing, running, foreign}]`, where `expected` counts the fleet's
        own, `missing` names those of them that do not live, `running` counts those of GAIA that run, and `foreign`
        those it only looks at.
    """
    shown = sessions_overview() if sessions is None else sessions
    order = {one.name: number for number, one in enumerate(fleet.sessions)}
    known = {group.key for group in fleet.groups}
    live = {session["name"] for session in shown if session["origin"] != Origin.FOREIGN}
    by_group: dict[str, list[dict[str, Any]]] = {group.key: [] for group in fleet.groups}
    for session in sorted(shown, key=partial(_place, order)):
        by_group.setdefault(session["group"] if session["group"] in known else "other", []).append(session)
    return [
        {
            "key": group.key,
            "label": group.label,
            "short": group.short,
            "sessions": by_group[group.key],
            "expected": len(fleet.in_group(group.key)),
            "missing": [one.name for one in fleet.in_group(group.key) if one.name not in live],
            "running": sum(
                session["state"] == "running" and session["origin"] != Origin.FOREIGN for session in by_group[group.key]
            ),
            "foreign": sum(session["origin"] == Origin.FOREIGN for session in by_group[group.key]),
        }
        for group in fleet.groups
    ]


def _place(order: dict[str, int], session: dict[str, Any]) -> tuple[bool, int, str, str]:
    name = session["name"]
    return session["origin"] == Origin.FOREIGN, order.get(name, len(order)), name, session["socket"]
