"""The doctor in the console: what the last examination found, how old that is, and another one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from common.errors import Conflict
from events.console.parts import live_context
from events.console.verbs import done
from gaia_site.doctor import examination
from gaia_site.doctor.checks import Depth

_DEPTHS = {
    Depth.VERIFY: "Quick",
    Depth.USUAL: "Usual",
    Depth.COMPREHENSIVE: "Everything",
    Depth.PRODUCTION: "For production",
}
_IDLE_S, _BUSY_S = 20, 1


def page(request: HttpRequest) -> HttpResponse:
    """The last examination; nothing is looked at for it."""
    live = live_context(request)
    shown = Shown()
    context = {
        **admin.site.each_context(request),
        "title": "Doctor",
        "list_title": "Doctor",
        "is_fullwidth": "1",
        "live_on": "operation.",
        "live_every": _BUSY_S if shown.running else _IDLE_S,
        "doctor": shown,
        "depths": [(depth.value, label) for depth, label in _DEPTHS.items()],
        **live,
    }
    return TemplateResponse(request, "gaia/doctor/page.html", context)


class Shown:
    """What the page shows; looked up once."""

    def __init__(self) -> None:
        self.running = examination.under_way()
        last = examination.last()
        self.operation = last
        self.report: dict[str, Any] | None = dict(last.result) if last is not None else None

    @property
    def checked_at(self) -> Any:
        """When the last one was made."""
        return parse_datetime(self.report["checked_at"]) if self.report else None

    @property
    def label(self) -> str:
        """How deep it looked."""
        return _DEPTHS.get(Depth(self.report["depth"]), "").lower() if self.report else ""


def run(request: HttpRequest, depth: str) -> HttpResponse:
    """Ask for another one; its result comes to this page by itself."""
    if depth not in set(Depth):
        raise Http404
    back = reverse("console:doctor")
    try:
        examination.request_examination(Depth(depth))
    except Conflict:
        return done(request, "One is being made already.", back=back)
    return done(request, "GAIA is looked at; what is found is shown here.", back=back)


doctor_page = admin.site.admin_view(page)
doctor_run = admin.site.admin_view(require_POST(run))
