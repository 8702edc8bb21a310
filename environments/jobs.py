"""django-q entry points: short and idempotent."""

from __future__ import annotations

from environments.actions import trash
from events.actor import acting_as


def purge() -> int:
    """Remove checkouts whose days in the trash are over; how many there were."""
    with acting_as("jobs:purge-trash"):
        return trash.purge()
