"""What operators do with single notifications, and how long those that are over are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from common.errors import Conflict
from events import log
from events.models import Destination, Notification
from events.notifications.delivery import so_many, waiting_for
from events.notifications.destinations import key_of
from events.states import NotificationState

_TERMINAL = (NotificationState.DELIVERED, NotificationState.FAILED)


def retry(notification: Notification) -> None:
    """Try one that was given up, from the beginning. Raises: Conflict when it is not one of those."""
    if not retry_all(notification.destination, only=[notification.pk]):
        notification.refresh_from_db()
        turned_off = not notification.destination.enabled
        raise Conflict(
            f"notification {notification.pk} is {notification.get_state_display().lower()}"
            + (" and its destination turned off" if turned_off else ""),
            meaning="Only what was given up is tried again.",
            fix=f"Turn it on first: gaia notify on {notification.destination.name}." if turned_off else "",
        )


def retry_all(destination: Destination, *, only: Sequence[int] | None = None) -> int:
    """Try again what was given up of a destination that is on; how many there were."""
    if not destination.enabled:
        return 0
    given_up = Notification.objects.filter(destination=destination, state=NotificationState.FAILED)
    if only is not None:
        given_up = given_up.filter(pk__in=only)
    now = timezone.now()
    with log.atomic():
        count = given_up.update(state=NotificationState.WAITING, attempts=0, next_try_at=now, problem="")
        if count:
            waiting_for(destination).update(next_try_at=now)
            told = f"{so_many(count)} for {destination.name} will be tried again"
            log.emit("notification.retried", subject=key_of(destination), message=told)
    return count


def describe(notification: Notification) -> dict[str, Any]:
    """One notification as every door shows it."""
    waits = notification.state == NotificationState.WAITING
    return {
        "id": notification.pk,
        "destination": notification.destination.name,
        "state": notification.state,
        "attempts": notification.attempts,
        "next_try_at": notification.next_try_at.isoformat() if waits else None,
        "delivered_at": notification.delivered_at and notification.delivered_at.isoformat(),
        "problem": notification.problem,
        "event": notification.event.as_dict(),
    }


def over_before(moment: datetime) -> QuerySet[Notification]:
    """Those that were delivered or given up, of events before then."""
    return Notification.objects.filter(Q(state__in=_TERMINAL), event__at__lt=moment)
