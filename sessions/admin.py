"""Sessions in the console: the list, one session with its screen and a box to type into it, start and stop."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError, InvalidInput
from common.looks import look_of
from events.console.admin import ConsoleAdmin
from events.console.filters import NeedsFilter, StateFilter, ValuesFilter
from events.console.verbs import done
from events.models import Event
from sessions.actions import adoption, control, start
from sessions.configured import providers
from sessions.forms import NewSessionForm
from sessions.models import Session
from sessions.states import SESSION_ACTIVE, SESSION_TERMINAL, Origin, Runs, SessionState

LIST = "admin:gaia_sessions_session_changelist"
KEYS = (("Enter", "Enter"), ("Escape", "Esc"), ("C-c", "Ctrl-C"), ("Up", "↑"), ("Down", "↓"), ("Tab", "Tab"))
_EVENTS = 20


class SessionStateFilter(StateFilter):
    now_title = "live"
    choices_of_state = (*((state.value, look_of(state).word) for state in SessionState), ("past", "past"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "past":
            return queryset.filter(state__in=SESSION_TERMINAL)
        return super().queryset(request, queryset)

    def of_now(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state__in=SESSION_ACTIVE)


class GroupFilter(ValuesFilter):
    title = parameter_name = "group"

    def titles(self) -> dict[str, str]:
        return {group.key: group.label for group in start.fleet().groups}


class ProviderFilter(ValuesFilter):
    title = parameter_name = "provider"

    def titles(self) -> dict[str, str]:
        return {name: name for name in providers()}


class RunsFilter(ValuesFilter):
    title = parameter_name = "runs"

    def titles(self) -> dict[str, str]:
        return {str(value): str(value) for value in Runs}


class OriginFilter(ValuesFilter):
    title, parameter_name = "whose", "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in Origin.choices]  # all of them, without asking the database


class EndedFilter(NeedsFilter):
    def of_those(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=SessionState.EXITED).exclude(origin=Origin.FOREIGN)


@admin.register(Session)
class SessionAdmin(ConsoleAdmin):
    """tmux sessions: GAIA's, and those of others that it sees or has adopted."""

    plural = "Sessions"
    list_display = ("state", "name", "group", "provider", "shown_runs", "environment", "command", "last_output")
    minor = ("group", "environment", "command")
    extra = ("provider",)
    numbers = ("last_output",)
    list_filter = (SessionStateFilter, EndedFilter, GroupFilter, ProviderFilter, RunsFilter, OriginFilter)
    list_select_related = ("environment",)
    search_fields = ("name", "tmux_name", "role", "provider", "cwd")
    search_help_text = "Name, role, provider, directory"
    list_buttons_template = "gaia/sessions/buttons.html"
    detail_template = "gaia/sessions/detail.html"
    live_on = "session."
    live_every = 1
    empty = {
        "icon": "terminal",
        "title": "No session runs",
        "text": "The fleet is the sessions of your fleet file, in tmux, each in its environment. "
        "They go on when GAIA stops.",
        "url": "admin:gaia_sessions_session_start",
        "first": "Start fleet…",
    }

    @display(description="Runs", ordering="runs")
    def shown_runs(self, session: Session) -> str:
        return session.runs

    @display(description="Last output", ordering="active_at")
    def last_output(self, session: Session) -> str:
        return ""

    def prepare_rows(self, rows: list[Any]) -> None:
        groups = {group.key: group.label for group in start.fleet().groups}
        for session in rows:
            session.group_label = groups.get(session.group, session.group)
            session.short_reason = session.reason.partition(" (")[0]  # where it was looked for is on hover

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("start/", self.start_view, name="start", post_only=False),
            self.verb("stop/", self.stop_fleet_view, name="stop_fleet", post_only=False),
            self.verb("new/", self.new_view, name="new", post_only=False),
            self.verb("<int:pk>/send/", self.send_view, name="send"),
            self.verb("<int:pk>/key/", self.key_view, name="key"),
            self.verb("<int:pk>/stop/", self.stop_view, name="stop"),
            self.verb("<int:pk>/adopt/", self.adopt_view, name="adopt"),
            self.verb("<int:pk>/release/", self.release_view, name="release"),
            self.verb("<int:pk>/again/", self.again_view, name="again"),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Session) -> dict[str, Any]:
        loaded = start.fleet()
        group = next((group.label for group in loaded.groups if group.key == row.group), row.group)
        return {
            "session": row,
            "group_label": group,
            "keys": KEYS,
            "attach_command": f"gaia attach {row.name}",
            "in_fleet": row.origin == Origin.GAIA and any(one.name == row.name for one in loaded.sessions),
            "events": lambda: Event.objects.filter(subject=row.key)[:_EVENTS],
            "successor": lambda: Session.objects.live().managed().filter(name=row.name).first(),
        }

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """Which of the fleet to start, with what that means; then start it."""
        error = None
        if request.method == "POST":
            try:
                started = start.start_fleet(group=request.POST.get("group") or None)
                return done(request, told_of(started), back=reverse(LIST))
            except GaiaError as raised:
                error = raised
        live = set(Session.objects.live().managed().values_list("name", flat=True))
        groups = _groups(lambda name: name not in live)
        context = {
            "title": "Start",
            "error": error,
            "groups": groups,
            "count": sum(len(group["names"]) for group in groups),
        }
        return self.page(request, "gaia/sessions/start.html", context)

    def stop_fleet_view(self, request: HttpRequest) -> HttpResponse:
        """Which of the fleet to stop, with what that means; then stop it."""
        if request.method == "POST":
            names = start.stop_fleet(group=request.POST.get("group") or None)
            return done(request, f"{len(names)} sessions were stopped.", back=reverse(LIST))
        live = set(Session.objects.live().own().values_list("name", flat=True))
        groups = _groups(lambda name: name in live)
        context = {"title": "Stop", "groups": groups, "count": sum(len(group["names"]) for group in groups)}
        return self.page(request, "gaia/sessions/stop.html", context)

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """A session that is not part of the fleet."""
        form, error = NewSessionForm(request.POST or None), None
        if request.method == "POST" and form.is_valid():
            try:
                session = start.create(**form.wanted())
                return done(request, f"Session {session.name} runs.", back=_page_of(session))
            except GaiaError as raised:
                error = raised
        return self.page(request, "gaia/sessions/new.html", {"title": "New session", "form": form, "error": error})

    def send_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Type text, then Enter unless `enter` is empty."""
        session, text = self.find(request, pk), request.POST.get("text", "").replace("\r\n", "\n")
        enter = bool(request.POST.get("enter"))
        control.send_keys(session, text, enter=enter)
        told = " and ".join([*([f"{len(text)} characters"] if text else []), *(["Enter"] if enter else [])])
        return done(request, f"Typed {told}", back=_page_of(session))

    def key_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Press one of the keys on the page."""
        session, key = self.find(request, pk), request.POST.get("key", "")
        if key not in {name for name, _ in KEYS}:
            raise InvalidInput(f"there is no key {key!r} here", fix="Use one of the buttons.")
        control.send_key(session, key)
        return done(request, f"Pressed {key}", back=_page_of(session))

    def stop_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """End it and what runs in it."""
        session = self.find(request, pk)
        control.stop([session])
        return done(request, f"Session {session.name} was stopped.", back=_page_of(session))

    def adopt_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Work with a session that GAIA did not start."""
        session = adoption.adopt(self.find(request, pk))
        return done(request, f"Session {session.name} is adopted.", go=_page_of(session), back=_page_of(session))

    def release_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Only look at an adopted session again."""
        session = adoption.release(self.find(request, pk))
        return done(request, f"Session {session.name} is let go.", go=_page_of(session), back=_page_of(session))

    def again_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Start one of the fleet's sessions that has ended; it gets a page of its own."""
        session = self.find(request, pk)
        started = start.start_fleet(only=[session.name])
        return done(request, told_of(started), go=_page_of(control.find(session.name)), back=reverse(LIST))


def told_of(started: start.Started) -> str:
    """What a start did, in a sentence or two."""
    parts = [f"{len(started.started)} sessions were started" if started.started else "Nothing had to be started"]
    if started.already:
        parts.append(f"{len(started.already)} ran already")
    if started.shells:
        parts.append(f"{len(started.shells)} run a shell for want of an agent")
    if started.failed:
        name, reason = next(iter(started.failed.items()))
        parts.append(f"{len(started.failed)} failed ({name}: {reason})")
    return ", ".join(parts) + "."


def _page_of(session: Session) -> str:
    return reverse("admin:gaia_sessions_session_change", args=[session.pk])


def _groups(wanted: Any) -> list[dict[str, Any]]:
    """The fleet's groups with the names of those sessions that are wanted."""
    loaded = start.fleet()
    return [
        {
            "key": group.key,
            "label": group.label,
            "all": len(loaded.in_group(group.key)),
            "names": [one.name for one in loaded.in_group(group.key) if wanted(one.name)],
        }
        for group in loaded.groups
        if loaded.in_group(group.key)
    ]
