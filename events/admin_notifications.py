"""Who is told of events, and what became of that, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, reverse
from unfold.decorators import display

from common.errors import GaiaError, Unavailable
from common.looks import look_of
from events.console.admin import ConsoleAdmin
from events.console.filters import StateFilter
from events.console.verbs import done
from events.forms import ChangeDestinationForm, NewDestinationForm
from events.models import Destination, Event, Notification
from events.notifications import deliveries, destinations
from events.notifications.delivery import waiting_for
from events.states import NotificationState

LIST = "admin:events_destination_changelist"
_SHOWN = {
    NotificationState.WAITING: "trying",
    NotificationState.DELIVERED: "delivered",
    NotificationState.FAILED: "given_up",
}
_RECENT = 20


def shown_notification(state: str) -> str:
    """The name of a notification's state in `common.looks`."""
    return _SHOWN[NotificationState(state)]


def _page_of(destination: Destination) -> str:
    return reverse("admin:events_destination_change", args=[destination.pk])


@admin.register(Destination)
class DestinationAdmin(ConsoleAdmin):
    """Webhooks and mail addresses."""

    plural = "Destinations"
    list_display = ("state", "name", "shown_address", "events", "level", "waits", "over", "last_delivered")
    minor = ("level", "waits", "events")
    extra = ("shown_address",)
    numbers = ("waits", "over", "last_delivered")
    search_fields = ("name", "events")
    search_help_text = "Name, kinds of events"
    ordering = ("name",)
    list_buttons_template = "gaia/events/destination_buttons.html"
    detail_template = "gaia/events/destination.html"
    live_on = "destination. notification."
    live_every = 5
    empty = {
        "icon": "notifications",
        "title": "Nobody is told yet",
        "text": "A destination is a webhook or a mail address that is told of events you choose: an environment that "
        "is not well, a backup that failed. The console shows all of it without one.",
        "url": "admin:events_destination_new",
        "first": "Add a destination…",
    }

    @display(description="State", ordering="enabled")
    def state(self, destination: Any) -> str:
        return ""

    @display(description="Address", ordering="kind")
    def shown_address(self, destination: Any) -> str:
        return ""

    @display(description="Waiting")
    def waits(self, destination: Any) -> str:
        return ""

    @display(description="Given up")
    def over(self, destination: Any) -> str:
        return ""

    @display(description="Last delivered", ordering="last_delivered_at")
    def last_delivered(self, destination: Any) -> str:
        return ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return destinations.overview()

    def prepare_rows(self, rows: list[Any]) -> None:
        for row in rows:
            row.facts = destinations.describe(row)

    def get_urls(self) -> list[URLPattern]:
        return [
            self.verb("new/", self.new_view, name="new", post_only=False),
            self.verb("<int:pk>/edit/", self.edit_view, name="edit", post_only=False),
            self.verb("<int:pk>/test/", self.test_view, name="test"),
            self.verb("<int:pk>/on/", self.on_view, name="on"),
            self.verb("<int:pk>/off/", self.off_view, name="off"),
            self.verb("<int:pk>/retry/", self.retry_view, name="retry"),
            self.verb("<int:pk>/remove/", self.remove_view, name="remove"),
            *super().get_urls(),
        ]

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {
            "destination": row,
            "facts": destinations.describe(row),
            "notifications": lambda: _shown(
                row.notifications.select_related("destination", "event").order_by("-event_id")[:_RECENT]
            ),
            "problem": lambda: _problem_of(row),
            "events": lambda: Event.objects.filter(subject=destinations.key_of(row))[:_RECENT],
        }

    def new_view(self, request: HttpRequest) -> HttpResponse:
        """The form; then its page, where a test can be sent."""
        form, error = NewDestinationForm(request.POST or None), None
        if request.method == "POST" and form.is_valid():
            try:
                made = destinations.add(**form.wanted())
                return done(request, f"{made.name} is told of events from now on.", go=_page_of(made), back="")
            except GaiaError as raised:
                error = raised
        context = {
            "title": "Add a destination",
            "form": form,
            "error": error,
            "back": reverse(LIST),
            "button": "Add it",
        }
        return self.page(request, "gaia/events/destination_form.html", context)

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What is told to whom, from now on."""
        destination = self.find(request, pk)
        form, error = ChangeDestinationForm(request.POST or None, destination=destination), None
        if request.method == "POST" and form.is_valid():
            try:
                destinations.change(destination, **form.wanted())
                return done(request, f"{destination.name} was changed.", go=_page_of(destination), back="")
            except GaiaError as raised:
                error = raised
        context = {
            "title": f"Change {destination.name}", "form": form, "error": error, "back": _page_of(destination),
            "button": "Save",
        }  # fmt: skip
        return self.page(request, "gaia/events/destination_form.html", context)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a message now, and say what became of it. Raises: Unavailable when it was not delivered."""
        destination = self.find(request, pk)
        tested = destinations.send_test(destination)
        if not tested.delivered:
            raise Unavailable(
                tested.problem,
                meaning=f"The test did not reach {destination.name}; events would not reach it either.",
                fix="Mend it there, or change the address here, and send a test again.",
            )
        return done(request, f"{destination.name} took the test in {tested.took:.1f} s.", back=_page_of(destination))

    def on_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """From now on it is told."""
        destination = self.find(request, pk)
        destinations.turn(destination, on=True)
        return done(request, f"{destination.name} is told of events from now on.", back=_page_of(destination))

    def off_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """It is told of nothing until it is turned on again."""
        destination = self.find(request, pk)
        destinations.turn(destination, on=False)
        return done(request, f"{destination.name} is told of nothing any more.", back=_page_of(destination))

    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Everything that was given up."""
        destination = self.find(request, pk)
        count = deliveries.retry_all(destination)
        told = "1 notification is" if count == 1 else f"{count} notifications are"
        return done(request, f"{told} tried again.", back=_page_of(destination))

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Forget it."""
        destination = self.find(request, pk)
        destinations.remove(destination)
        return done(request, f"{destination.name} was removed.", go=reverse(LIST), back="")


class NotificationStateFilter(StateFilter):
    now_title = "all"
    choices_of_state = tuple((state.value, look_of(shown).word) for state, shown in _SHOWN.items())

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.choices_of_state)


@admin.register(Notification)
class NotificationAdmin(ConsoleAdmin):
    """Events on their way to destinations."""

    plural = "Notifications"
    list_display = ("state", "event", "destination", "attempts", "when", "problem", "verbs")
    minor = ("attempts", "problem")
    extra = ("destination", "when")
    numbers = ("attempts", "when")
    list_filter = (NotificationStateFilter, "destination")
    list_select_related = ("destination", "event")
    search_fields = ("event__message", "event__kind", "event__subject", "problem")
    search_help_text = "What happened, its kind, the problem"
    ordering = ("-id",)
    live_on = "notification."
    live_every = 5
    empty = {
        "icon": "notifications",
        "title": "Nobody was told of anything yet",
        "text": "What destinations are told of is listed here: delivered, waiting for its next try, or given up.",
        "url": "admin:events_destination_changelist",
        "first": "Destinations",
    }

    @display(description="When")
    def when(self, notification: Any) -> str:
        return ""

    @display(description="")
    def verbs(self, notification: Any) -> str:
        return ""

    def prepare_rows(self, rows: list[Any]) -> None:
        _shown(rows)

    def get_urls(self) -> list[URLPattern]:
        return [self.verb("<int:pk>/retry/", self.retry_view, name="retry"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A notification has no more to tell than its row; its event has."""
        notification = self.get_object(request, object_id)
        if notification is None:
            return redirect("admin:events_notification_changelist")
        return redirect("admin:events_event_change", notification.event_id)

    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Begin anew with one that was given up."""
        notification = self.find(request, pk)
        deliveries.retry(notification)
        told = f"{notification.destination.name} will be told again."
        return done(request, told, back=reverse("admin:events_notification_changelist"))


def _problem_of(destination: Destination) -> str:
    """Why the first of its queue was not taken."""
    told = waiting_for(destination).exclude(problem="").order_by("event_id").values_list("problem", flat=True)
    return told.first() or ""


def _shown(rows: Any) -> list[Any]:
    found = list(rows)
    for row in found:
        row.shown = shown_notification(row.state)
    return found
