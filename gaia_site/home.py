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
            "total": sum(not one["foreign"] for one in sessions),
            "expected": len(loaded.sessions),
            "legend": _legend(sessions),
        }


def _group(group: dict[str, Any]) -> dict[str, Any]:
    sessions = [{**session, **_marks(session)} for session in group["sessions"]]
    running, others = group["running"], group["foreign"]
    count = f"{running} running" if running == len(sessions) - others else f"{running} of {len(sessions) - others}"
    if others == len(sessions):
        count = f"{others} not GAIA's"
    return {**group, "sessions": sessions, "count": count}


def _marks(session: dict[str, Any]) -> dict[str, Any]:
    return {"foreign": session["origin"] == "foreign", "shape": _shape(session), "told": _told(session)}


def _shape(session: dict[str, Any]) -> str:
    """A diamond for those not GAIA's, a shield for protected ones, a prompt for shells; only for what runs."""
    if session["state"] != "running":
        return ""
    if session["origin"] == "foreign":
        return "foreign"
    if session["protected"]:
        return "protected"
    return "shell" if session["runs"] == "shell" else ""


def _told(session: dict[str, Any]) -> str:
    words = [f"{session['name']}: {session['state']}"]
    if session["origin"] != "gaia":
        words.append("not GAIA's" if session["origin"] == "foreign" else "adopted")
    if session["protected"]:
        words.append("protected")
    if session["runs"] == "other":
        words.append(session["reason"] or session["command"])
    elif session["runs"] == "shell":
        words.append(f"shell ({session['reason']})" if session["reason"] else "shell")
    else:
        words.append(session["provider"])
    return ", ".join(words)


def _legend(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many there are of each sign; one that runs may count twice, as protected and as a shell."""
    foreign = sum(one["foreign"] for one in sessions)
    sessions = [one for one in sessions if not one["foreign"]]
    running = [one for one in sessions if one["state"] == "running"]
    astray = [one["runs"] for one in running if one["reason"]]
    counted = [
        ("running", "", "running", len(running)),
        ("running", "protected", "protected", sum(one["protected"] for one in running)),
        ("running", "shell", "in a shell, for want of an agent", astray.count("shell")),
        ("running", "", "not running what they should", astray.count("other")),
        ("starting", "", "starting", sum(one["state"] == "starting" for one in sessions)),
        ("exited", "", "ended", sum(one["state"] == "exited" for one in sessions)),
        ("running", "foreign", "not GAIA's", foreign),
    ]
    return [
        {"state": state, "shape": shape, "word": word, "count": count} for state, shape, word, count in counted if count
    ]
