"""django-q entry points: short and idempotent."""

from __future__ import annotations

from django.conf import settings
from django.utils import timezone

from environments.drivers.trash import purge_trash
from events import log
from events.actor import acting_as

_DAY_S = 86_400.0


def purge() -> int:
    """Remove checkouts whose days in the trash are over; how many there were."""
    older = settings.GAIA["environments.trash_days"] * _DAY_S
    purged = purge_trash(settings.GAIA.home.trash, older, timezone.now())
    if purged:
        with acting_as("jobs:purge-trash"), log.atomic():
            log.emit(
                "trash.purged", subject="trash", message=f"{len(purged)} checkouts left the trash for good",
                purged=[str(path) for path in purged],
            )  # fmt: skip
    return len(purged)
