"""What the sessions that work in an environment say of its health; `settings.GAIA_HEALTH_CHECKS` names it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from environments.findings import Finding, well
from environments.models import Environment
from environments.states import Verdict
from sessions.configured import fleet
from sessions.fleet import Fleet
from sessions.models import Session
from sessions.overview import missing_overview
from sessions.providers import SYSTEM
from sessions.states import Origin, Runs, SessionState

_SHELLS = {"bash", "dash", "fish", "ksh", "sh", "zsh"}


def check_sessions(environments: Sequence[Environment]) -> dict[int, list[Finding]]:
    """The sessions of each environment live, and have their agents; at most four queries.

    Sessions that GAIA only looks at are nobody's business here.
    """
    loaded = fleet()
    live = Session.objects.live().filter(environment__in=environments).exclude(origin=Origin.FOREIGN)
    by_environment: dict[int, list[Session]] = {each.pk: [] for each in environments}
    for session in live.order_by("name"):
        by_environment[session.environment_id or 0].append(session)
    missing: dict[str, list[dict[str, Any]]] = {}
    for one in missing_overview(loaded):
        missing.setdefault(one["environment"] or "", []).append(one)
    return {
        each.pk: list(_check(loaded, by_environment[each.pk], missing.get(each.directory, []))) for each in environments
    }


def _check(loaded: Fleet, live: Sequence[Session], missing: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    found = [finding for session in live for finding in _check_one(loaded, session)]
    found += [_missing(one) for one in missing]
    yield from found or [well("sessions", f"{len(live)} of its sessions run" if live else "no session works in it")]


def _check_one(loaded: Fleet, session: Session) -> Iterator[Finding]:
    if session.state == SessionState.EXITED:
        yield _ended(session, is_fleets=loaded.session(session.name) is not None)
    elif session.state == SessionState.RUNNING and session.provider != SYSTEM and session.runs != Runs.AGENT:
        yield _without_agent(session)


def _ended(session: Session, *, is_fleets: bool) -> Finding:
    code = session.exit_status
    how = "" if code is None else f" by signal {-code}" if code < 0 else f" with code {code}"
    what = f"session {session.name} is dead: its program ended{how}"
    if is_fleets:
        fix, verdict = f"gaia session start {session.name}", Verdict.FAILED
    else:
        fix, verdict = f"gaia session destroy {session.name}", Verdict.WARNING
    meaning = f"Nobody works there any more. What it said last: gaia session capture {session.name}"
    return Finding("sessions", verdict, what, meaning, fix, "ended", session.name)


def _missing(one: dict[str, Any]) -> Finding:
    name, why = one["name"], one["problem"] or one["state"]
    what = f"session {name} is dead: {why}"
    meaning = "It belongs to the fleet and nobody asked it to end."
    return Finding("sessions", Verdict.FAILED, what, meaning, f"gaia session start {name}", "missing", name)


def _without_agent(session: Session) -> Finding:
    """A shell that was started for want of an agent is as it was meant to be; an agent that gave way to one is not."""
    what = f"session {session.name} has {_named(session)} where {session.provider} should be"
    if session.argv and os.path.basename(session.argv[0]) in _SHELLS:
        fix = f"Install it, then: gaia session stop {session.name} -y && gaia session start {session.name}"
        return Finding("sessions", Verdict.OK, what, session.reason, fix, "no-agent", session.name, note=True)
    meaning = f"{session.reason or 'Its agent was there and is not any more'}. It takes no tasks like this."
    fix = f"gaia attach {session.name}"
    return Finding("sessions", Verdict.WARNING, what, meaning, fix, "no-agent", session.name, passing=True)


def _named(session: Session) -> str:
    return "a shell" if session.runs == Runs.SHELL else session.command or "another program"
