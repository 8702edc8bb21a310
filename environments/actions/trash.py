"""Removed checkouts wait in the trash, and then they are gone for good."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.utils import timezone

from environments.drivers.trash import purge_trash
from events import log
from events.models import Level

_DAY_S = 86_400.0


def purge() -> int:
    """Remove checkouts whose days in the trash are over; how many there were. What cannot be removed is told."""
    older = settings.GAIA["environments.trash_days"] * _DAY_S
    stuck: dict[str, str] = {}

    def failed(place: Path, error: OSError) -> None:
        stuck[str(place)] = f"{error.filename or place}: {error.strerror}"

    purged = purge_trash(settings.GAIA.home.trash, older, timezone.now(), failed=failed)
    if not purged and not stuck:
        return 0
    with log.atomic():
        if purged:
            log.emit(
                "trash.purged", subject="trash", message=f"{len(purged)} checkouts left the trash for good",
                purged=[str(path) for path in purged],
            )  # fmt: skip
        for place, why in stuck.items():
            log.emit(
                "trash.stuck", subject="trash", message=f"{Path(place).name} cannot be removed from the trash: {why}",
                level=Level.ERROR, path=place,
            )  # fmt: skip
    return len(purged)
