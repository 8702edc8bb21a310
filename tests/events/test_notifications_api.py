"""Destinations and notifications over the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from events.models import Destination, Event, Notification
from events.notifications import destinations
from events.states import NotificationState
from tests.conftest import Operator
from tests.endpoints import client_of, problem
from tests.events.receivers import Receiver, web_receiver

pytestmark = pytest.mark.django_db

DESTINATIONS, NOTIFICATIONS = "/api/events/destinations/", "/api/events/notifications/"
SECRET = "0123456789abcdef"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web_receiver() as found:
        yield found


@pytest.fixture
def client(operator: Operator) -> APIClient:
    return client_of(operator.token)


@pytest.fixture
def ops(acting: str) -> Destination:
    return destinations.add("ops", "http://127.0.0.1:9/services/T0/verysecretpath", secret=SECRET)


def body(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return response.json()


def test_a_destination_from_its_making_to_its_end(client: APIClient) -> None:
    wanted = {"name": "ops", "address": "http://127.0.0.1:9/very/secret", "secret": SECRET, "events": "*.failed  a.b"}
    made = body(client.post(DESTINATIONS, wanted), 201)
    assert made == {
        "id": made["id"], "name": "ops", "kind": "webhook", "address": "http://127.0.0.1:9/…", "signed": True,
        "events": "*.failed a.b", "level": "warning", "enabled": True, "state": "on", "waiting": 0, "given_up": 0,
        "last_delivered_at": None,
    }  # fmt: skip
    path = f"{DESTINATIONS}{made['id']}/"
    changed = body(client.patch(path, {"level": "error", "enabled": False, "secret": ""}))
    assert (changed["level"], changed["enabled"], changed["state"], changed["signed"]) == ("error", False, "off", False)
    assert changed["events"] == "*.failed a.b", "what was not given stays"
    assert body(client.get(DESTINATIONS))["results"] == [changed]
    assert body(client.get(path)) == changed
    assert client.delete(path).status_code == 204
    assert not Destination.objects.exists()
    assert Event.objects.filter(subject="destination/ops").latest("id").actor.startswith("token:")


def test_no_answer_has_the_secret_or_the_path(client: APIClient, ops: Destination) -> None:
    answers = [
        client.get(DESTINATIONS), client.get(f"{DESTINATIONS}{ops.pk}/"), client.get("/api/events/"),
        client.patch(f"{DESTINATIONS}{ops.pk}/", {"secret": SECRET[::-1]}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 200
        assert b"verysecretpath" not in answer.content
        assert SECRET.encode() not in answer.content
        assert SECRET[::-1].encode() not in answer.content


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"name": "ops", "address": "http://169.254.169.254/"}, 400),
        ({"name": "ops", "address": "http://a.lan/", "level": "loud"}, 400),
        ({"name": "o/p", "address": "http://a.lan/"}, 400),
        ({"address": "http://a.lan/"}, 400),
        ({"name": "taken", "address": "http://a.lan/"}, 409),
    ],
)
def test_mistakes(given: dict[str, str], status: int, client: APIClient, acting: str) -> None:
    destinations.add("taken", "http://a.lan/")
    problem(client.post(DESTINATIONS, given), status)
    assert Destination.objects.count() == 1


def test_one_that_is_off_from_the_beginning(client: APIClient) -> None:
    made = body(client.post(DESTINATIONS, {"name": "ops", "address": "http://a.lan/", "enabled": False}), 201)
    assert made["state"] == "off"


def test_a_test_answers_with_what_became_of_it(client: APIClient, receiver: Receiver, acting: str) -> None:
    ops = destinations.add("ops", receiver.url)
    receiver.answer = lambda number: (500, "no")
    tested = body(client.post(f"{DESTINATIONS}{ops.pk}/test/"))
    assert (tested["delivered"], tested["problem"]) == (False, "127.0.0.1 answered 500: no")


def test_notifications_are_listed_and_tried_again(client: APIClient, ops: Destination) -> None:
    event = Event.objects.latest("id")
    row = Notification.objects.create(
        destination=ops, event=event, state=NotificationState.FAILED, attempts=30, problem="it was down"
    )
    [listed] = body(client.get(NOTIFICATIONS, {"state": "failed", "destination": "ops"}))["results"]
    assert listed == {
        "id": row.pk, "destination": "ops", "state": "failed", "attempts": 30, "next_try_at": None,
        "delivered_at": None, "problem": "it was down", "event": event.as_dict(),
    }  # fmt: skip
    assert body(client.get(NOTIFICATIONS, {"destination": "nobody"}))["results"] == []
    again = body(client.post(f"{NOTIFICATIONS}{row.pk}/retry/"), 202)
    assert (again["state"], again["attempts"], again["problem"]) == ("waiting", 0, "")
    assert again["next_try_at"] is not None
    problem(client.post(f"{NOTIFICATIONS}{row.pk}/retry/"), 409)


def test_it_is_failing_while_tries_fail(client: APIClient, ops: Destination) -> None:
    Notification.objects.create(destination=ops, event=Event.objects.latest("id"), attempts=2)
    [listed] = body(client.get(DESTINATIONS))["results"]
    assert (listed["state"], listed["waiting"]) == ("failing", 1)
