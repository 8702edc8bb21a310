"""A stage in the console: its address, its port and who has it, HTTPS; what a port is used for in the list of ports."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse

from common.errors import GaiaError, InvalidInput, NotFound
from environments.actions import https, ports
from environments.actions.changing import described
from environments.actions.stage_services import service_of
from environments.models import Stage
from environments.states import ENVIRONMENT_ACTIVE
from events.console.admin import ConsoleAdmin
from events.console.verbs import done
from events.models import Event
from services.console import page

_EVENTS = 20
_RUNS = {"running", "starting", "stopping"}


@admin.register(Stage)
class StageAdmin(ConsoleAdmin):
    """One stage; the list of them is that of ports."""

    plural = "Ports"
    search_fields = ("name",)
    list_select_related = ("environment__project",)
    detail_template = "gaia/environments/stage.html"
    live_on = "stage. process. ports. https."
    live_every = 5

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("of-port/<int:port>/", self.of_port_view, name="of_port", post_only=False),
            self.verb("<int:pk>/move/", self.move_view, name="move"),
            self.verb("<int:pk>/https/on/", self.https_on_view, name="https_on"),
            self.verb("<int:pk>/https/off/", self.https_off_view, name="https_off"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Every stage has a port, and there they stand with who uses them."""
        return redirect("admin:processes_portlease_changelist")

    def of_port_view(self, request: HttpRequest, port: int) -> HttpResponse:
        """The page of the stage that a port is handed out to."""
        stage = self.get_queryset(request).filter(port=port, environment__state__in=ENVIRONMENT_ACTIVE).first()
        if stage is None:
            raise NotFound(f"no stage has port {port}", fix="It has moved or is gone: look at the list again.")
        return redirect(_page_of(stage))

    def detail(self, request: HttpRequest, row: Stage) -> dict[str, Any]:
        [facts] = described([row])
        use = next((each for each in ports.overview([row.owner])), None)
        certificates = https.overview(row.environment)
        service = service_of(row)
        return {
            **(page.parts_of(service) if service else {}),
            "title": f"{row.environment.directory} {row.name}",
            "list_title": "Ports",
            "stage": row,
            "facts": facts,
            "use": use,
            "runs": facts["state"] in _RUNS,
            "present": row.environment.state in ENVIRONMENT_ACTIVE,
            "authority": certificates["authority"],
            "certificate": next((each["certificate"] for each in certificates["environments"]), None),
            "home": settings.GAIA.home.root,
            "events": lambda: Event.objects.filter(subject=row.owner)[:_EVENTS],
        }

    def move_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Give it another port, with a restart around it when it runs."""
        stage = self.find(request, pk)
        try:
            text = request.POST.get("to", "").strip()
            if text and not (text.isascii() and text.isdigit() and len(text) < 9):
                raise InvalidInput(f"{text[:40]!r} is no port", fix="Write a number, or leave it empty.")
            port = int(text) if text else None
            if self._runs(stage) and port != stage.port:
                return done(request, "", go=_operation_page(ports.request_move(stage, port)), back="")
            before = stage.port
            moved = ports.move(stage, port)
        except GaiaError as error:
            return self._shown(request, stage, error)
        told = f"has moved from port {before} to {stage.port}" if moved else f"is on port {before} already"
        return done(request, f"Stage {stage.name} of {stage.environment.directory} {told}.", back=_page_of(stage))

    def https_on_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have it serve HTTPS, with a restart when it runs."""
        return self._switch(request, pk, True)

    def https_off_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have it serve plain HTTP again, with a restart when it runs."""
        return self._switch(request, pk, False)

    def _switch(self, request: HttpRequest, pk: int, on: bool) -> HttpResponse:
        stage = self.find(request, pk)
        if self._runs(stage) and stage.https != on:
            return done(request, "", go=_operation_page(https.request_switch([stage], on)), back="")
        https.switch([stage], on)
        told = "HTTPS" if on else "plain HTTP"
        return done(request, f"{stage} serves {told} from its next start on.", back=_page_of(stage))

    def _runs(self, stage: Stage) -> bool:
        return described([stage])[0]["state"] in _RUNS

    def _shown(self, request: HttpRequest, stage: Stage, error: GaiaError) -> TemplateResponse:
        stage.refresh_from_db()
        context = {"original": stage, "row": stage, **self.detail(request, stage), "error": error}
        return self.page(request, self.detail_template or "", context)


def _page_of(stage: Stage) -> str:
    return reverse("admin:environments_stage_change", args=[stage.pk])


def _operation_page(operation: Any) -> str:
    return reverse("admin:processes_operation_change", args=[operation.pk])
