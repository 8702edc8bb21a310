"""The log in the console: to be read and searched, never written."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.filters import DateFieldListFilter, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from events import admin_notifications
from events.console.admin import ConsoleAdmin
from events.models import Event, Level
from events.tail import newest_id

__all__ = ["admin_notifications"]  # imported for what it registers

_RECENT = 10_000  # events looked through for what the filters offer: naming every value would read the whole log


_LEVEL_COLOURS = {Level.INFO: "info", Level.WARNING: "warning", Level.ERROR: "danger"}


class _RecentValues(SimpleListFilter):
    """Filters by a column, offering the values it had lately."""

    parameter_name: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        recent = Event.objects.filter(id__gt=newest_id() - _RECENT).order_by(self.parameter_name)
        values: set[str] = set(recent.values_list(self.parameter_name, flat=True).distinct())
        if chosen := self.value():
            values.add(chosen)
        return [(value, value) for value in sorted(values)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset

    def has_output(self) -> bool:
        return True


class KindFilter(_RecentValues):
    title = parameter_name = "kind"


class ActorFilter(_RecentValues):
    title = parameter_name = "actor"


@admin.register(Event)
class EventAdmin(ConsoleAdmin):
    """Rows are only ever added, by `events.log`."""

    plural = "Events"
    minor = ("subject", "actor")
    extra = ("kind",)
    live_on = "*"

    list_display = ("at", "shown_level", "kind", "subject", "message", "actor")
    list_display_links = ("at", "kind")
    list_filter = (KindFilter, "level", ActorFilter, ("at", DateFieldListFilter))
    search_fields = ("kind", "subject", "message", "actor")
    search_help_text = "Kind, subject, message or actor"
    ordering = ("-id",)
    fields = ("id", "at", "kind", "subject", "level", "message", "actor", "facts")
    readonly_fields = fields

    @display(description="Level", ordering="level", label=_LEVEL_COLOURS)
    def shown_level(self, event: Event) -> str:
        return event.level

    @display(description="Data")
    def facts(self, event: Event) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(event.data, indent=2, ensure_ascii=False))
