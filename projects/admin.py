"""Projects in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from common.redaction import mask_url
from events.console.admin import ConsoleAdmin
from events.models import Event
from projects.models import Project

_EVENTS = 20


@admin.register(Project)
class ProjectAdmin(ConsoleAdmin):
    """Repositories we work on."""

    plural = "Projects"
    list_display = ("name", "source", "default_branch", "present", "base_port", "root", "created_at")
    minor = ("root", "base_port", "default_branch")
    numbers = ("present", "base_port", "created_at")
    search_fields = ("name", "source", "root")
    search_help_text = "Name, source, directory"
    list_buttons_template = "gaia/projects/buttons.html"
    detail_template = "gaia/projects/detail.html"
    live_on = "project. environment."
    empty = {
        "icon": "folder_code",
        "title": "No project yet",
        "text": "A project is a git repository GAIA works on. Setting up its environments registers it.",
        "url": "admin:environments_environment_setup",
        "first": "Set up environments…",
    }

    @display(description="Environments", ordering="environments_present")
    def present(self, project: Project) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        present = Count("environments", filter=Q(environments__removed_at=None))
        rows: QuerySet[Project] = super().get_queryset(request).annotate(environments_present=present)
        return rows

    def prepare_rows(self, rows: list[Any]) -> None:
        for project in rows:
            project.shown_source = mask_url(project.source)

    def detail(self, request: HttpRequest, row: Project) -> dict[str, Any]:
        return {
            "project": row,
            "source": mask_url(row.source),
            "environments": lambda: row.environments.filter(removed_at=None),
            "events": lambda: Event.objects.filter(subject=f"project/{row.name}")[:_EVENTS],
        }
