"""What needs a person, counted: the top of home and the numbers beside the navigation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from common.looks import look_of
from environments.overview import environments_overview
from processes.models import Operation
from sessions.models import Session
from sessions.states import SessionState


@dataclass(frozen=True)
class Item:
    """One kind of thing that waits for somebody: how many, in words, and where they are listed."""

    key: str
    count: int
    text: str
    url: str
    look: str


class Attention:
    """Counted when first asked for, once per request."""

    live_on = "session. process. environment. operation."

    @cached_property
    def environments(self) -> list[dict[str, Any]]:
        """The environments' overview, which home shows too."""
        return environments_overview()

    @cached_property
    def counts(self) -> dict[str, int]:
        """By room, for the navigation."""
        return {
            "sessions": self._ended_sessions,
            "environments": len(
                [one for one in self.environments if one["state"] == "damaged" or _failed_stages(one)],
            ),
            "operations": self._failed_operations,
        }

    @cached_property
    def items(self) -> list[Item]:
        """What waits, worst first; empty when nothing does."""
        damaged = sum(one["state"] == "damaged" for one in self.environments)
        stages = sum(len(_failed_stages(one)) for one in self.environments)
        found = [
            _item("damaged", damaged, "environment", "damaged", "admin:environments_environment_changelist"),
            _item("stages", stages, "stage", "failed", "admin:environments_environment_changelist"),
            _item("operations", self._failed_operations, "operation", "failed", "admin:processes_operation_changelist"),
            _item("sessions", self._ended_sessions, "session", "ended", "admin:gaia_sessions_session_changelist"),
        ]
        return [item for item in found if item.count]

    @property
    def url(self) -> str:
        """Where the live counts come from."""
        return reverse("admin:index")

    @cached_property
    def _ended_sessions(self) -> int:
        return Session.objects.filter(state=SessionState.EXITED).count()

    @cached_property
    def _failed_operations(self) -> int:
        return Operation.objects.unresolved().count()


def attention_of(request: HttpRequest) -> Attention:
    """The request's own, so that home and navigation count once."""
    found: Attention | None = getattr(request, "gaia_attention", None)
    if found is None:
        found = Attention()
        request.gaia_attention = found  # type: ignore[attr-defined]  # kept for the length of the request
    return found


def _failed_stages(environment: dict[str, Any]) -> list[dict[str, Any]]:
    return [stage for stage in environment["stages"] if stage["state"] == "failed"]


def _item(key: str, count: int, noun: str, word: str, url: str) -> Item:
    text = f"{count} {noun}{'' if count == 1 else 's'} {word}"
    look = look_of({"ended": "exited"}.get(word, word)).look.value
    return Item(key, count, text, f"{reverse(url)}?needs=you", look)
