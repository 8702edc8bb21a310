"""Health in the console: how every environment is now, how it was, and a look on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, reverse

from environments.actions import health
from environments.health_overview import describe_period, health_of, health_of_all, history, overall
from environments.models import Environment, Health
from environments.states import ENVIRONMENT_ACTIVE, Verdict
from environments.wording import so_many
from events.console.admin import ConsoleAdmin
from events.console.filters import NeedsFilter, ValuesFilter
from events.console.verbs import done


class VerdictFilter(ValuesFilter):
    title = "verdict"
    parameter_name = "verdict"

    def titles(self) -> dict[str, str]:
        return {verdict.value: verdict.label.lower() for verdict in Verdict}


class EnvironmentFilter(ValuesFilter):
    title = "environment"
    parameter_name = "environment"

    def titles(self) -> dict[str, str]:
        live = Environment.objects.filter(state__in=ENVIRONMENT_ACTIVE)
        return {str(each.pk): each.directory for each in live}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.titles().items())


class NotWellFilter(NeedsFilter):
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = Q(until=None, environment__state__in=ENVIRONMENT_ACTIVE)
        return queryset.filter(now).exclude(verdict=Verdict.OK)


@admin.register(Health)
class HealthAdmin(ConsoleAdmin):
    """How environments are, and were."""

    plural = "Health"
    noun, nouns = "period", "periods"
    change_list_template = "gaia/health/list.html"
    detail_template = "gaia/health/period.html"
    list_display = ("verdict", "environment", "why", "since", "until")
    numbers = ("since", "until")
    minor = ("until",)
    extra = ("why",)
    list_filter = (VerdictFilter, EnvironmentFilter, NotWellFilter)
    list_select_related = ("environment",)
    list_per_page = 30
    search_fields = ("environment__path", "findings")
    search_help_text = "Environment, what was found"
    ordering = ("-since", "-id")
    live_on = "environment."
    live_every = 20
    empty: ClassVar = {
        "icon": "monitor_heart",
        "title": "Nobody has looked yet",
        "text": "Every few minutes GAIA looks whether directories, git, stages, databases and disks are well. What "
        "changes is kept here.",
    }

    def why(self, row: Health) -> str:
        return ""

    def until(self, row: Health) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Health]:
        return history()

    def prepare_rows(self, rows: list[Any]) -> None:
        for row in rows:
            row.facts = describe_period(row)

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("check/", self.check_all_view, name="check_all"),
            self.verb("<int:pk>/check/", self.check_view, name="check"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"now": Now(), **(extra_context or {})})

    def detail(self, request: HttpRequest, row: Health) -> dict[str, Any]:
        return {"environment": row.environment, "period": describe_period(row), "title": row.environment.directory}

    def check_all_view(self, request: HttpRequest) -> HttpResponse:
        """Look at all environments now."""
        rows = health.monitor()
        return done(request, _told(rows), back=reverse("admin:environments_health_changelist"))

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Look at one environment now; `pk` is the environment's."""
        environment = get_object_or_404(Environment, pk=pk, state__in=ENVIRONMENT_ACTIVE)
        rows = health.monitor([environment])
        return done(request, _told(rows), back=reverse("admin:environments_environment_change", args=[pk]))


class Now:
    """The part of the page above the history, looked up when it is drawn."""

    def __init__(self) -> None:
        self._environments: list[dict[str, Any]] | None = None

    @property
    def environments(self) -> list[dict[str, Any]]:
        """Every live environment, worst first."""
        if self._environments is None:
            self._environments = health_of_all()
        return self._environments

    @property
    def not_well(self) -> list[dict[str, Any]]:
        return [one for one in self.environments if one["verdict"] != Verdict.OK]

    @property
    def well(self) -> list[dict[str, Any]]:
        return [one for one in self.environments if one["verdict"] == Verdict.OK]

    @property
    def overall(self) -> dict[str, Any]:
        return overall(self.environments)


def health_context(environment: Environment) -> dict[str, Any]:
    """What an environment's page shows of its health; asked for when that part is drawn."""
    return {"health": lambda: health_of([environment])[0]}


def attach_health(environments: Sequence[Any]) -> None:
    """Give the rows of a list their health; one query."""
    described = {one["id"]: one for one in health_of(environments)}
    for environment in environments:
        environment.health_now = described[environment.pk]


def _told(rows: Sequence[Health]) -> str:
    bad = sum(row.verdict != Verdict.OK for row in rows)
    if not rows:
        return "There was nothing to look at."
    return f"{so_many(len(rows))} looked at: " + (f"{bad} not well." if bad else "all is well.")
