"""Events reach their destinations: chosen, once queued, at least once delivered, in order, whatever breaks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from common.errors import Conflict, InvalidInput
from events import log
from events.drivers.outcome import NotDelivered
from events.models import Destination, Event, Level, Notification
from events.notifications import delivery, destinations
from events.notifications.choice import wants
from events.notifications.deliveries import retry, retry_all
from events.notifications.delivery import deliver, take, wait_after
from events.notifications.fanout import fan_out
from events.notifications.message import Message, link_to
from events.notifications.notifier import Notifier, pending
from events.states import NotificationState
from events.tail import newest_id
from tests.events.receivers import Mailbox, Receiver, mail_receiver, web_receiver

pytestmark = pytest.mark.django_db

SECRET = "0123456789abcdef"


class Clock:
    """Goes on by a millisecond whenever it is asked, and by more when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def pass_(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with web_receiver() as found:
        yield found


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mail_receiver() as found:
        monkeypatch.setitem(settings.GAIA.values, "mail.url", found.url)  # type: ignore[arg-type]
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def happen(*messages: str, kind: str = "stage.failed", level: str = Level.ERROR) -> None:
    with log.atomic():
        for message in messages:
            log.emit(kind, subject="environment/dev1/qa", message=message, level=level)


def queue(destination: Destination, clock: Clock) -> int:
    """Look at what is new, as the daemon does each second."""
    destination.refresh_from_db()
    total, upto = 0, newest_id()
    while destination.after < upto:
        looked, queued = fan_out(destination, upto=upto, now=clock())
        total += queued
        if looked == upto:
            break
    return total


def states(destination: Destination) -> list[tuple[str, int]]:
    return list(destination.notifications.order_by("event_id").values_list("state", "attempts"))


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


# -- failures


def test_a_failure_is_tried_again_later_and_later_and_order_is_kept(
    acting: str, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = lambda number: (200, "") if number > 2 else (500, "the disk is full\nhttps://me:hunter2@x/")
    ops = destinations.add("ops", receiver.url)
    happen("one", "two")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert states(ops) == [(NotificationState.WAITING, 1), (NotificationState.WAITING, 1)]
    first = ops.notifications.order_by("event_id")[0]
    assert first.problem == "127.0.0.1 answered 500: the disk is full https://me:***@x/"
    assert timedelta(seconds=24) <= first.next_try_at - clock.now <= timedelta(seconds=36)
    happen("three")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert len(receiver.got) == 1, "its time has not come, and nobody overtakes"
    for _ in range(2):
        clock.pass_(timedelta(minutes=3))
        deliver(ops, clock=clock)
    assert [got.messages for got in receiver.got] == [["one"], ["one"], ["one"], ["two"], ["three"]]
    assert len({got.headers["X-Gaia-Delivery"] for got in receiver.got[:3]}) == 1, "the same delivery each time"


def test_after_a_failure_is_over_the_rest_begins_anew(acting: str, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda number: (200, "") if number > 1 else (500, "")
    ops = destinations.add("ops", receiver.url)
    happen(*(f"event {number}" for number in range(100)))
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert destinations.state_of(destinations.overview().get()) == "failing"
    clock.pass_(timedelta(minutes=3))

    taken = take(ops, clock())
    assert taken is not None
    delivery._delivered(ops, taken, clock())

    assert destinations.state_of(destinations.overview().get()) == "on"
    assert not ops.notifications.exclude(problem="").exists()
    deliver(ops, clock=clock)
    assert receiver.got[-1].headers["X-Gaia-Event"] == "bundle", "and is told like any burst"
    assert not ops.notifications.exclude(state=NotificationState.DELIVERED).exists()


def test_after_a_day_it_is_given_up_once_and_said(acting: str, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda number: (503, "")
    ops = destinations.add("ops", receiver.url)
    happen("one", "two")
    queue(ops, clock)
    begin = clock.now
    for _ in range(delivery.ATTEMPTS):
        assert Notification.objects.filter(state=NotificationState.FAILED).count() == 0
        deliver(ops, clock=clock)
        clock.pass_(max(timedelta(), ops.notifications.latest("id").next_try_at - clock.now))
    assert timedelta(hours=20) < clock.now - begin < timedelta(hours=30)
    assert [state for state, _ in states(ops)] == [NotificationState.FAILED] * 2
    told = Event.objects.get(kind="notification.failed")
    assert told.message == "Gave up telling ops of 2 notifications: 127.0.0.1 answered 503"
    assert (told.level, told.subject) == (Level.ERROR, "destination/ops")
    assert queue(ops, clock) == 0, "and nobody is told of that"


@pytest.mark.parametrize("status", [404, 410])
def test_where_nothing_is_it_is_given_up_sooner(status: int, acting: str, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda number: (status, "")
    ops = destinations.add("ops", receiver.url)
    happen("one")
    queue(ops, clock)
    for _ in range(10):
        deliver(ops, clock=clock)
        clock.pass_(timedelta(hours=2))
    assert len(receiver.got) == delivery.GONE_ATTEMPTS
    assert states(ops) == [(NotificationState.FAILED, delivery.GONE_ATTEMPTS)]


def test_given_up_can_be_tried_again(acting: str, receiver: Receiver, clock: Clock) -> None:
    ops = destinations.add("ops", receiver.url)
    happen("one", "two")
    queue(ops, clock)
    ops.notifications.update(state=NotificationState.FAILED, attempts=30)
    first = ops.notifications.order_by("event_id")[0]
    retry(first)
    deliver(ops)
    assert states(ops) == [(NotificationState.DELIVERED, 1), (NotificationState.FAILED, 30)]
    with pytest.raises(Conflict, match=f"notification {first.pk} is delivered"):
        retry(first)
    assert retry_all(ops) == 1
    destinations.turn(ops, on=False)
    assert retry_all(ops) == 0
    with pytest.raises(Conflict, match="turned off"):
        retry(ops.notifications.get(state=NotificationState.FAILED))


def test_a_retry_while_another_is_on_its_way_is_not_lost(acting: str, receiver: Receiver, clock: Clock) -> None:
    """What is written down is of what was sent, not of all that came before it in the log."""
    ops = destinations.add("ops", receiver.url)
    happen("given up")
    queue(ops, clock)
    ops.notifications.update(state=NotificationState.FAILED)
    happen("on its way")
    queue(ops, clock)

    sent: list[str] = []

    def send(destination: Destination, message: Message) -> None:
        sent.append(message.line)
        if message.line == "on its way":
            retry_all(ops)

    deliver(ops, clock=clock, send=send)
    assert sent == ["on its way", "given up"]
    assert states(ops) == [(NotificationState.DELIVERED, 1)] * 2


def test_a_defect_while_sending_is_a_failure_like_others(acting: str, clock: Clock) -> None:
    def broken(destination: Destination, message: Message) -> None:
        raise KeyError("oops")

    ops = destinations.add("ops", "http://127.0.0.1:9/")
    happen("one")
    queue(ops, clock)
    deliver(ops, clock=clock, send=broken)
    assert ops.notifications.get().problem == "a defect of GAIA: KeyError: 'oops'"
    assert states(ops) == [(NotificationState.WAITING, 1)]


def test_killed_between_the_try_and_its_record_it_is_sent_again(acting: str, receiver: Receiver, clock: Clock) -> None:
    class Killed(BaseException):
        pass

    def send_and_die(destination: Destination, message: Message) -> None:
        delivery.dispatch(destination, message)
        raise Killed

    ops = destinations.add("ops", receiver.url)
    happen("one", "two")
    queue(ops, clock)
    with pytest.raises(Killed):
        deliver(ops, clock=clock, send=send_and_die)
    assert states(ops) == [(NotificationState.WAITING, 1), (NotificationState.WAITING, 0)], "the attempt was counted"
    deliver(ops, clock=clock)
    assert len(receiver.got) == 1, "whoever comes next cannot know that nobody sends it"
    clock.pass_(timedelta(minutes=2))
    deliver(ops, clock=clock)
    assert [got.messages for got in receiver.got] == [["one"], ["one"], ["two"]]
    assert receiver.got[0].headers["X-Gaia-Delivery"] == receiver.got[1].headers["X-Gaia-Delivery"]


def test_of_two_who_take_the_same_one_has_it(acting: str, clock: Clock) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/")
    happen("one", "two")
    queue(ops, clock)
    assert take(ops, clock()) is not None
    assert take(ops, clock()) is None, "nor does it take the second one meanwhile"


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 30), (2, 60), (5, 480), (8, 3600), (9, 3600), (10_000, 3600)])
def test_waits(attempt: int, seconds: int) -> None:
    assert wait_after(attempt, lambda least, most: 1.0) == timedelta(seconds=seconds)
    assert wait_after(attempt) != wait_after(attempt)


# -- bursts


def test_a_burst_of_a_thousand_is_few_messages_with_every_event_in_order(
    acting: str, receiver: Receiver, clock: Clock
) -> None:
    ops = destinations.add("ops", receiver.url)
    happen(*(f"event {number}" for number in range(1000)))
    assert queue(ops, clock) == 1000
    deliver(ops, clock=clock)
    assert len(receiver.got) == 30
    *single, bundle = receiver.got
    assert [got.messages for got in single] == [[f"event {number}"] for number in range(29)]
    assert bundle.messages == [f"event {number}" for number in range(29, 79)]
    assert bundle.data["more"] == 921
    assert bundle.data["text"] == "event 29 (and 970 more)"
    assert bundle.headers["X-Gaia-Event"] == "bundle"
    assert not ops.notifications.exclude(state=NotificationState.DELIVERED).exists()


def test_after_a_burst_the_next_waits_for_its_minute(acting: str, receiver: Receiver, clock: Clock) -> None:
    ops = destinations.add("ops", receiver.url)
    happen(*(f"event {number}" for number in range(30)))
    queue(ops, clock)
    deliver(ops, clock=clock)
    happen("late one", "late two")
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert len(receiver.got) == 30
    assert pending(clock()) == [], "and it costs no look until then"
    clock.pass_(timedelta(seconds=61))
    assert pending(clock()) == [ops]
    deliver(ops, clock=clock)
    assert [got.messages for got in receiver.got[30:]] == [["late one"], ["late two"]]


def test_a_mail_of_a_burst_says_how_many_more(acting: str, mailbox: Mailbox, clock: Clock) -> None:
    ops = destinations.add("ops", "ops@example.org")
    happen(*(f"event {number}" for number in range(80)))
    queue(ops, clock)
    deliver(ops, clock=clock)
    assert len(mailbox.mails) == 6
    last = mailbox.mails[-1][2].replace("=\r\n", "")
    assert "Subject: [GAIA] event 5 (and 74 more)" in last
    assert "and 25 more" in last


# -- the daemon's loop


def test_an_idle_turn_is_one_query(acting: str, clock: Clock, django_assert_num_queries: Callable[..., Any]) -> None:
    notifier = Notifier(clock)
    with django_assert_num_queries(1):
        notifier.turn()
    for number in range(5):
        destinations.add(f"ops{number}", "http://127.0.0.1:9/", events="stage.*")
    happen(*(["of no interest"] * 300), kind="session.exited")
    notifier.turn()
    with CaptureQueriesContext(connection) as captured:
        notifier.turn()
    assert [query["sql"].split()[0] for query in captured] == ["SELECT"], "nor is anything written for nothing"
    notifier.wait()


def test_what_is_of_no_interest_is_noted_now_and_then(acting: str, clock: Clock) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/", events="stage.*")
    happen(*(["of no interest"] * 2500), kind="session.exited")
    notifier = Notifier(clock)
    notifier.turn()
    notifier.wait()
    ops.refresh_from_db()
    assert newest_id() - ops.after < 1000, "a restart does not look at all of it again"
    assert not ops.notifications.exists()


# -- destinations


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://example.org/", "not an address a webhook can have"),
        ("http:///path", "not an address a webhook can have"),
        ("http://me:secret@example.org/", "carries a user name"),
        ("http://169.254.169.254/latest/meta-data", "credentials of cloud machines"),
        ("http://[fd00:ec2::254]/", "credentials of cloud machines"),
        ("http://[fd20:ce::254]/", "credentials of cloud machines"),
        ("http://168.63.129.16/", "credentials of cloud machines"),
        ("http://[::ffff:169.254.169.254]/", "credentials of cloud machines"),
        ("http://[64:ff9b::a9fe:a9fe]/", "credentials of cloud machines"),
        ("http://2852039166/", "credentials of cloud machines"),
        ("http://0xa9fea9fe/", "credentials of cloud machines"),
        ("http://169.254.3.4/", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://0.0.0.0/", "nobody's own"),
        ("http://example.org:99999/", "not a web address"),
        ("http://example.org/a b", "not an address a webhook can have"),
        ("example.org", "neither a web address nor a mail address"),
        ("ops@", "not a mail address"),
        ("a@example.org,b@example.org", "not a mail address"),
        ("ops@example.org\nBcc: x@example.org", "not a mail address"),
    ],
)
def test_addresses_that_are_refused(address: str, told: str, acting: str, mailbox: Mailbox) -> None:
    with pytest.raises(InvalidInput, match=told):
        destinations.add("ops", address)
    assert not Destination.objects.exists()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9000/x", "https://10.0.0.7/", "http://[::1]:8000/", "http://tool.lan"]
)
def test_tools_at_home_are_reached(address: str, acting: str) -> None:
    assert destinations.add("ops", address).address == address


def test_other_mistakes(acting: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    here = "http://127.0.0.1:9/"
    for wrong, told in (
        ({"events": " "}, "no kind"),
        ({"events": "a;b"}, "cannot match"),
        ({"events": "x" * 501}, "501 characters"),
        ({"level": "loud"}, "no level"),
        ({"secret": "short"}, "cannot be a secret"),
    ):
        with pytest.raises(InvalidInput, match=told):
            destinations.add("ops", here, **wrong)
    with pytest.raises(InvalidInput, match="not signed"):
        destinations.add("ops", "ops@example.org", secret=SECRET)
    with pytest.raises(InvalidInput, match="destination's name"):
        destinations.add("o p s", here)
    destinations.add("ops", here)
    with pytest.raises(Conflict, match="destination ops already"):
        destinations.add("ops", here)
    monkeypatch.setitem(settings.GAIA.values, "mail.url", "")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no mail server"):
        destinations.add("mail", "ops@example.org")


def test_the_log_has_every_change_and_no_secret(acting: str) -> None:
    ops = destinations.add("ops", "http://127.0.0.1:9/services/T0/verysecretpath", secret=SECRET)
    destinations.change(ops, secret=SECRET[::-1], level="error")
    destinations.change(ops, level="error")
    destinations.turn(ops, on=False)
    destinations.remove(ops)
    events = Event.objects.filter(subject="destination/ops").order_by("id")
    assert [event.kind for event in events] == [
        "destination.added", "destination.changed", "destination.turned_off", "destination.removed",
    ]  # fmt: skip
    assert events[1].message == "Destination ops has another level, secret"
    told = json.dumps([event.as_dict() for event in events])
    assert "verysecretpath" not in told
    assert SECRET not in told


def test_a_test_says_what_became_of_it(acting: str, receiver: Receiver) -> None:
    ops = destinations.add("ops", receiver.url, secret=SECRET)
    assert destinations.send_test(ops).delivered
    assert receiver.got[0].headers["X-Gaia-Event"] == "notification.test"
    assert receiver.got[0].headers["X-Gaia-Delivery"].startswith("test-")
    receiver.answer = lambda number: (401, "who are you?")
    tested = destinations.send_test(ops)
    assert (tested.delivered, tested.problem) == (False, "127.0.0.1 answered 401: who are you?")
    told = Event.objects.filter(kind="destination.tested").latest("id")
    assert told.message == "Destination ops could not be reached: 127.0.0.1 answered 401: who are you?"
    assert not Notification.objects.exists()


def test_a_mail_server_that_was_taken_away(acting: str, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = destinations.add("ops", "ops@example.org")
    monkeypatch.setitem(settings.GAIA.values, "mail.url", "")  # type: ignore[arg-type]
    assert destinations.send_test(ops).problem.startswith("no mail server is set")
    with pytest.raises(NotDelivered):
        delivery.dispatch(ops, Message("1", "ops", [Event(message="x", kind="a.b", subject="c", actor="d")]))


def test_the_kinds_that_the_guide_names_are_emitted() -> None:
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs" / "notifications.md").read_text().split("| kinds | level | when |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    rooms = ("environments", "processes", "services", "sessions", "gaia_site")
    code = "".join(path.read_text() for room in rooms for path in (root / room).rglob("*.py"))
    services = "".join((root / "services" / name).read_text() for name in ("ends.py", "actions/standing.py"))
    code += "".join(f'"service.{verb}"' for verb in re.findall(r'"([a-z_]+)"', services))  # `move` puts it before
    made = {"operation.failed"}  # its second half is the state
    assert len(named) > 8
    assert [kind for kind in sorted(named - made) if f'"{kind}"' not in code] == []
