"""Events that destinations are to be told of, a clock that is the test's, and what became of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from events import log
from events.models import Destination, Level
from events.notifications.fanout import fan_out
from events.tail import newest_id

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
