"""Jobs that run by the clock, in the console. Registered by `gaia_site.console.urls`, in place of the package's own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django_q.models import Schedule, Task
from unfold.decorators import display

from common.errors import GaiaError
from events.console.admin import ConsoleAdmin
from events.console.verbs import done
from events.models import Event
from gaia_site import scheduling, timetable

LIST = "admin:django_q_schedule_changelist"
_RUNS, _EVENTS, _NEXT = 10, 20, 3


class WhenForm(forms.Form):
    """When a job runs, in words."""

    when = forms.CharField(max_length=100, help_text=f"Such as: {timetable.EXAMPLES}")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


def _page_of(schedule: Schedule) -> str:
    return reverse("admin:django_q_schedule_change", args=[schedule.pk])


class ScheduleAdmin(ConsoleAdmin):
    """django-q2's schedules."""

    plural = "Jobs"
    noun, nouns = "job", "jobs"  # django-q2 calls them scheduled tasks
    list_display = ("state", "name", "does", "when", "next", "last", "took", "verbs")
    minor = ("does", "took")
    extra = ("when", "last", "verbs")
    numbers = ("next", "last", "took")
    search_fields = ("name", "func")
    search_help_text = "Name"
    ordering = ("name",)
    detail_template = "gaia/schedules/detail.html"
    live_on = "schedule."
    live_every = 5
    empty = {
        "icon": "event_repeat",
        "title": "No job yet",
        "text": "What GAIA does by the clock is listed here: looking after health, backups, cleaning up. "
        "gaia up makes those that come with it.",
    }

    @display(description="State")
    def state(self, schedule: Any) -> str:
        return ""

    @display(description="What it does")
    def does(self, schedule: Any) -> str:
        return ""

    @display(description="When")
    def when(self, schedule: Any) -> str:
        return ""

    @display(description="Next", ordering="next_run")
    def next(self, schedule: Any) -> str:
        return ""

    @display(description="Last")
    def last(self, schedule: Any) -> str:
        return ""

    @display(description="Took")
    def took(self, schedule: Any) -> str:
        return ""

    @display(description="")
    def verbs(self, schedule: Any) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).exclude(name=None)
        return rows

    def prepare_rows(self, rows: list[Any]) -> None:
        for row, facts in zip(rows, scheduling.describe_all(rows), strict=True):
            row.facts = facts

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("<int:pk>/when/", self.when_view, name="when", post_only=False),
            self.verb("<int:pk>/run/", self.run_view, name="run"),
            self.verb("<int:pk>/on/", self.on_view, name="on"),
            self.verb("<int:pk>/off/", self.off_view, name="off"),
            self.verb("<int:pk>/remove/", self.remove_view, name="remove"),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Schedule) -> dict[str, Any]:
        [facts] = scheduling.describe_all([row])
        return {
            "title": row.name,
            "schedule": row,
            "facts": facts,
            "next_runs": timetable.upcoming(row, _NEXT) if facts["enabled"] else [],
            "runs": lambda: _runs(row),
            "events": lambda: Event.objects.filter(subject=scheduling.key_of(row))[:_EVENTS],
        }

    def when_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The words, then the next runs they mean, then it is so."""
        schedule = self.find(request, pk)
        form = WhenForm(request.POST or None, initial={"when": timetable.words(schedule)})
        error, next_runs = None, []
        if request.method == "POST" and form.is_valid():
            when = form.cleaned_data["when"]
            try:
                next_runs = timetable.preview(when, _NEXT)
                if "agreed" in request.POST:
                    changed = scheduling.change(schedule, when)
                    told = f"{schedule.name} runs {timetable.words(schedule)}" + ("." if changed else ", as before.")
                    return done(request, told, go=_page_of(schedule), back="")
            except GaiaError as raised:
                error = raised
        context = {
            "title": f"When {schedule.name} runs", "schedule": schedule, "form": form, "error": error,
            "next_runs": next_runs,
        }  # fmt: skip
        return self.page(request, "gaia/schedules/when.html", context)

    def run_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Now, besides its own times."""
        schedule = self.find(request, pk)
        scheduling.run_now(schedule)
        return done(request, f"{schedule.name} runs as soon as a worker is free.", back=_page_of(schedule))

    def on_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """From its next time on."""
        schedule = self.find(request, pk)
        scheduling.turn(schedule, on=True)
        return done(request, f"{schedule.name} is on: {timetable.words(schedule)}.", back=_page_of(schedule))

    def off_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Until it is turned on again."""
        schedule = self.find(request, pk)
        scheduling.turn(schedule, on=False)
        return done(request, f"{schedule.name} is off.", back=_page_of(schedule))

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget one that does not come with GAIA."""
        schedule = self.find(request, pk)
        scheduling.remove(schedule)
        return done(request, f"{schedule.name} was removed.", go=reverse(LIST), back="")


def _runs(schedule: Schedule) -> list[Any]:
    found = list(Task.objects.filter(group=schedule.name).order_by("-stopped")[:_RUNS])
    for run in found:
        run.shown = "succeeded" if run.success else "failed"
        run.told = scheduling.problem_of(run) if not run.success else scheduling.result_of(run)
    return found


def register() -> None:
    """Let the console list them."""
    admin.site.register(Schedule, ScheduleAdmin)
