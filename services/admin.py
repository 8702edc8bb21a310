"""Services in the console: the list, one service with its charts, probes and log, and what can be done with it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError
from common.looks import look_of
from events.console.admin import ConsoleAdmin
from events.console.filters import NeedsFilter, StateFilter, ValuesFilter
from events.console.verbs import done
from services.actions import definitions, running
from services.actions.rows import MADE_ELSEWHERE
from services.console import forms, page, rows
from services.models import Service
from services.states import Desired, ServiceKind, ServiceState

LIST = "admin:services_service_changelist"


class ServiceStateFilter(StateFilter):
    now_title = "all"
    choices_of_state = tuple((state.value, look_of(state).word) for state in ServiceState)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.choices_of_state)


class NeedsSomebodyFilter(NeedsFilter):
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pk__in=Service.objects.failing().values("pk"))


class KindFilter(ValuesFilter):
    title = parameter_name = "kind"

    def titles(self) -> dict[str, str]:
        return {kind.value: str(kind.label) for kind in ServiceKind}


@admin.register(Service)
class ServiceAdmin(ConsoleAdmin):
    """Processes that should stay up."""

    plural = "Services"
    list_display = ("state", "name", "kind", "health", "since", "restarts", "cpu", "memory")
    numbers = ("since", "restarts", "cpu", "memory")
    minor = ("kind", "health", "restarts")
    extra = ("cpu", "memory")
    list_filter = (ServiceStateFilter, NeedsSomebodyFilter, KindFilter)
    search_fields = ("name", "title", "owner", "port")
    search_help_text = "Name, title, port"
    ordering = ("name",)
    change_list_template = "services/list.html"
    list_buttons_template = "services/list_buttons.html"
    detail_template = "services/detail.html"
    live_on = "service."
    live_every = 5
    empty = {
        "icon": "dns",
        "title": "No service yet",
        "text": "A service is a program that should stay up: GAIA starts it, asks whether it is well, starts it again "
        "when it dies, and keeps its log and figures. Register one here, or with gaia service register.",
        "url": "admin:services_service_register",
        "first": "Register a service…",
    }

    @display(description="Health")
    def health(self, service: Service) -> str:
        return ""

    @display(description="Since", ordering="state_since")
    def since(self, service: Service) -> str:
        return ""

    @display(description="CPU")
    def cpu(self, service: Service) -> str:
        return ""

    @display(description="Memory")
    def memory(self, service: Service) -> str:
        return ""

    def prepare_rows(self, rows_of_page: list[Any]) -> None:
        rows.prepare(rows_of_page)

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("register/", self.register_view, name="register", post_only=False),
            self.verb("by-name/<slug:name>/", self.by_name_view, name="by_name", post_only=False),
            self.verb("<int:pk>/redefine/", self.redefine_view, name="redefine", post_only=False),
            self.verb("<int:pk>/start/", self.start_view, name="start"),
            self.verb("<int:pk>/stop/", self.stop_view, name="stop"),
            self.verb("<int:pk>/restart/", self.restart_view, name="restart"),
            self.verb("<int:pk>/unregister/", self.unregister_view, name="unregister"),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Service) -> dict[str, Any]:
        return {**page.parts_of(row), "own": row.kind not in MADE_ELSEWHERE, "definition": lambda: forms.written(row)}

    def register_view(self, request: HttpRequest) -> HttpResponse:
        """A form that takes the definition as JSON."""
        return self._form(request, "Register a service", None)

    def redefine_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The same form, with the definition as it is."""
        service = self.find(request, pk)
        return self._form(request, f"Change {service.name}", service)

    def by_name_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The page of the service of that name."""
        return redirect(_page_of(get_object_or_404(Service, name=name)))

    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have it run from now on."""
        service = self.find(request, pk)
        running.start(service)
        return done(request, f"{service.sentence} is started.", back=_page_of(service))

    def stop_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have it stay down."""
        service = self.find(request, pk)
        running.stop(service)
        return done(request, f"{service.sentence} is stopped, and stays down.", back=_page_of(service))

    def restart_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it and start it again."""
        service = self.find(request, pk)
        running.restart(service)
        return done(request, f"{service.sentence} is restarted.", back=_page_of(service))

    def unregister_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget it; it must not run."""
        service = self.find(request, pk)
        definitions.unregister(service)
        return done(request, f"{service.sentence} is not registered any more.", go=reverse(LIST), back=reverse(LIST))

    def _form(self, request: HttpRequest, title: str, service: Service | None) -> HttpResponse:
        text = request.POST.get("definition") if request.method == "POST" else None
        error: GaiaError | None = None
        if text is not None:
            try:
                return self._save(request, text, service)
            except GaiaError as raised:
                error = raised
        context = {
            "title": title,
            "service": service,
            "error": error,
            "text": text if text is not None else forms.text_of(service),
            "start": request.POST.get("start") if text is not None else True,
            "fields": forms.FIELDS,
        }
        return self.page(request, "services/form.html", context)

    def _save(self, request: HttpRequest, text: str, service: Service | None) -> HttpResponse:
        spec = forms.read(text)
        if service is None:
            made = definitions.register(spec, start=bool(request.POST.get("start")))
            return done(request, f"{made.sentence} is registered.", go=_page_of(made), back=_page_of(made))
        definitions.redefine(service, spec)
        told = "runs with it from its next start on" if service.desired == Desired.UP else "has it"
        return done(request, f"{service.sentence} {told}.", go=_page_of(service), back=_page_of(service))


def _page_of(service: Model) -> str:
    return reverse("admin:services_service_change", args=[service.pk])
