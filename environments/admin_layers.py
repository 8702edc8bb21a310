"""Layers in the console: the list, one with its environments and what has drifted, its form, and setting one."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError
from environments.actions import layer_change, layers
from environments.forms_layers import ChooseLayerForm, LayerForm
from environments.health_overview import health_of
from environments.models import Environment, Layer
from environments.states import ENVIRONMENT_ACTIVE
from events.console.admin import ConsoleAdmin
from events.console.verbs import done
from events.models import Event

_EVENTS = 20
_CHANGED = "has changed; its environments follow when they are put into it again"
LIST = "admin:environments_layer_changelist"


@admin.register(Layer)
class LayerAdmin(ConsoleAdmin):
    """What environments stand on."""

    plural = "Layers"
    list_display = ("name", "purpose", "engine", "ports", "servers", "members")
    minor = ("purpose",)
    extra = ("servers",)
    numbers = ("ports", "members")
    search_fields = ("name", "purpose")
    search_help_text = "Name, purpose"
    list_buttons_template = "gaia/layers/buttons.html"
    detail_template = "gaia/layers/detail.html"
    live_on = "layer. environment."
    live_every = 20
    empty: ClassVar = {
        "icon": "layers",
        "title": "No layer",
        "text": "A layer says which database, ports and MCP servers environments have.",
    }

    @display(description="Ports")
    def ports(self, layer: Layer) -> str:
        return ""

    @display(description="MCP servers", ordering="mcp")
    def servers(self, layer: Layer) -> str:
        return ""

    @display(description="Environments")
    def members(self, layer: Layer) -> str:
        return ""

    def prepare_rows(self, rows: list[Any]) -> None:
        facts = {one["name"]: one for one in layers.layers_overview()}
        for row in rows:
            row.facts = facts[row.name]

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("new/", self.new_view, name="new", post_only=False),
            self.verb("<int:pk>/edit/", self.edit_view, name="edit", post_only=False),
            self.verb("<int:pk>/remove/", self.remove_view, name="remove"),
            self.verb("set/<int:pk>/", self.set_view, name="set", post_only=False),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Layer) -> dict[str, Any]:
        return {
            "title": row.name,
            "layer": row,
            "facts": layers.describe(row),
            "members": lambda: _members(row),
            "events": lambda: Event.objects.filter(subject=row.key)[:_EVENTS],
        }

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """The form of a layer of one's own."""
        return self._form(request, None)

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What it is from now on."""
        return self._form(request, self.find(request, pk))

    def _form(self, request: HttpRequest, layer: Layer | None) -> HttpResponse:
        form, error = LayerForm(request.POST or None, layer=layer), None
        if request.method == "POST" and form.is_valid():
            try:
                if layer is None:
                    layer = layers.add(form.cleaned_data["name"], form.wanted())
                    return done(request, f"Layer {layer.name} was added.", go=_page_of(layer), back="")
                changed = layers.change(layer, form.wanted())
                told = f"Layer {layer.name} {_CHANGED if changed else 'is as it was'}."
                return done(request, told, go=_page_of(layer), back="")
            except GaiaError as raised:
                error = raised
        title = f"Change layer {layer.name}" if layer else "Add a layer"
        back = _page_of(layer) if layer else reverse(LIST)
        context = {"title": title, "form": form, "error": error, "back": back, "button": "Save" if layer else "Add it"}
        return self.page(request, "gaia/layers/form.html", context)

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget one that no environment is in."""
        layer = self.find(request, pk)
        layers.remove(layer)
        return done(request, f"Layer {layer.name} was removed.", go=reverse(LIST), back="")

    def set_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Which layer an environment is to be in, then the plan, then the operation; `pk` is the environment's."""
        rows: QuerySet[Environment] = Environment.objects.select_related("project", "layer")
        environment = get_object_or_404(rows, pk=pk, state__in=ENVIRONMENT_ACTIVE)
        form, plan, error = ChooseLayerForm(request.POST or None, now=environment.layer_name), None, None
        if request.method == "POST" and form.is_valid() and "change" not in request.POST:
            try:
                layer = layers.find_layer(form.cleaned_data["layer"])
                plan = layer_change.plan(environment, layer)
                if "agreed" in request.POST:
                    restart, key = form.cleaned_data["restart"], form.cleaned_data["key"]
                    asked = layer_change.request_layer(environment, layer, restart=restart, idempotency_key=key)
                    return done(request, "", go=reverse("admin:processes_operation_change", args=[asked.pk]), back="")
            except GaiaError as raised:
                plan, error = None, raised
        context = {
            "title": f"Layer of {environment.directory}",
            "environment": environment,
            "form": form,
            "plan": plan and plan.as_dict(),
            "error": error,
        }
        return self.page(request, "gaia/layers/set.html", context)


def _members(layer: Layer) -> list[dict[str, Any]]:
    """Its environments with how they were at the last look, as far as that concerns the layer."""
    live = list(Environment.objects.filter(layer=layer, state__in=ENVIRONMENT_ACTIVE).select_related("project"))
    told = health_of(live)
    for one in told:
        one["drift"] = [each for each in one["findings"] if each["check"] == "layer"]
    return told


def _page_of(layer: Layer) -> str:
    return reverse("admin:environments_layer_change", args=[layer.pk])
