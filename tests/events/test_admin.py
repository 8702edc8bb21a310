"""The log in the console."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from events import log
from events.actor import acting_as
from events.models import Event
from tests.conftest import Operator

pytestmark = pytest.mark.django_db
LIST = "admin:events_event_changelist"


@pytest.fixture
def console(operator: Operator) -> Client:
    """A signed-in browser; the log holds one event by the operator's terminal and three by a node."""
    with acting_as("node:local"), log.atomic():
        log.emit("session.started", subject="session/dev1_worker", message="Session dev1_worker started")
        log.emit("session.lost", subject="session/dev2_worker", message="Session dev2_worker is gone", level="error")
        log.emit(
            "stage.started", subject="stage/dev1/qa", message="<script>alert(1)</script>", level="warning", port=8181
        )
    client = Client()
    client.force_login(operator.user)
    return client


def shown(console: Client, **query: str) -> list[str]:
    answer = console.get(reverse(LIST), query)
    assert answer.status_code == 200
    return [event.kind for event in answer.context["cl"].result_list]


def test_newest_first_and_escaped(console: Client) -> None:
    assert shown(console) == ["stage.started", "session.lost", "session.started", "token.issued"]
    page = console.get(reverse(LIST)).content.decode()
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "session.lost"}, ["session.lost"]),
        ({"kind": "never.happened"}, []),
        ({"level__exact": "warning"}, ["stage.started"]),
        ({"actor": "cli:tester"}, ["token.issued"]),
        ({"q": "dev1"}, ["stage.started", "session.started"]),
        ({"q": "gone"}, ["session.lost"]),
        ({"at__gte": "2100-01-01 00:00:00+00:00"}, []),
        (
            {"at__gte": "2000-01-01 00:00:00+00:00", "actor": "node:local", "q": "worker"},
            ["session.lost", "session.started"],
        ),
    ],
)
def test_filters(console: Client, query: dict[str, str], expected: list[str]) -> None:
    assert shown(console, **query) == expected


def test_filters_offer_what_there_is(console: Client) -> None:
    filters = {each.title: each for each in console.get(reverse(LIST)).context["cl"].filter_specs}
    assert [value for value, _ in filters["kind"].lookup_choices] == [
        "session.lost",
        "session.started",
        "stage.started",
        "token.issued",
    ]
    assert [value for value, _ in filters["actor"].lookup_choices] == ["cli:tester", "node:local"]


def test_one_event_can_be_read_only(console: Client) -> None:
    event = Event.objects.get(kind="stage.started")
    page = console.get(reverse("admin:events_event_change", args=[event.pk]))
    assert page.status_code == 200
    assert "8181" in page.content.decode()
    assert console.post(reverse("admin:events_event_change", args=[event.pk]), {"kind": "x"}).status_code == 403
    assert console.get(reverse("admin:events_event_add")).status_code == 403
    assert console.post(reverse("admin:events_event_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    console.post(reverse(LIST), {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"})
    assert Event.objects.get(pk=event.pk).kind == "stage.started"


def test_signed_out(console: Client) -> None:
    assert Client().get(reverse(LIST)).status_code == 302


def test_queries_do_not_grow(console: Client) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            shown(console)
        counts.append(len(queries))
        with acting_as("node:local"), log.atomic():
            for number in range(150):
                log.emit(f"test.n{number}", subject="test", message="x")
    assert counts[0] == counts[1] <= 15
