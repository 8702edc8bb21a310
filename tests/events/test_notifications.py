"""Events reach their destinations: which are chosen, and what is sent of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import resolve

from events.models import Destination, Event
from events.notifications import destinations
from events.notifications.choice import wants
from events.notifications.delivery import deliver
from events.notifications.fanout import fan_out
from events.notifications.message import link_to
from events.notifications.notifier import pending
from events.states import NotificationState
from events.tail import newest_id
from tests.events.receivers import Mailbox, Receiver
from tests.events.telling import SECRET, Clock, happen, queue, states

pytestmark = pytest.mark.django_db


# -- which


@pytest.mark.parametrize(
    ("patterns", "level", "kind", "of_level", "wanted"),
    [
        ("*", "info", "stage.failed", "info", True),
        ("*", "warning", "stage.failed", "info", False),
        ("*", "warning", "stage.failed", "error", True),
        ("*", "error", "stage.failed", "warning", False),
        ("*.failed", "info", "stage.failed", "info", True),
        ("*.failed", "info", "stage.started", "info", False),
        ("environment.health stage.*", "info", "stage.started", "info", True),
        ("environment.health stage.*", "info", "environment.healthy", "info", False),
        ("session.[ef]*", "info", "session.exited", "info", True),
        ("session.?", "info", "session.exited", "info", False),
        ("Stage.*", "info", "stage.started", "info", False),
        ("*", "info", "notification.failed", "error", False),
        ("notification.*", "info", "notification.failed", "error", False),
        ("*", "error", "stage.failed", "critical", True),
        ("*", "error", "service.recovered", "info", True),  # as it was told of the failure
        ("service.crash_loop", "error", "service.recovered", "info", True),
        ("*.failed", "warning", "service.recovered", "info", True),
        ("service.recovered", "info", "service.recovered", "info", True),
        ("service.recovered", "warning", "service.recovered", "info", False),
        ("service.died", "info", "service.recovered", "info", False),
        ("notification.*", "info", "notification.recovered", "info", False),
    ],
)
def test_kinds_by_pattern_and_level(patterns: str, level: str, kind: str, of_level: str, wanted: bool) -> None:
    assert wants(Destination(events=patterns, level=level), kind, of_level) is wanted


def test_a_destination_is_told_of_what_happens_from_its_making_on(
    acting: str, receiver: Receiver, clock: Clock
) -> None:
    happen("before")
    ops = destinations.add("ops", receiver.url, events="stage.*")
    happen("after")
    happen("of no interest", kind="session.exited")
    assert queue(ops, clock) == 1
    deliver(ops, clock=clock)
    [got] = receiver.got
    assert got.messages == ["after"]
    assert states(ops) == [(NotificationState.DELIVERED, 1)]


def test_each_event_is_queued_once(acting: str, clock: Clock) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/", level="info")
    stale = Destination.objects.get(pk=ops.pk)
    happen("one", "two")
    assert queue(ops, clock) == 3  # with destination.added
    assert fan_out(stale, upto=newest_id(), now=clock()) == (0, 0), "another looked first: nothing is queued again"
    assert queue(ops, clock) == 0


def test_what_was_chosen_before_a_change_stays_chosen(acting: str, clock: Clock) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/", events="stage.*")
    happen("chosen by the old patterns")
    destinations.change(ops, events="session.*", level="error")
    happen("not any more")
    happen("chosen by the new ones", kind="session.exited")
    queue(ops, clock)
    told = ops.notifications.order_by("event_id").values_list("event__message", flat=True)
    assert list(told) == ["chosen by the old patterns", "chosen by the new ones"]


def test_what_happens_while_it_is_off_is_not_told_later(acting: str, receiver: Receiver, clock: Clock) -> None:
    ops = destinations.add("ops", receiver.url)
    happen("waits")
    queue(ops, clock)
    assert destinations.turn(ops, on=False)
    assert not destinations.turn(ops, on=False), "it is off already"
    assert states(ops) == [(NotificationState.FAILED, 0)]
    happen("unheard")
    assert pending(clock()) == []
    destinations.turn(ops, on=True)
    happen("heard")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert [got.messages for got in receiver.got] == [["heard"]]


# -- what is sent


def test_a_webhook_is_sent_the_event_with_a_link_and_signed(acting: str, receiver: Receiver, clock: Clock) -> None:
    ops = destinations.add("ops", f"{receiver.url}?room=7", secret=SECRET)
    happen("Stage qa failed at https://me:hunter2@example.org/ — ✗")
    queue(ops, clock)
    deliver(ops, clock=clock)
    [got] = receiver.got
    event = Event.objects.get(kind="stage.failed")
    assert got.data == {
        "delivery": str(ops.notifications.get().pk),
        "destination": "ops",
        "text": "Stage qa failed at https://me:***@example.org/ — ✗",
        "events": [{**event.as_dict(), "link": link_to(event)}],
        "more": 0,
    }
    assert got.headers["X-Gaia-Event"] == "stage.failed"
    assert got.headers["X-Gaia-Delivery"] == got.data["delivery"]
    assert got.headers["Content-Type"] == "application/json"
    assert signature_is_good(SECRET, got.headers["X-Gaia-Signature"], got.body, now=datetime.now(UTC).timestamp())
    assert SECRET not in json.dumps(got.data)


def signature_is_good(secret: str, header: str, body: bytes, *, now: float) -> bool:
    """The check that docs/notifications.md shows, run as it stands there."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "notifications.md").read_text()
    namespace: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], namespace)  # noqa: S102  our own documentation
    checked: bool = namespace["is_from_gaia"](secret, header, body, now=now)
    return checked


@pytest.mark.parametrize(
    ("secret", "body", "later"),
    [("x" * 16, b"{}", 0), (SECRET, b"{ }", 0), (SECRET, b"{}", 301), (SECRET, b"{}", -301)],
)
def test_a_signature_is_of_this_secret_body_and_time(secret: str, body: bytes, later: int) -> None:
    from events.notifications.message import sign

    at = datetime(2030, 1, 1, tzinfo=UTC)
    header = sign(SECRET, at, b"{}")
    assert signature_is_good(SECRET, header, b"{}", now=at.timestamp() + 299)
    assert not signature_is_good(secret, header, body, now=at.timestamp() + later)


def test_without_a_secret_nothing_is_signed(acting: str, receiver: Receiver, clock: Clock) -> None:
    ops = destinations.add("ops", receiver.url)
    happen("one")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert "X-Gaia-Signature" not in receiver.got[0].headers


def test_the_link_leads_to_the_events_page() -> None:
    path = link_to(Event(pk=7)).removeprefix(settings.GAIA.url)
    assert resolve(path).url_name == "events_event_change"
    assert resolve(link_to(Event()).removeprefix(settings.GAIA.url)).url_name == "events_event_changelist"


def test_mail_has_a_subject_plain_text_and_a_link(acting: str, mailbox: Mailbox, clock: Clock) -> None:
    ops = destinations.add("ops", "ops@example.org")
    happen("Stage qa failed\nBcc: everybody@example.org")
    queue(ops, clock)
    deliver(ops, clock=clock)
    [(sender, recipients, mail)] = mailbox.mails
    head, _, body = mail.partition("\r\n\r\n")
    assert (sender.split()[0], recipients) == ("<gaia@localhost>", ["<ops@example.org>"])
    assert "Subject: [GAIA] Stage qa failed Bcc: everybody@example.org" in head
    assert "\nBcc:" not in head
    assert "X-Gaia-Event: stage.failed" in head
    assert link_to(Event.objects.get(kind="stage.failed")) in body
    assert "environment/dev1/qa" in body
    assert states(ops) == [(NotificationState.DELIVERED, 1)]


def test_mail_signs_in_with_the_settings_password(
    acting: str, mailbox: Mailbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mailbox.url.replace("smtp://", "smtp://me:p%40ss@")
    monkeypatch.setitem(settings.GAIA.values, "mail.url", url)  # type: ignore[arg-type]
    ops = destinations.add("ops", "ops@example.org")
    assert destinations.send_test(ops).problem == ""
    assert mailbox.signed_in == ["AG1lAHBAc3M="]  # \0me\0p@ss
    mailbox.refuse = "550 no such mailbox"
    happen("one")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert ops.notifications.get().problem == "127.0.0.1 refused ops@example.org: 550 no such mailbox"
