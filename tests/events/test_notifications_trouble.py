"""Notifications when receivers fail, much happens at once, or the daemon is killed: at least once, in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common.errors import Conflict
from events.models import Destination, Event, Level, Notification
from events.notifications import delivery, destinations
from events.notifications.deliveries import retry, retry_all
from events.notifications.delivery import deliver, take, wait_after
from events.notifications.message import Message
from events.notifications.notifier import Notifier, pending
from events.states import NotificationState
from events.tail import newest_id
from tests.events.receivers import Mailbox, Receiver
from tests.events.telling import Clock, happen, queue, states

pytestmark = pytest.mark.django_db


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
