"""Home: does anything need me, is everything alive, what got done (CONSOLE.md)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.http import HttpRequest

from events.models import Event
from gaia_site.console.attention import Attention, attention_of
from processes.models import Operation
from sessions.actions.start import fleet
from sessions.overview import groups_overview

_EVENTS = 12


def home_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK; what a request for single parts does not show is not looked up."""
    return {**context, "title": "Home", "is_fullwidth": "1", "home": Home(attention_of(request))}


class Home:
    """What home shows, each looked up when a part of the page asks for it; the same number of queries at any size."""

    def __init__(self, attention: Attention) -> None:
        self.attention = attention

    @property
    def environments(self) -> list[dict[str, Any]]:
        return self.attention.environments

    @cached_property
    def operations(self) -> list[Operation]:
        """Those that run, or wait to."""
        return list(Operation.objects.active())

    @property
    def operations_every(self) -> int:
        """Progress has no events: a second while something runs, never otherwise."""
        return 1 if self.operations else 0

    @cached_property
    def events(self) -> list[Event]:
        return list(Event.objects.all()[:_EVENTS])

    @cached_property
    def fleet(self) -> dict[str, Any]:
        """Groups in the fleet's order with one sign per session, and what the signs add up to."""
        loaded = fleet()
        groups = [_group(group) for group in groups_overview(loaded)]
        shown = [group for group in groups if group["sessions"]]
        sessions = [session for group in shown for session in group["sessions"]]
        return {
            "groups": shown,
            "total": len(sessions),
            "expected": len(loaded.sessions),
            "legend": _legend(sessions),
        }


def _group(group: dict[str, Any]) -> dict[str, Any]:
    sessions = [{**session, "shape": _shape(session), "told": _told(session)} for session in group["sessions"]]
    running = group["running"]
    count = f"{running} running" if running == len(sessions) else f"{running} of {len(sessions)}"
    return {**group, "sessions": sessions, "count": count}


def _shape(session: dict[str, Any]) -> str:
    """A shield for protected ones, a prompt for shells; only what runs is drawn differently."""
    if session["state"] != "running":
        return ""
    if session["protected"]:
        return "protected"
    return "shell" if session["runs"] == "shell" else ""


def _told(session: dict[str, Any]) -> str:
    words = [f"{session['name']}: {session['state']}"]
    if session["protected"]:
        words.append("protected")
    if session["runs"] == "shell":
        words.append(f"shell ({session['reason']})" if session["reason"] else "shell")
    else:
        words.append(session["provider"])
    return ", ".join(words)


def _legend(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many there are of each sign; one that runs may count twice, as protected and as a shell."""
    running = [one for one in sessions if one["state"] == "running"]
    counted = [
        ("running", "", "running", len(running)),
        ("running", "protected", "protected", sum(one["protected"] for one in running)),
        ("running", "shell", "in a shell, for want of an agent", sum(bool(one["reason"]) for one in running)),
        ("starting", "", "starting", sum(one["state"] == "starting" for one in sessions)),
        ("exited", "", "ended", sum(one["state"] == "exited" for one in sessions)),
    ]
    return [
        {"state": state, "shape": shape, "word": word, "count": count} for state, shape, word, count in counted if count
    ]
