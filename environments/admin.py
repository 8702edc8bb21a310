"""Environments in the console: the list, one environment with its stages, set-up with its plan, removal."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError, InvalidInput
from common.looks import look_of
from environments import admin_backups, admin_layers, admin_ports  # noqa: F401  register their pages
from environments.actions import setup, stages
from environments.admin_git import GitPages, git_context
from environments.admin_health import attach_health, health_context
from environments.forms import SetupForm
from environments.models import Environment
from environments.overview import describe_all
from environments.states import ENVIRONMENT_ACTIVE, STAGE_NAMES, EnvironmentState
from events.console.admin import ConsoleAdmin
from events.console.filters import NeedsFilter, StateFilter
from events.console.verbs import done
from events.models import Event

_EVENTS = 20


class EnvironmentStateFilter(StateFilter):
    now_title = "present"
    choices_of_state = tuple((state.value, look_of(state).word) for state in EnvironmentState)

    def of_now(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state__in=ENVIRONMENT_ACTIVE)


class DamagedFilter(NeedsFilter):
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        live = list(queryset.filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git"))
        described = describe_all(live)
        wanted = [one["id"] for one in described if one["state"] == EnvironmentState.DAMAGED or _has_failed(one)]
        return queryset.filter(pk__in=wanted)


@admin.register(Environment)
class EnvironmentAdmin(GitPages, ConsoleAdmin):
    """Isolated checkouts."""

    plural = "Environments"
    list_display = ("state", "health", "name", "project", "branch", "changes", *STAGE_NAMES, "sessions", "checked")
    minor = ("project", "sessions", "checked", "branch")
    numbers = ("sessions", "checked")
    list_filter = (EnvironmentStateFilter, DamagedFilter, "project")
    list_select_related = ("project", "git")
    search_fields = ("name", "path", "branch", "project__name")
    search_help_text = "Name, path, branch, project"
    ordering = ("project__name", "number")
    list_buttons_template = "gaia/environments/buttons.html"
    detail_template = "gaia/environments/detail.html"
    live_on = "environment. git. process. session. environment/"
    live_every = 15
    empty = {
        "icon": "account_tree",
        "title": "No environment yet",
        "text": "Point GAIA at a git repository and it makes isolated checkouts of it, each with a branch, "
        "three stages, ports and databases of its own.",
        "url": "admin:environments_environment_setup",
        "first": "Set up environments…",
    }

    @display(description="Health")
    def health(self, environment: Environment) -> str:
        return ""

    @display(description="±")
    def changes(self, environment: Environment) -> str:
        return ""

    @display(description="dev")
    def dev(self, environment: Environment) -> str:
        return ""

    @display(description="qa")
    def qa(self, environment: Environment) -> str:
        return ""

    @display(description="staging")
    def staging(self, environment: Environment) -> str:
        return ""

    @display(description="Sessions", ordering="live_sessions")
    def sessions(self, environment: Environment) -> str:
        return ""

    @display(description="Git asked", ordering="git__checked_at")
    def checked(self, environment: Environment) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        live = Count("sessions", filter=Q(sessions__ended_at=None))
        rows: QuerySet[Environment] = super().get_queryset(request).annotate(live_sessions=live)
        return rows

    def prepare_rows(self, rows: list[Any]) -> None:
        for environment, facts in zip(rows, describe_all(rows), strict=True):
            environment.facts = facts
        attach_health(rows)

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("setup/", self.setup_view, name="setup", post_only=False),
            self.verb("remove/", self.remove_view, name="remove", post_only=False),
            self.verb("<int:pk>/stages/<str:stage>/launch/", self.launch_view, name="launch"),
            self.verb("<int:pk>/stages/<str:stage>/stop/", self.stop_view, name="stop"),
            *self.git_urls(),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Environment) -> dict[str, Any]:
        [facts] = describe_all([row])
        shown = request.GET.get("log", "")
        return {
            **git_context(row),
            **health_context(row),
            "environment": row,
            "facts": facts,
            "log_stage": shown if shown in STAGE_NAMES else _first_running(facts),
            "here": lambda: row.sessions.filter(ended_at=None),
            "events": lambda: Event.objects.filter(Q(subject=row.key) | Q(subject__startswith=f"{row.key}/"))[:_EVENTS],
        }

    def launch_view(self, request: HttpRequest, pk: int, stage: str) -> HttpResponse:
        """Start a stage."""
        found = stages.find_stage(self.find(request, pk), stage)
        stages.launch(found)
        return done(
            request, f"Stage {found.name} of {found.environment.directory} starts.", back=_page_of(found.environment)
        )

    def stop_view(self, request: HttpRequest, pk: int, stage: str) -> HttpResponse:
        """Stop a stage."""
        found = stages.find_stage(self.find(request, pk), stage)
        told = "stops" if stages.stop(found) else "did not run"
        return done(
            request, f"Stage {found.name} of {found.environment.directory} {told}.", back=_page_of(found.environment)
        )

    def setup_view(self, request: HttpRequest) -> HttpResponse:
        """The form, then the plan, then the operation that does it."""
        form = SetupForm(request.POST or None)
        plan, error = None, None
        if request.method == "POST" and form.is_valid() and "change" not in request.POST:
            try:
                plan = setup.plan_setup(**form.wanted())
                if "agreed" in request.POST:
                    operation = setup.request_setup(plan, idempotency_key=form.cleaned_data["key"])
                    return done(request, "", go=_operation_page(operation), back="")
            except GaiaError as raised:
                plan, error = None, raised
        context = {"title": "Set up", "form": form, "plan": plan and plan.as_dict(), "error": error}
        return self.page(request, "gaia/environments/setup.html", context)

    def remove_view(self, request: HttpRequest) -> HttpResponse:
        """Which environments, what would happen to each; then the operation that does it."""
        live = list(self.get_queryset(request).filter(state__in=ENVIRONMENT_ACTIVE).select_related("project", "git"))
        error = None
        if request.method == "POST":
            try:
                return done(request, "", go=_operation_page(_request_removal(live, request)), back="")
            except GaiaError as raised:
                error = raised
        self.prepare_rows(live)
        ticked = {int(text) for text in request.GET.getlist("id") if _is_id(text)}
        context = {
            "title": "Remove",
            "environments": live,
            "ticked": ticked,
            "error": error,
            "trash_days": settings.GAIA["environments.trash_days"],
        }
        return self.page(request, "gaia/environments/remove.html", context)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _request_removal(live: list[Environment], request: HttpRequest) -> Any:
    wanted = {int(text) for text in request.POST.getlist("id") if _is_id(text)}
    chosen = [environment for environment in live if environment.pk in wanted]
    projects = {environment.project for environment in chosen}
    if not chosen:
        raise InvalidInput("no environment was chosen", fix="Tick those to remove.")
    if len(projects) > 1:
        raise InvalidInput("these belong to several projects", fix="Remove those of one project at a time.")
    return setup.request_clean(projects.pop(), [environment.name for environment in chosen])


def _has_failed(facts: dict[str, Any]) -> bool:
    return any(stage["state"] == "failed" for stage in facts["stages"])


def _first_running(facts: dict[str, Any]) -> str:
    """The stage whose log is shown when none was asked for."""
    interesting = [stage["name"] for stage in facts["stages"] if stage["state"] != "stopped"]
    return interesting[0] if interesting else STAGE_NAMES[0]


def _page_of(environment: Environment) -> str:
    return reverse("admin:environments_environment_change", args=[environment.pk])


def _operation_page(operation: Any) -> str:
    return reverse("admin:processes_operation_change", args=[operation.pk])
