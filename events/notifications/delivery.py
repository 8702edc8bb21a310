"""One destination's queue: what is sent next, what a failure means, when to give up.

A queue is tried as one: its first notification goes out first, and while that fails all wait and all count the try.
So order is kept, a destination that is down costs one try at a time, and what waits behind grows no older unseen.

1. Take (committed): the attempt is counted and the whole queue is put off. A kill from here on costs the rest of that
   time, then it is sent again: at least once.
2. Send, outside of any transaction.
3. Write down what became of it, and free the queue.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from events import log
from events.drivers.outcome import NotDelivered
from events.models import Destination, Level, Notification
from events.notifications.dispatch import dispatch
from events.notifications.message import SHOWN, Message
from events.states import DestinationKind, NotificationState

logger = logging.getLogger(__name__)

Dispatch = Callable[[Destination, Message], None]

PER_MINUTE = {DestinationKind.WEBHOOK: 30, DestinationKind.EMAIL: 6}
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
ATTEMPTS = 30
"""Tries before giving up: with the waits between them that is a day."""
GONE_ATTEMPTS = 5
"""Tries before giving up where the receiver says that there is nothing at the address."""

LARGEST = 1_000
"""Notifications in one message at most."""

_MINUTE = timedelta(minutes=1)
_TAKEN = timedelta(seconds=60)  # longer than any try takes
_PROBLEM_CHARS = 1_000


@dataclass(frozen=True)
class Taken:
    """A message that is this process's to send: for which notifications, and which try of the first it is."""

    message: Message
    attempt: int
    rows: Sequence[int]


def deliver(
    destination: Destination, *, clock: Callable[[], datetime] = timezone.now, send: Dispatch = dispatch
) -> None:
    """Send what waits for the destination, until it is all gone, must wait, or fails."""
    while (current := Destination.objects.filter(pk=destination.pk, enabled=True).first()) is not None:
        taken = take(current, clock())
        if taken is None:
            return
        problem = _try(current, taken.message, send)
        if problem is not None:
            _failed(current, taken, problem, clock())
            return
        _delivered(current, taken, clock())


def _try(destination: Destination, message: Message, send: Dispatch) -> NotDelivered | None:
    try:
        send(destination, message)
    except NotDelivered as problem:
        return problem
    except Exception as error:
        logger.exception("destination %s: a notification could not be sent", destination.name)
        return NotDelivered(f"a defect of GAIA: {type(error).__name__}: {error}")
    return None


def take(destination: Destination, now: datetime) -> Taken | None:
    """The next message, its attempt counted; None when none is due or somebody else has it."""
    queue = waiting_for(destination)
    head = queue.select_related("event").order_by("event_id").first()
    if head is None or head.next_try_at > now:
        return None
    left = _left_this_minute(destination, now)
    if left == 0:
        return None
    # after a failure the first one goes ahead alone, under the same id as before
    alone = left > 1 or head.attempts > 0
    rows = [head.pk] if alone else list(queue.order_by("event_id").values_list("pk", flat=True)[:LARGEST])
    with transaction.atomic():
        mine = queue.filter(pk=head.pk, attempts=head.attempts, next_try_at=head.next_try_at)
        if not mine.update(attempts=F("attempts") + 1):
            return None
        queue.filter(pk__in=rows[1:]).update(attempts=F("attempts") + 1)
        queue.update(next_try_at=now + _TAKEN)
    return Taken(_message(destination, rows), head.attempts + 1, rows)


def waiting_for(destination: Destination) -> QuerySet[Notification]:
    """What has still to be delivered there."""
    return Notification.objects.filter(destination=destination, state=NotificationState.WAITING)


def _message(destination: Destination, rows: Sequence[int]) -> Message:
    shown = Notification.objects.filter(pk__in=rows[:SHOWN]).select_related("event").order_by("event_id")
    name = str(rows[0]) if len(rows) == 1 else f"{rows[0]}-{rows[-1]}"
    return Message(name, destination.name, [row.event for row in shown], len(rows[SHOWN:]))


def _left_this_minute(destination: Destination, now: datetime) -> int:
    """How many messages may still be sent; at 0 the queue is put off until one may.

    What went out in one message was delivered at one moment, so moments are what is counted.
    """
    lately = Notification.objects.filter(destination=destination, delivered_at__gt=now - _MINUTE)
    moments = [at for at in lately.order_by("delivered_at").values_list("delivered_at", flat=True).distinct() if at]
    left = PER_MINUTE[DestinationKind(destination.kind)] - len(moments)
    if left <= 0:
        waiting_for(destination).update(next_try_at=moments[-left] + _MINUTE)
    return max(0, left)


def _delivered(destination: Destination, taken: Taken, now: datetime) -> None:
    queue = waiting_for(destination)
    with transaction.atomic():
        queue.filter(pk__in=taken.rows).update(state=NotificationState.DELIVERED, delivered_at=now, problem="")
        queue.update(next_try_at=now, attempts=0, problem="")  # it takes what it is sent again


def _failed(destination: Destination, taken: Taken, problem: NotDelivered, now: datetime) -> None:
    queue, text = waiting_for(destination), problem.what[:_PROBLEM_CHARS]
    with log.atomic():
        queue.exclude(pk__in=taken.rows).update(attempts=F("attempts") + 1)
        queue.update(next_try_at=now + wait_after(taken.attempt), problem=text)
        over = queue.filter(attempts__gte=GONE_ATTEMPTS if problem.gone else ATTEMPTS)
        count = over.update(state=NotificationState.FAILED)
        if count:
            log.emit(
                "notification.failed",
                subject=f"destination/{destination.name}",
                message=f"Gave up telling {destination.name} of {so_many(count)}: {text}",
                level=Level.ERROR,
                count=count,
            )


def so_many(count: int) -> str:
    """`1 notification`, `37 notifications`."""
    return "1 notification" if count == 1 else f"{count} notifications"


def wait_after(attempt: int, jitter: Callable[[float, float], float] = random.uniform) -> timedelta:
    """How long to wait after the nth try failed: 30 s, 1 min, 2 min … an hour, a fifth more or less.

    Without the jitter all destinations of one server that was down would come back at one moment.
    """
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 20))
    return wait * jitter(0.8, 1.2)
