"""Backups in the console: the list, one with what restoring it would change, taking some; the reset of environments."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError, InvalidInput
from common.looks import look_of
from environments.actions import backup_rounds, backups, reset, restores
from environments.actions.databases import OWN_CALLED, every_stage
from environments.models import Backup, Environment
from environments.states import BackupState, EnvironmentState
from events.console.admin import ConsoleAdmin
from events.console.filters import StateFilter, ValuesFilter
from events.console.verbs import done
from events.models import Event

_EVENTS = 20
_OWN = "gaia"


class BackupStateFilter(StateFilter):
    now_title = "present"
    choices_of_state = tuple((state.value, look_of(state).word) for state in BackupState)

    def of_now(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.exclude(state=BackupState.DELETED)


class OfFilter(ValuesFilter):
    """By environment, its past lives included."""

    title = "of"
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        of = Environment.objects.filter(stages__backups__isnull=False).select_related("project").order_by("number")
        found = {f"{each.project.name}/{each.name}": each.directory for each in of}
        own = [(_OWN, OWN_CALLED)] if Backup.objects.filter(stage=None).exists() else []
        return [*sorted(found.items()), *own]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = str(self.value() or "")
        if chosen in ("", _OWN):
            return queryset.filter(stage=None) if chosen else queryset
        project, _, name = chosen.partition("/")
        return queryset.filter(stage__environment__project__name=project, stage__environment__name=name)


@admin.register(Backup)
class BackupAdmin(ConsoleAdmin):
    """Backups of databases."""

    plural = "Backups"
    list_display = ("state", "of", "name", "reason", "size", "taken", "verified")
    numbers = ("size", "taken", "verified")
    minor = ("name", "reason", "verified")
    extra = ("size",)
    list_filter = (BackupStateFilter, OfFilter)
    list_select_related = ("stage__environment__project",)
    search_fields = ("name", "reason")
    search_help_text = "Name, reason"
    ordering = ("-created_at", "-id")
    list_buttons_template = "gaia/backups/buttons.html"
    detail_template = "gaia/backups/detail.html"
    live_on = "backup."
    live_every = 30
    empty: ClassVar = {
        "icon": "settings_backup_restore",
        "title": "No backup yet",
        "text": "Every database is copied once a day while it is in use, and each copy is restored to a scratch place "
        "before it counts. You need not wait for it.",
        "url": "admin:environments_backup_take",
        "first": "Back up now…",
    }

    @display(description="Of", ordering="stage")
    def of(self, backup: Backup) -> str:
        return ""

    @display(description="Taken", ordering="created_at")
    def taken(self, backup: Backup) -> str:
        return ""

    @display(description="Verified", ordering="verified_at")
    def verified(self, backup: Backup) -> str:
        return ""

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("take/", self.take_view, name="take", post_only=False),
            self.verb("reset/", self.reset_view, name="reset", post_only=False),
            self.verb("<int:pk>/restore/", self.restore_view, name="restore"),
            self.verb("<int:pk>/verify/", self.verify_view, name="verify"),
            self.verb("<int:pk>/delete/", self.remove_view, name="remove"),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Backup) -> dict[str, Any]:
        return {
            "backup": row,
            # looked at once, and only when a part of the page shows it
            "preview": cache(lambda: restores.preview(row) if row.state == BackupState.VERIFIED else None),
            "events": lambda: Event.objects.filter(subject=row.key)[:_EVENTS],
        }

    def take_view(self, request: HttpRequest) -> HttpResponse:
        """Which databases, then the operation that backs them up."""
        live, error = _live(), None
        if request.method == "POST":
            try:
                operation = _request(live, request.POST.getlist("id"), own="gaia" in request.POST)
                return done(request, "", go=_page_of(operation), back="")
            except GaiaError as raised:
                error = raised
        return self.page(request, "gaia/backups/take.html", {"title": "Back up", "environments": live, "error": error})

    def reset_view(self, request: HttpRequest) -> HttpResponse:
        """Which environments are to be as new, what happens to each; then the operation that does it."""
        live, error = _live(), None
        if request.method == "POST":
            try:
                return done(request, "", go=_page_of(_request_reset(live, request.POST.getlist("id"))), back="")
            except GaiaError as raised:
                error = raised
        context = {"title": "Reset", "environments": live, "ticked": request.GET.getlist("id"), "error": error}
        return self.page(request, "gaia/backups/reset.html", context)

    def restore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The operation that puts it in the place of its database."""
        restart = request.GET.get("restart") == "yes"
        return done(
            request, "", go=_page_of(restores.request_restore(self.find(request, pk), restart=restart)), back=""
        )

    def verify_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The operation that restores it to a scratch place once more."""
        return done(request, "", go=_page_of(backup_rounds.request_verify(self.find(request, pk))), back="")

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Delete its file."""
        backup = self.find(request, pk)
        backups.delete(backup)
        here = reverse("admin:environments_backup_changelist")
        return done(request, f"{backup.name} is deleted.", go=here, back=here)


def _live() -> list[Environment]:
    there = Environment.objects.filter(state__in=(EnvironmentState.READY, EnvironmentState.DAMAGED))
    return list(there.select_related("project").prefetch_related("stages").order_by("project__name", "number"))


def _request_reset(live: list[Environment], ticked: list[str]) -> Any:
    """Raises: InvalidInput when nothing was ticked, or environments of several projects."""
    chosen = [environment for environment in live if str(environment.pk) in ticked]
    if not chosen:
        raise InvalidInput("no environment was chosen", fix="Tick those to reset.")
    if len({environment.project_id for environment in chosen}) > 1:
        raise InvalidInput("these belong to several projects", fix="Reset those of one project at a time.")
    return reset.request_reset(chosen[0].project, [environment.name for environment in chosen])


def _request(live: list[Environment], ticked: list[str], *, own: bool) -> Any:
    """Raises: InvalidInput when nothing was ticked."""
    chosen = [environment for environment in live if str(environment.pk) in ticked]
    if not chosen and not own:
        raise InvalidInput("nothing was chosen", fix="Tick what to back up.")
    return backup_rounds.request_backups(every_stage(chosen), own=own)


def _page_of(operation: Any) -> str:
    return reverse("admin:processes_operation_change", args=[operation.pk])
