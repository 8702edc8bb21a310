"""django-q entry points that concern several rooms: short and idempotent."""

from __future__ import annotations

from django.utils import timezone

from events.actor import acting_as
from gaia_site import forgetting


def forget_old() -> int:
    """Forget rows of what has been over for long; how many there were."""
    with acting_as("jobs:forget-old"):
        return forgetting.forget_old(timezone.now())


def canary() -> None:
    """Nothing: that it comes back is what counts."""
