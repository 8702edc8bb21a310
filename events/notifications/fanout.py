"""Which new events a destination is to be told of: each once, whatever is killed in between.

The notifications and the destination's position (`after`) are committed together, and the position moves only from
where it was read: of two that look at once, one wins.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Max

from events.models import Destination, Event, Notification
from events.notifications.choice import wants
from events.states import NotificationState

PAGE = 1_000  # events in one transaction
_KEPT_BACK = 500  # looked at without writing down that nothing was wanted: a restart looks again


def fan_out(destination: Destination, *, upto: int, now: datetime, looked: int = 0) -> tuple[int, int]:
    """Queue what the destination wants of the events after those it has been told of.

    Args:
        upto: id of the newest event.
        looked: id up to which the caller has looked before and found nothing.

    Returns: the id up to which was looked now, and how many notifications were queued.
    """
    begin = max(destination.after, looked)
    new = Event.objects.filter(id__gt=begin, id__lte=upto).order_by("id")
    page = list(new.values_list("id", "kind", "level")[:PAGE])
    end = page[-1][0] if len(page) == PAGE else max(upto, begin)
    wanted = [pk for pk, kind, level in page if wants(destination, kind, level)]
    if not wanted and end - destination.after < _KEPT_BACK:
        return end, 0
    with transaction.atomic():
        moved = Destination.objects.filter(pk=destination.pk, after=destination.after, enabled=True).update(after=end)
        if not moved:  # somebody else looked, or it was changed: the next turn reads it anew
            return looked, 0
        due = _when(destination, now)
        Notification.objects.bulk_create(
            [Notification(destination=destination, event_id=pk, next_try_at=due) for pk in wanted]
        )
    destination.after = end
    return end, len(wanted)


def _when(destination: Destination, now: datetime) -> datetime:
    """With what waits already: a queue is tried as one, so that nobody overtakes."""
    waiting = Notification.objects.filter(destination=destination, state=NotificationState.WAITING)
    last = waiting.aggregate(last=Max("next_try_at"))["last"]
    return max(now, last) if last else now
