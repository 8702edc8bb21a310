"""What Ctrl-K finds: sessions, environments, services, projects, operations, by name."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from common.looks import look_of
from environments.models import Environment
from environments.states import ENVIRONMENT_ACTIVE
from processes.models import Operation
from projects.models import Project
from services.models import Service
from sessions.models import Session

_EACH = 8
_ICONS: dict[type[Model], str] = {
    Session: "terminal",
    Environment: "account_tree",
    Service: "deployed_code",
    Project: "folder_code",
    Operation: "pending_actions",
}


def palette(request: HttpRequest) -> JsonResponse:
    """`?q=words`: `{"results": [{title, hint, icon, url}]}`, at most eight of a kind."""
    words = request.GET.get("q", "").split()
    return JsonResponse({"results": find(words) if words else []})


def find(words: list[str]) -> list[dict[str, str]]:
    """What has every word in its name; five queries."""
    environments = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE).order_by("project__name", "number")
    return [
        *(
            _result(one, one.name, f"session · {_whose(one)}{one.provider} · {look_of(one.state).word}")
            for one in _named(Session.objects.live(), "name", words)
        ),
        *(
            _result(one, one.directory, f"environment · {look_of(one.state).word}")
            for one in _named(environments, "path", words)
        ),
        *(
            _result(one, one.name, f"service · {look_of(one.state).word}")
            for one in _named(Service.objects.order_by("name"), "name", words)
        ),
        *(_result(one, one.name, "project") for one in _named(Project.objects.all(), "name", words)),
        *(
            _result(one, one.title, f"operation · {one.state}")
            for one in _named(Operation.objects.all(), "title", words)
        ),
    ]


def _whose(session: Session) -> str:
    return "not GAIA's · " if session.foreign else ""


def _named(rows: Any, field: str, words: list[str]) -> Any:
    for word in words:
        rows = rows.filter(**{f"{field}__icontains": word})
    return rows[:_EACH]


def _result(row: Model, title: str, hint: str) -> dict[str, str]:
    options = row._meta
    url = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk])
    return {"title": title, "hint": hint, "icon": _ICONS[type(row)], "url": url}
