"""The daemon's loop: one query a turn while nothing happens, and never a wait for somebody outside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import BooleanField, ExpressionWrapper, F, Q, Subquery
from django.utils import timezone

from events.actor import acting_as, current_actor
from events.models import Destination, Event, Notification
from events.notifications.delivery import Dispatch, deliver
from events.notifications.dispatch import dispatch
from events.notifications.fanout import fan_out
from events.states import NotificationState

logger = logging.getLogger(__name__)

_THREADS = 32  # destinations that are waited for at once


class Notifier:
    """Queues new events for those who want them, and has each queue delivered in a thread of its own.

    Args:
        clock: what time it is.
        send: tries one message.
    """

    def __init__(self, clock: Callable[[], datetime] = timezone.now, send: Dispatch = dispatch) -> None:
        self._clock = clock
        self._send = send
        self._looked: dict[int, int] = {}  # by destination: looked at, nothing wanted, and not worth a write
        self._busy: set[int] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="notify")

    def turn(self) -> None:
        """Look once. Returns at once; what is sent is sent aside."""
        now = self._clock()
        with ExitStack() as each:  # one that fails does not keep the others from their turn, and is told all the same
            for destination in reversed(pending(now)):
                each.callback(self._look_at, destination, now)

    def _look_at(self, destination: Any, now: datetime) -> None:
        queued = self._fan_out(destination, now)
        if queued or destination.due:
            self._begin(destination)

    def wait(self) -> None:
        """Until everything begun has come to an end, and nothing more is begun."""
        self._pool.shutdown(wait=True)

    def _fan_out(self, destination: Any, now: datetime) -> int:
        upto, looked = destination.newest or 0, self._looked.get(destination.pk, 0)
        total = 0
        while max(destination.after, looked) < upto:
            before = max(destination.after, looked)
            looked, queued = fan_out(destination, upto=upto, now=now, looked=looked)
            total += queued
            if max(destination.after, looked) <= before:
                break  # somebody else was faster
        self._looked[destination.pk] = looked
        return total

    def _begin(self, destination: Destination) -> None:
        with self._lock:
            if destination.pk in self._busy:
                return
            self._busy.add(destination.pk)
        self._pool.submit(self._deliver, destination, current_actor())

    def _deliver(self, destination: Destination, actor: str) -> None:
        try:
            with acting_as(actor):
                deliver(destination, clock=self._clock, send=self._send)
        except Exception:  # the queue was put off before the try, so it is not tried again at once
            logger.exception("destination %s: delivering stumbled; it goes on in a minute", destination.name)
        finally:
            connections.close_all()
            with self._lock:
                self._busy.discard(destination.pk)


def pending(now: datetime) -> list[Destination]:
    """Destinations that are on and have something new to be looked at, or something due; one query.

    Each has `newest`, the id of the newest event, and `due`.
    """
    newest = Event.objects.order_by("-id").values("id")[:1]
    # not asked for each destination by itself, which would go through all that was ever delivered there: the index of
    # what waits is a short one
    due = Notification.objects.filter(state=NotificationState.WAITING, next_try_at__lte=now).values("destination")
    return list(
        Destination.objects.filter(enabled=True)
        .annotate(newest=Subquery(newest), due=ExpressionWrapper(Q(pk__in=due), output_field=BooleanField()))
        .filter(Q(after__lt=F("newest")) | Q(due=True))
    )
