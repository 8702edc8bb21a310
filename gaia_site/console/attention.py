"""What needs a person, counted: the top of home and the numbers beside the navigation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from common.looks import look_of
from environments.health_overview import not_well
from environments.overview import environments_overview
from environments.states import Verdict
from processes.models import Operation
from services.models import Service
from services.states import ServiceKind
from sessions.models import Session
from sessions.states import SessionState

_LOOKS = {"ended": "exited", "not staying up": "crash_loop", "unhealthy": "failed", "with warnings": "warning"}


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

    live_on = "session. process. environment. operation. service."

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
            "health": len(self._not_well),
            "operations": self._failed_operations,
            "services": len(self._failing_services),
        }

    @cached_property
    def items(self) -> list[Item]:
        """What waits, worst first; empty when nothing does."""
        damaged = sum(one["state"] == "damaged" for one in self.environments)
        stages = sum(len(_failed_stages(one)) for one in self.environments)
        # what is listed already is not told twice
        listed = {one["id"] for one in self.environments if one["state"] == "damaged" or _failed_stages(one)}
        verdicts = [verdict for pk, verdict in self._not_well.items() if pk not in listed]
        unhealthy = verdicts.count(Verdict.FAILED)
        warnings = len(verdicts) - unhealthy
        own = sum(kind != ServiceKind.STAGE for kind in self._failing_services)
        found = [
            _item("damaged", damaged, "environment", "damaged", "admin:environments_environment_changelist"),
            _item("stages", stages, "stage", "failed", "admin:environments_environment_changelist"),
            _item("unhealthy", unhealthy, "environment", "unhealthy", "admin:environments_health_changelist"),
            _item("warnings", warnings, "environment", "with warnings", "admin:environments_health_changelist"),
            _item("services", own, "service", "not staying up", "admin:services_service_changelist"),
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
        return Session.objects.managed().filter(state=SessionState.EXITED).count()

    @cached_property
    def _not_well(self) -> dict[int, str]:
        """Verdicts of the last look, by environment, where they were not healthy."""
        return not_well()

    @cached_property
    def _failing_services(self) -> list[str]:
        """The kinds of those that do not stay up."""
        return list(Service.objects.failing().values_list("kind", flat=True))

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
    look = look_of(_LOOKS.get(word, word)).look.value
    return Item(key, count, text, f"{reverse(url)}?needs=you", look)
