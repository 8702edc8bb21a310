"""States of what policy keeps."""

from __future__ import annotations

from django.db.models import TextChoices


class PanicState(TextChoices):
    """Whether a panic still holds."""

    DECLARED = "declared", "Declared"
    LIFTED = "lifted", "Lifted"


PANIC_TRANSITIONS: dict[str, tuple[str, ...]] = {PanicState.DECLARED: (PanicState.LIFTED,)}
