"""Destinations and notifications in the console, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from events import log
from events.models import Destination, Event, Notification
from events.notifications import destinations
from events.states import NotificationState
from tests.conftest import Operator
from tests.events.receivers import Receiver, web_receiver

pytestmark = pytest.mark.django_db

LIST = "/admin/events/destination/"
SECRET = "0123456789abcdef"


@pytest.fixture
def console(operator: Operator) -> Client:
    client = Client()
    client.force_login(operator.user)
    return client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web_receiver() as found:
        yield found


@pytest.fixture
def ops(acting: str) -> Destination:
    return destinations.add("ops", "http://127.0.0.1:9/very/secretpath", secret=SECRET)


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def tell(destination: Destination, count: int, **more: object) -> None:
    with log.atomic():
        for number in range(count):
            log.emit("stage.failed", subject="x/y", message=f"Stage {number} failed")
    for event in Event.objects.filter(kind="stage.failed").exclude(notifications__destination=destination):
        Notification.objects.create(destination=destination, event=event, **more)


def test_an_empty_list_offers_the_first_step(console: Client) -> None:
    assert "Add a destination…" in text(console, LIST)
    assert reverse("admin:events_destination_new") in text(console, LIST)
    assert "Nobody was told" in text(console, "/admin/events/notification/")


def test_a_destination_is_added_by_the_form(console: Client) -> None:
    page = text(console, f"{LIST}new/")
    assert 'name="secret" value="' in page
    given = {"name": "ops", "address": "http://127.0.0.1:9/x", "events": "*", "level": "error", "secret": SECRET}
    wrong = console.post(f"{LIST}new/", {**given, "address": "http://169.254.169.254/"})
    assert "Nothing is sent" in wrong.content.decode() or "nothing is sent" in wrong.content.decode()
    answer = console.post(f"{LIST}new/", given)
    made = Destination.objects.get()
    assert answer.headers["Location"] == f"{LIST}{made.pk}/change/"
    assert (made.level, made.secret) == ("error", SECRET)
    assert Event.objects.get(kind="destination.added").actor.startswith("user:")


def test_what_the_form_of_a_change_does_not_show_stays(console: Client, ops: Destination) -> None:
    page = text(console, f"{LIST}{ops.pk}/edit/")
    assert SECRET not in page
    assert "secretpath" not in page
    console.post(f"{LIST}{ops.pk}/edit/", {"events": "a.b", "level": "info", "address": "", "secret": ""})
    ops.refresh_from_db()
    assert (ops.events, ops.level, ops.secret) == ("a.b", "info", SECRET)
    assert ops.address.endswith("secretpath")
    console.post(f"{LIST}{ops.pk}/edit/", {"events": "a.b", "level": "info", "unsigned": "on"})
    ops.refresh_from_db()
    assert ops.secret == ""


def test_pages_show_neither_secret_nor_path(console: Client, ops: Destination) -> None:
    for path in (LIST, f"{LIST}{ops.pk}/change/"):
        page = text(console, path)
        assert "http://127.0.0.1:9/…" in page
        assert "secretpath" not in page
        assert SECRET not in page


def test_send_a_test_reports_what_happened(console: Client, receiver: Receiver, acting: str) -> None:
    ops = destinations.add("ops", receiver.url)
    path = f"{LIST}{ops.pk}/test/"
    assert console.get(path).status_code == 405
    answer = console.post(path, headers={"Accept": "application/json"})
    assert answer.json()["message"].startswith("ops took the test in ")
    receiver.answer = lambda number: (403, "go away")
    refused = console.post(path, headers={"Accept": "application/json"})
    assert refused.status_code == 503
    assert refused.json()["title"] == "127.0.0.1 answered 403: go away"


def test_verbs(console: Client, ops: Destination) -> None:
    for verb, enabled in (("off", False), ("on", True)):
        console.post(f"{LIST}{ops.pk}/{verb}/")
        ops.refresh_from_db()
        assert ops.enabled is enabled
    tell(ops, 2, state=NotificationState.FAILED)
    assert "Try 2 again" in text(console, f"{LIST}{ops.pk}/change/")
    [first, second] = ops.notifications.order_by("id")
    page = text(console, "/admin/events/notification/?state=failed")
    assert page.count("Try again</button>") == 2
    console.post(f"/admin/events/notification/{first.pk}/retry/")
    assert ops.notifications.get(state=NotificationState.WAITING) == first
    console.post(f"{LIST}{ops.pk}/retry/")
    assert not ops.notifications.filter(state=NotificationState.FAILED).exists()
    assert (
        console.get(f"/admin/events/notification/{second.pk}/change/")
        .headers["Location"]
        .endswith(f"/event/{second.event_id}/change/")
    )
    assert console.get("/admin/events/notification/999999/change/").status_code == 302
    answer = console.post(f"{LIST}{ops.pk}/remove/", headers={"Accept": "application/json"})
    assert answer.json()["url"] == LIST
    assert not Destination.objects.exists()


def test_what_fails_is_seen_as_failing(console: Client, ops: Destination) -> None:
    tell(ops, 1, attempts=3, problem="it is down", next_try_at=timezone.now() + timedelta(minutes=9))
    page = text(console, f"{LIST}{ops.pk}/change/")
    assert "look-warning" in page
    assert "it is down" in page
    assert "next try" in text(console, "/admin/events/notification/")


@pytest.mark.parametrize("path", [LIST, "/admin/events/notification/", "{detail}"])
def test_pages_cost_the_same_however_much_there_is(path: str, console: Client, ops: Destination) -> None:
    path = path.format(detail=f"{LIST}{ops.pk}/change/")
    counts = []
    for _ in range(2):
        tell(ops, 30)
        destinations.add(f"more{Destination.objects.count()}", "http://127.0.0.1:9/")
        console.get(path)
        with CaptureQueriesContext(connection) as captured:
            console.get(path)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 16
